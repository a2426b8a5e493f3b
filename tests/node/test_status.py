"""GET /status: what a node says of the whole mesh, and how soon it names each fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
import trio

import meshp2p
from meshp2p import MeshNode, ReceivedMessage, StoreFull
from meshp2p.core.effects import Write
from meshp2p.node.metrics import METRICS
from meshp2p.node.reporting import Reports
from meshp2p.node.series import SAMPLE_SECONDS, SAMPLES_MAX, SERIES
from meshp2p.testing import VirtualMesh
from meshp2p.testing.disk import OpenDisk
from meshp2p.wire.reports import (
    HandlerLoad,
    MailboxLoad,
    OpenQuery,
    OpenTask,
    PoorLink,
    WatchedNode,
    decode_report_untrusted,
    encode_report,
)
from meshp2p.wire.status_contract import StatusResponse
from tests.http.meshes import calling, open_mesh
from tests.node.test_revocation import live, revoke, until_listed
from tests.node.test_secured import OPTIONS
from tests.node.users import Users


async def status_of(node: MeshNode, *, has_series: bool = False) -> StatusResponse:
    parts = await cast("Any", node)._node.status(has_series=has_series)
    return msgspec.json.decode(b"".join(parts), type=StatusResponse)


async def wait_named(node: MeshNode, name: str, timeout: float = 30.0) -> tuple[StatusResponse, float]:
    """Ask for the status each half second until a finding of this name is in it; the status, and the time it took."""
    began = trio.current_time()
    with trio.fail_after(timeout):
        while True:
            status = await status_of(node)
            if any(finding.name == name for finding in status.findings):
                return status, trio.current_time() - began
            await trio.sleep(0.5)


async def three(mesh: VirtualMesh, **options: Any) -> Sequence[MeshNode]:
    nodes = await mesh.start("a", "b", "c", **options)
    await mesh.wait_until_whole()
    await mesh.sleep(12)
    assert (await status_of(nodes[0])).findings == []
    return nodes


# The ten faults


async def test_a_dead_agent_is_named(virtual_mesh: VirtualMesh) -> None:
    a, *_ = await three(virtual_mesh)
    virtual_mesh.kill("c")
    status, seconds = await wait_named(a, "dead_agent")
    assert "c died" in status.verdict.text
    assert "its process is gone" in status.verdict.text
    assert seconds < 3
    assert (status.agents[0].id, status.agents[0].state) == ("c", "dead")
    await virtual_mesh.restart("c")
    await virtual_mesh.wait_until_whole()
    await virtual_mesh.sleep(3)
    assert (await status_of(a)).findings == []


async def test_disagreeing_views_are_named(virtual_mesh: VirtualMesh) -> None:
    a, b, _ = await three(virtual_mesh)
    # A fault that repairs itself within a second cannot be shown to last: so b is made to see another mesh.
    machine = cast("Any", b)._node._machine
    machine._state.members.view ^= 1
    try:
        status, seconds = await wait_named(a, "disagreeing_views")
    finally:
        machine._state.members.view ^= 1
    assert "the nodes disagree: a lists 3 agents, b lists 3" in status.verdict.text
    assert seconds < 3
    assert {node.id: node.agrees for node in status.network.nodes} == {"a": True, "b": False, "c": True}


async def test_a_partition_is_named_and_drawn_as_islands(virtual_mesh: VirtualMesh) -> None:
    a, *_ = await three(virtual_mesh)
    with virtual_mesh.partition(["a"], ["b", "c"]):
        status, _ = await wait_named(a, "dead_agent")
        await virtual_mesh.sleep(10)
        status = await status_of(a)
        assert {node.id: (node.state, node.island) for node in status.network.nodes} == {
            "a": ("alive", 0),
            "b": ("dead", 1),
            "c": ("dead", 1),
        }
    await virtual_mesh.wait_until_whole()
    await virtual_mesh.sleep(3)
    status = await status_of(a)
    assert status.findings == []
    assert {node.island for node in status.network.nodes} == {0}
    assert len(status.network.leaders) >= 1


async def test_a_stuck_mailbox_is_named(virtual_mesh: VirtualMesh) -> None:
    a, b, _ = await three(virtual_mesh)
    for _ in range(3):
        await b.send("c", "hello")
    await virtual_mesh.sleep(30)
    status = await status_of(a)
    assert status.findings == []
    assert [(one.pending, round(one.oldest_unread or 0)) for one in status.agents if one.id == "c"] == [(3, 30)]
    await virtual_mesh.sleep(30)
    status, seconds = await wait_named(a, "stuck_mailbox")
    assert "c has not read 3 messages, the oldest for" in status.verdict.text
    assert seconds < 3
    assert status.agents[0].id == "c"


@pytest.mark.parametrize("names", ["abc", "abcdefgh"])
async def test_a_one_way_link_is_named(virtual_mesh: VirtualMesh, names: str) -> None:
    nodes = await virtual_mesh.start(*names)
    await virtual_mesh.wait_until_whole()
    await virtual_mesh.sleep(12)
    with virtual_mesh.cut("b", to="c"):
        status, seconds = await wait_named(nodes[0], "one_way_link")
        assert "packets from b do not reach c, but those from c reach b" in status.verdict.text
        assert seconds < 3
        assert ("c", "b") in {(one.by, one.node) for one in status.network.blocked}
    await virtual_mesh.sleep(60)
    assert (await status_of(nodes[0])).findings == []


async def test_lost_packets_are_no_finding(virtual_mesh: VirtualMesh) -> None:
    nodes = await virtual_mesh.start(*"abcd")
    await virtual_mesh.wait_until_whole()
    with virtual_mesh.loss(0.1):
        for _ in range(60):
            await virtual_mesh.sleep(1)
            assert (await status_of(nodes[0])).findings == []


async def test_datagrams_are_sent_to_see_whether_they_arrive_only_while_somebody_asks(
    virtual_mesh: VirtualMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = await three(virtual_mesh)

    def sent() -> int:
        return sum(int(cast("Any", node)._node._driver.stats.datagrams_sent) for node in nodes)

    async def sent_within_ten_seconds() -> int:
        before = sent()
        await virtual_mesh.sleep(10)
        return sent() - before

    await virtual_mesh.sleep(10)
    calm = await sent_within_ten_seconds()
    await status_of(nodes[0])
    assert await sent_within_ten_seconds() > calm + 100
    monkeypatch.setattr("meshp2p.node.link_watch.NODES_MAX", 2)
    await status_of(nodes[0])
    assert await sent_within_ten_seconds() < calm + 20


async def test_a_wrong_clock_is_named(virtual_mesh: VirtualMesh) -> None:
    a, *_ = await three(virtual_mesh)
    virtual_mesh.clock_step("b", 3600)
    status, seconds = await wait_named(a, "wrong_clock")
    assert status.verdict.text.startswith("the clock of b is 60 min ahead of the others")
    assert seconds < 3


async def test_a_second_process_with_the_same_id_is_named(virtual_mesh: VirtualMesh) -> None:
    a, *_ = await three(virtual_mesh)
    virtual_mesh.add_hosts("other")
    with pytest.raises(meshp2p.IdConflict):
        await virtual_mesh.start("other", id="b")
    status, seconds = await wait_named(a, "duplicate_id")
    assert "uses the id b" in status.verdict.text
    assert seconds < 3
    await virtual_mesh.sleep(75)
    assert (await status_of(a)).findings == []


async def test_a_full_disk_is_named(virtual_mesh: VirtualMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    is_full = False
    store_well = OpenDisk.store

    async def store(disk: OpenDisk, batches: Sequence[tuple[Write, ...]]) -> None:
        if is_full:
            raise StoreFull("no space left on device")
        await store_well(disk, batches)

    monkeypatch.setattr(OpenDisk, "store", store)
    a, b, _ = await three(virtual_mesh)
    is_full = True
    with pytest.raises(StoreFull):
        await b.send("c", "hello")
    status, seconds = await wait_named(a, "full_disk")
    assert status.verdict.text.startswith("b stores nothing on disk and refuses messages: no space left on device")
    assert seconds < 3
    is_full = False
    await virtual_mesh.sleep(30)
    assert (await status_of(a)).findings == []


async def test_another_mesh_on_the_network_is_named(virtual_mesh: VirtualMesh) -> None:
    a, *_ = await three(virtual_mesh)
    await virtual_mesh.start("stranger", mesh="another")
    status, seconds = await wait_named(a, "other_mesh", timeout=60)
    assert "another mesh is on this network" in status.verdict.text
    assert status.verdict.severity == "notice"
    assert seconds < 10


async def test_a_slow_handler_is_named(virtual_mesh: VirtualMesh) -> None:
    a, b, c = await three(virtual_mesh)

    @b.handler("Query")
    async def answer(message: ReceivedMessage) -> object:
        await trio.sleep(message.payload)
        return None

    for _ in range(3):
        await c.query("b", 0.1, timeout=9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: c.query("b", 100, timeout=200))
        await virtual_mesh.sleep(2)
        status, seconds = await wait_named(a, "slow_handler")
        assert "the Query handler of b has worked for" in status.verdict.text
        assert "(usually 100 ms)" in status.verdict.text
        assert seconds < 3
        [handler] = status.work.handlers
        assert (handler.id, handler.kind, handler.running, handler.done, handler.failed) == ("b", "Query", 1, 3, 0)
        [query] = status.work.queries
        assert (query.id, query.target) == ("c", "b")
        nursery.cancel_scope.cancel()
    await virtual_mesh.sleep(3)
    assert (await status_of(a)).work.queries == []


async def test_a_revoked_machine_is_named(users: Users) -> None:
    root_key, anna = users.found("anna")
    lost = users.invite(anna, "lost")
    users.act("anna")
    async with meshp2p.open_node(id="one", in_loop=True, **OPTIONS) as one:
        users.act("lost")
        with pytest.raises(meshp2p.Revoked):
            await live(one, "one", "two", then=lambda: revoke(root_key, anna, lost))
        await until_listed(one, "one")
        status, _ = await wait_named(one, "revoked_machine")
    assert "machine 'lost' was revoked by the root; removed: two" in status.verdict.text
    assert status.is_secured


# The document


async def test_work_in_progress_is_shown(virtual_mesh: VirtualMesh) -> None:
    a, b, _ = await three(virtual_mesh)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: a.delegate({"x": 1}, capability="paint", wait=True))
        await virtual_mesh.sleep(2)
        [task] = (await status_of(b)).work.tasks
        assert (task.id, task.capability, task.profile, task.agent) == ("a", "paint", None, None)
        assert 1.9 <= task.seconds <= 3.1
        nursery.cancel_scope.cancel()


async def test_many_readers_cost_one(virtual_mesh: VirtualMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    a, *_ = await three(virtual_mesh)
    asked: list[float] = []
    ask_all = Reports.ask_all

    async def counted(reports: Reports) -> None:
        asked.append(trio.current_time())
        await ask_all(reports)

    monkeypatch.setattr(Reports, "ask_all", counted)
    await virtual_mesh.sleep(2)
    made: list[StatusResponse] = []

    async def read() -> None:
        made.append(await status_of(a))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(read)
    assert len(asked) == 1
    assert made == [made[0]] * 100
    await virtual_mesh.sleep(1.1)
    await read()
    assert len(asked) == 2


async def test_a_node_that_does_not_answer_delays_the_status_once(virtual_mesh: VirtualMesh) -> None:
    a, *_ = await three(virtual_mesh)
    virtual_mesh.pause("c")
    times: list[float] = []
    for _ in range(3):
        began = trio.current_time()
        assert (await status_of(a)).reports >= 2
        times.append(trio.current_time() - began)
        await virtual_mesh.sleep(1.2)
    assert sorted(seconds > 0.4 for seconds in times) == [False, False, True]
    assert max(times) < 0.6


async def test_the_series_reach_back_fifteen_minutes_and_no_further(virtual_mesh: VirtualMesh) -> None:
    [a] = await virtual_mesh.start("a")
    assert SAMPLES_MAX * SAMPLE_SECONDS == 900
    status = await status_of(a, has_series=True)
    assert status.series is not None
    assert [series.name for series in status.series] == [series.name for series in SERIES]
    assert {len(series.values) for series in status.series} == {SAMPLES_MAX}
    assert status.series[0].values[:-1] == [None] * (SAMPLES_MAX - 1)
    await virtual_mesh.sleep(1000)
    status = await status_of(a, has_series=True)
    assert status.series is not None
    assert status.series[0].values == [1.0] * SAMPLES_MAX
    assert (await status_of(a)).series is None


async def test_a_counter_is_shown_as_a_rate(virtual_mesh: VirtualMesh) -> None:
    a, *_ = await three(virtual_mesh)
    for _ in range(60):
        await a.send("b", 1)
        await virtual_mesh.sleep(0.5)
    status = await status_of(a, has_series=True)
    assert status.series is not None
    [accepted] = [series for series in status.series if series.name == "accepted"]
    assert accepted.unit == "/s"
    assert [round(value or 0) for value in accepted.values[-5:]] == [2] * 5


def test_each_series_is_a_metric_with_these_labels() -> None:
    metrics = {metric.name: metric for metric in METRICS}
    assert 20 <= len(SERIES) <= 25
    assert len({series.name for series in SERIES}) == len(SERIES)
    for series in SERIES:
        assert series.metric in metrics
        assert bool(series.labels) <= bool(metrics[series.metric].labels)


async def test_any_node_serves_it_over_http() -> None:
    async with calling("a", "b", capabilities=("paint",)) as (caller, nodes):
        await caller.register("hosted <b>&", capabilities=["dance"])
        await caller.heartbeat("hosted <b>&", status="idle", metrics={"queue": 3})
        for node in nodes:
            await node.wait_for_members(3)
        for response in await caller.ask_each("GET", "/status"):
            assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
            status = msgspec.json.decode(response.content, type=StatusResponse)
            assert status.series is None
            assert status.agents_total == 3
            agents = {agent.id: agent for agent in status.agents}
            assert agents.keys() == {"a", "b", "hosted <b>&"}
            hosted = agents["hosted <b>&"]
            assert (hosted.status, hosted.metrics, hosted.capabilities) == ("idle", {"queue": 3}, ("dance",))
        document = json.loads((await caller.ask("GET", "/status?series=true")).content)
        assert len(document["series"]) == len(SERIES)
        assert (await caller.ask("GET", "/status?series=yes")).status_code == 422


async def test_long_metrics_are_left_out() -> None:
    async with open_mesh("a") as [node]:
        for text in ("x" * 2000, "é" * 600):
            await node.set_status("busy", {"text": text})
            [agent] = (await status_of(node)).agents
            assert (agent.status, agent.metrics) == ("busy", None)
            await trio.sleep(1.1)


async def test_no_record_and_no_report_makes_a_status_long(virtual_mesh: VirtualMesh) -> None:
    """A report of 8 KB would repeat the capabilities of its node for each of its handlers."""
    names = [f"{number:03}{'x' * 120}" for number in range(125)]
    a, b, _ = await three(virtual_mesh, capabilities=names)
    real = cast("Any", b)._node.answering.report
    load = HandlerLoad("Query", 0, 0, 1, 0, 0, 0.0, 0.0)
    lie = msgspec.structs.replace(decode_report_untrusted(real()), handlers=(load,) * 256)
    cast("Any", b)._node.answering.report = lambda: encode_report(lie)
    await virtual_mesh.sleep(5)
    status = await status_of(a)
    [shown] = [agent for agent in status.agents if agent.id == "b"]
    assert shown.capabilities == tuple(names[:8])
    assert len(status.work.handlers) == 256
    assert {handler.capabilities for handler in status.work.handlers} == {shown.capabilities}
    assert len(msgspec.json.encode(status)) < 512 * 1024


async def test_each_list_of_a_status_ends(virtual_mesh: VirtualMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshp2p.node.status.LISTED_MAX", 2)
    a, b, _ = await three(virtual_mesh)
    load = HandlerLoad("Query", 1, 1, 1, 9, 0, 0.1, 1e6)
    answering = cast("Any", b)._node.answering
    lie = msgspec.structs.replace(
        decode_report_untrusted(answering.report()),
        handlers=(load,) * 9,
        queries=(OpenQuery("a", 1.0),) * 9,
        tasks=(OpenTask("x", "", "", 1.0),) * 9,
        links=(PoorLink("a", "relayed", "", "", 0.0),) * 9,
    )
    answering.report = lambda: encode_report(lie)
    virtual_mesh.kill("c")
    await virtual_mesh.sleep(5)
    status = await status_of(a)
    network = status.network
    lists = [*msgspec.structs.astuple(status.work), status.findings, status.agents, network.blocked, network.nodes]
    assert {len(entries) for entries in lists} == {2}
    assert [(node.id, node.state) for node in network.nodes] == [("a", "alive"), ("c", "dead")]
    assert network.nodes_total == 3
    assert [agent.id for agent in status.agents] == ["c", "a"]
    assert status.agents_total == 3
    assert len(status.network.watches) <= 2


async def test_readers_share_the_long_part_of_a_status(virtual_mesh: VirtualMesh) -> None:
    """Those that read slowly hold their answers in memory."""
    a, *_ = await three(virtual_mesh)
    node = cast("Any", a)._node
    plain, with_series = await node.status(has_series=False), await node.status(has_series=True)
    assert plain[0] is with_series[0]
    assert sum(map(len, plain[1:])) < 30


async def test_a_node_cannot_speak_for_the_agents_of_another(virtual_mesh: VirtualMesh) -> None:
    a, b, _ = await three(virtual_mesh)
    real = cast("Any", b)._node.answering.report
    lie = msgspec.structs.replace(
        decode_report_untrusted(real()),
        mailboxes=(MailboxLoad("c", 99, 1e6), MailboxLoad("nobody", 9, 1e6)),
        links=(PoorLink("nobody", "unreachable", "", "", 0.0),),
        watches=(WatchedNode("nobody", 0.0),),
    )
    cast("Any", b)._node.answering.report = lambda: encode_report(lie)
    await virtual_mesh.sleep(2)
    status = await status_of(a)
    assert status.findings == []
    assert {agent.pending for agent in status.agents} == {0}
    assert "nobody" not in {watch.node for watch in status.network.watches}


@pytest.mark.parametrize("report", [b"", b"\xc1", b"\x90", b"x" * 100_000], ids=lambda report: str(report[:4]))
async def test_a_report_that_makes_no_sense_is_none(virtual_mesh: VirtualMesh, report: bytes) -> None:
    a, b, _ = await three(virtual_mesh)
    cast("Any", b)._node.answering.report = lambda: report
    await virtual_mesh.sleep(40)
    status = await status_of(a)
    assert status.reports == 2
    assert "the 2 of 3 nodes that reported agree" in status.verdict.text
    reports = cast("Any", a)._node.make_status.__self__._reports
    assert reports._heard.keys() == {"c"}, "a report of a large mesh is not kept for ever"


async def test_a_path_that_is_no_utf8_spoils_no_status(virtual_mesh: VirtualMesh) -> None:
    a, b, _ = await three(virtual_mesh)
    for node in (a, b):
        keeping = cast("Any", node)._node._machine._state.keeping
        keeping._failures["test"] = "cannot write /tmp/\udcff\x1b[2J"
    await virtual_mesh.sleep(2)
    status = await status_of(a)
    assert {finding.name for finding in status.findings} == {"full_disk"}
    assert len(status.findings) == 2
    assert status.reports == 3
