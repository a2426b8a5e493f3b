"""GET /events: a snapshot, then each event; resumption, slow readers, silence and the end."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast, get_args

import h11
import httpx
import msgspec
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshp2p import (
    EventsLost,
    LeaderChanged,
    MemberDied,
    MemberEvent,
    MemberJoined,
    MemberLeft,
    MeshClient,
    MeshNode,
    RequestRefused,
    StorageFailed,
    Unreachable,
)
from meshp2p.client import event_stream
from meshp2p.client.event_stream import open_event_stream
from meshp2p.core.events import InstanceDied, InstanceJoined, InstanceLeft, InstanceUpdated, LeadershipChanged
from meshp2p.core.record import State
from meshp2p.http.app import make_app
from meshp2p.http.body import BadRequest
from meshp2p.http.limits import HttpLimits, HttpRefusal
from meshp2p.http.request import Request, Write
from meshp2p.http.route import Route
from meshp2p.node import event_log
from meshp2p.node.event_log import EventLog
from meshp2p.node.events import NodeEvent, event_text
from meshp2p.node.subscriptions import Subscriptions
from meshp2p.testing import VirtualMesh, run
from meshp2p.wire.event_contract import HEARTBEAT_SECONDS, SnapshotEvent, StreamedEvent
from tests.core.builders import NOW_MS, a_machine, a_record
from tests.http.clients import Client, serving
from tests.http.meshes import DETAIL_KEYS, calling, open_mesh
from tests.http.test_messages import Node

Event = tuple[str | None, str, dict[str, Any]]
"""The id, the name and the data of an event."""


def parse(text: str) -> list[Event]:
    """The events in a part of a stream, as a browser reads them."""
    found: list[Event] = []
    for block in text.split("\n\n")[:-1]:
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, rest = line.partition(":")
            fields.setdefault(name, []).append(rest.removeprefix(" "))
        if "data" in fields:
            data = json.loads("\n".join(fields["data"]))
            [name] = fields["event"]
            assert data["type"] == name
            found.append((fields.get("id", [None])[0], name, data))
        else:
            assert fields.keys() == {""}, block
    return found


class Reader:
    """Stands for a client: it reads at once, or not until it is told to."""

    def __init__(self) -> None:
        self.text = ""
        self.reads = trio.Event()
        self.reads.set()

    async def write(self, piece: bytes) -> None:
        await trio.lowlevel.checkpoint()
        await self.reads.wait()
        self.text += piece.decode()

    @property
    def events(self) -> list[Event]:
        return parse(self.text)

    @property
    def names(self) -> list[str]:
        return [name for _, name, _ in self.events]


class Bench:
    """A log of a machine alone, whose events are put in by the test."""

    def __init__(self) -> None:
        self.subscriptions = Subscriptions()
        self.machine = a_machine("me")
        self.log = EventLog(self.machine, self.subscriptions, lambda: NOW_MS)

    def happen(self, count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            self.subscriptions.put(InstanceJoined(a_record(f"m{number}")))


@asynccontextmanager
async def reading(bench: Bench, last_id: str | None = None, *, has_past: bool = False) -> AsyncIterator[Reader]:
    reader = Reader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.log.open(last_id, has_past=has_past), reader.write)
        await trio.testing.wait_all_tasks_blocked()
        yield reader
        nursery.cancel_scope.cancel()


def test_the_stream_has_each_event_of_a_node_with_the_same_fields() -> None:
    kinds = [*(kind for kind in get_args(NodeEvent) if kind is not MemberEvent), *MemberEvent.__subclasses__()]
    streamed = {shape.__name__: shape for shape in get_args(StreamedEvent)}
    assert streamed.keys() == {*(f"{kind.__name__}Event" for kind in kinds), "SnapshotEvent"}
    for kind in kinds:
        assert streamed[f"{kind.__name__}Event"].__struct_fields__ == ("at", *kind.__struct_fields__)


async def test_the_snapshot_comes_first_then_each_event_with_the_next_id() -> None:
    async with calling("a", "b") as (caller, nodes), raw_stream(nodes[0]) as raw:
        head = await raw.read_event()
        assert isinstance(head, h11.Response)
        headers = dict(head.headers)
        assert (headers[b"content-type"], headers[b"cache-control"]) == (b"text/event-stream", b"no-store")
        text = await raw.read_text("\n\n")
        [(first_id, name, snapshot)] = parse(text)
        assert name == "snapshot"
        assert [member["instance_id"] for member in snapshot["members"]] == ["a", "b"]
        assert all(member.keys() == DETAIL_KEYS for member in snapshot["members"])
        assert snapshot["leader"]["leader_id"] == "a"
        await caller.register("zed")
        await caller.deregister("zed")
        while "member_left" not in text:
            text += await raw.read_text("\n\n")
        names = [name for _, name, data in parse(text)[1:] if data.get("instance", {}).get("instance_id") == "zed"]
        assert (names[0], names[-1]) == ("member_joined", "member_left")
        assert first_id is not None
        stamp, number = first_id.split("-")
        ids = [event_id for event_id, _, _ in parse(text)]
        assert ids == [f"{stamp}-{int(number) + index}" for index in range(len(ids))]


async def test_a_reader_that_comes_back_gets_what_it_missed_and_no_snapshot() -> None:
    bench = Bench()
    async with reading(bench) as reader:
        bench.happen(3)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.names == ["snapshot", *["member_joined"] * 3]
        ids = [event_id for event_id, _, _ in reader.events]
    bench.happen(2, 3)
    async with reading(bench, ids[2]) as again:
        assert [data["instance"]["instance_id"] for _, _, data in again.events] == ["m2", "m3", "m4"]
    async with reading(bench, again.events[-1][0]) as last:
        assert last.events == []
        assert last.text.startswith(":"), "the reader sees that it is connected"


@pytest.mark.parametrize("last_id", ["", "x", "-", "1", "0-0", "f" * 16 + "-0", "a" * 8000, "\udcff", "0" * 16 + "-²"])
async def test_who_comes_with_an_id_that_is_not_known_is_told_and_gets_a_snapshot(last_id: str) -> None:
    async with reading(Bench(), last_id) as reader:
        assert reader.names == ["events_lost", "snapshot"]
        assert reader.events[0][2]["count"] == 0
        assert reader.events[0][0] is None


async def test_an_id_that_is_still_to_come_or_too_long_is_not_known() -> None:
    bench = Bench()
    stamp = bench.log._stamp
    for number in ("1", "-1", "9" * 19, "9" * 5000, "0x1", "1_0", " 0", ""):
        async with reading(bench, f"{stamp}-{number}") as reader:
            assert reader.names == ["events_lost", "snapshot"], number
    async with reading(bench, f"{stamp}-0") as reader:
        assert reader.names == []


async def test_who_comes_back_too_late_is_told_how_much_was_missed() -> None:
    bench = Bench()
    async with reading(bench) as reader:
        pass
    bench.happen(event_log.EVENTS_MAX + 7)
    async with reading(bench, reader.events[0][0]) as again:
        assert again.names == ["events_lost", "snapshot"]
        assert again.events[0][2]["count"] == 7


async def test_a_slow_reader_is_told_what_it_missed_and_holds_up_nobody() -> None:
    bench = Bench()
    async with reading(bench) as quick, reading(bench) as slow:
        slow.reads = trio.Event()
        for turn in range(20):
            bench.happen(500, turn * 500)
            await trio.testing.wait_all_tasks_blocked()
        assert quick.names == ["snapshot", *["member_joined"] * 10_000]
        assert slow.names == ["snapshot"]
        slow.reads.set()
        await trio.testing.wait_all_tasks_blocked()
        written = slow.names.index("events_lost")
        assert slow.names[:written] == ["snapshot", *["member_joined"] * (written - 1)]
        lost = slow.events[written][2]["count"]
        assert slow.names[written + 1 :] == ["snapshot"]
        assert written - 1 + lost + event_log.EVENTS_MAX == 10_000
        bench.happen(1)
        await trio.testing.wait_all_tasks_blocked()
        assert slow.names[-1] == "member_joined"
        assert len(bench.log._log._frames) == event_log.EVENTS_MAX


async def test_the_log_is_bounded_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "EVENTS_BYTES_MAX", 10_000)
    bench = Bench()
    async with reading(bench):
        bench.happen(1000)
        assert sum(map(len, bench.log._log._frames)) == bench.log._log._bytes <= 10_000
        bench.subscriptions.put(InstanceJoined(a_record("large", metrics=json.dumps({"x": "y" * 20_000}))))
        assert bench.log._log._bytes == 0


async def test_what_led_to_the_present_comes_before_the_snapshot_if_it_is_asked_for() -> None:
    bench = Bench()
    bench.happen(2)
    bench.subscriptions.put(InstanceUpdated(a_record("m1")))
    bench.subscriptions.put(InstanceDied(a_record("m1"), 0.0, "b", "refused"))
    async with reading(bench) as reader:
        assert reader.names == ["snapshot"]
    async with reading(bench, has_past=True) as reader:
        assert reader.names == ["member_joined", "member_joined", "member_died", "snapshot"]
        ids = [event_id for event_id, _, _ in reader.events]
        assert ids[:3] == [None] * 3
        assert reader.events[2][2]["evidence"] == "refused"
        bench.subscriptions.put(InstanceUpdated(a_record("m0")))
        await trio.testing.wait_all_tasks_blocked()
        assert reader.names[4:] == ["member_updated"]
    async with reading(bench, ids[3], has_past=True) as reader:
        assert reader.names == ["member_joined", "member_joined", "member_died", "member_updated"]


async def test_the_past_is_bounded_and_what_happens_while_it_is_told_is_told_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_log, "_PIECE_BYTES", 1)
    bench = Bench()
    bench.happen(event_log.EVENTS_MAX + 5)
    reader = Reader()
    reader.reads = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.log.open(None, has_past=True), reader.write)
        await trio.testing.wait_all_tasks_blocked()
        bench.happen(3, 5000)
        reader.reads.set()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    told = [data["instance"]["instance_id"] for _, name, data in reader.events if name == "member_joined"]
    assert told == ["m5", *(f"m{number}" for number in range(8, event_log.EVENTS_MAX + 5)), "m5000", "m5001", "m5002"]
    assert reader.names[-1] == "snapshot"
    monkeypatch.setattr(event_log, "PAST_BYTES_MAX", 10_000)
    bench.happen(1000)
    assert sum(map(len, bench.log._past._frames.values())) == bench.log._past._bytes <= 10_000


async def test_agents_that_come_and_go_crowd_out_no_other_event() -> None:
    bench = Bench()
    bench.subscriptions.put(InstanceDied(a_record("node"), 0.0, "b", "refused"))
    bench.subscriptions.put(LeadershipChanged(None, "node", 0))
    for number in range(2 * event_log.EVENTS_MAX):
        hosted = a_record(f"m{number}", home="b")
        for event in (InstanceJoined(hosted), InstanceLeft(hosted), InstanceDied(hosted, 0.0, "b", "no_heartbeat")):
            bench.subscriptions.put(event)
    async with reading(bench, has_past=True) as reader:
        assert reader.names[:2] == ["member_died", "leader_changed"]
        assert reader.names[-1] == "snapshot"
        kept = [data["instance"]["instance_id"] for _, _, data in reader.events[2:-1]]
    assert len(kept) > 1000
    assert kept == sorted(kept, key=lambda name: int(name[1:])), "in the order in which they happened"
    assert kept[-3:] == [f"m{2 * event_log.EVENTS_MAX - 1}"] * 3


async def test_a_silent_stream_has_a_comment_now_and_then(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    async with reading(bench) as reader:
        await trio.sleep(3.5 * HEARTBEAT_SECONDS)
        assert reader.text.count("\n: ") == 3
        assert reader.names == ["snapshot"]


async def test_a_large_snapshot_is_whole_and_made_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    listed = bench.machine.instances(0.0)[0]
    members = [msgspec.structs.replace(listed, id=f"\u2028m{number}\n") for number in range(1234)]
    made = []

    def instances(now: float) -> list[Any]:
        made.append(now)
        return members

    monkeypatch.setattr(bench.machine, "instances", instances)
    async with reading(bench) as one, reading(bench) as other:
        assert one.text == other.text
        [(_, _, snapshot)] = one.events
        assert [member["instance_id"] for member in snapshot["members"]] == [member.id for member in members]
        assert len(made) == 1
        bench.happen(1)
    async with reading(bench):
        assert len(made) == 2


async def test_what_is_found_of_a_member_is_told_with_its_observer() -> None:
    bench = Bench()
    dead = a_record("gone", state=State.DEAD)
    async with reading(bench) as reader:
        bench.subscriptions.put(InstanceDied(dead, 0.0, "other", "refused"))
        bench.subscriptions.put(InstanceDied(dead, 0.0, "", "silent"))
        await trio.testing.wait_all_tasks_blocked()
        told = [(name, data["by"], data["evidence"]) for _, name, data in reader.events[1:]]
        assert told == [("member_died", "other", "refused"), ("member_died", None, "silent")]


async def test_a_reason_that_is_no_utf8_is_shown_as_far_as_it_can_be() -> None:
    bench = Bench()
    async with reading(bench) as reader:
        bench.subscriptions.put(StorageFailed("/tmp/\udcff: no space"))
        await trio.testing.wait_all_tasks_blocked()
        assert reader.events[-1][2]["reason"] == "/tmp/?: no space"


class RawStream:
    """A connection that asked for events."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._protocol = h11.Connection(h11.CLIENT)

    async def ask(self) -> None:
        request = h11.Request(method="GET", target="/events", headers=[("Host", "localhost")])
        await self._stream.send_all(
            (self._protocol.send(request) or b"") + (self._protocol.send(h11.EndOfMessage()) or b"")
        )

    async def read_event(self) -> Any:
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            self._protocol.receive_data(bytes(await self._stream.receive_some()))
        return event

    async def read_text(self, end: str) -> str:
        """What comes until it ends so."""
        text = ""
        while not text.endswith(end):
            text += bytes((await self.read_event()).data).decode()
        return text


@asynccontextmanager
async def raw_stream(node: MeshNode) -> AsyncIterator[RawStream]:
    address = node.addresses[0]
    async with await trio.open_tcp_stream(address.host, address.port) as stream:
        raw = RawStream(stream)
        await raw.ask()
        yield raw


async def test_a_stream_ends_in_good_order_when_the_node_leaves() -> None:
    async with AsyncExitStack() as stack:
        async with open_mesh("a") as [node]:
            raw = await stack.enter_async_context(raw_stream(node))
            assert isinstance(await raw.read_event(), h11.Response)
            await raw.read_text("\n\n")
        await raw.read_text(": this node leaves the mesh\n\n")
        assert isinstance(await raw.read_event(), h11.EndOfMessage)


async def test_head_answers_without_a_stream() -> None:
    async with open_mesh("a") as [node], httpx.AsyncClient(trust_env=False) as client:
        for _ in range(2):
            response = await client.head(f"{node.url}/events")
            assert (response.status_code, response.content) == (200, b"")
            assert response.headers["content-type"] == "text/event-stream"


class Streaming(Node):
    """Streams for ever, with a pause after each event."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause

    def open_events(self, last_id: str | None, *, has_past: bool = False) -> Callable[[Write], Awaitable[None]]:
        async def stream(write: Write) -> None:
            while True:
                await write(b"data: 1\n\n")
                await trio.sleep(self.pause)

        return stream


GET_EVENTS = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_of_a_thousand_streams_as_many_are_served_as_may_wait_and_others_are_answered_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = HttpLimits(connections_max=1200, waiting_max=192)
    statuses: list[bytes] = []

    async def open_one(client: Client) -> None:
        await client.stream.send_all(GET_EVENTS)
        statuses.append(bytes(await client.stream.receive_some())[:12])

    async with serving(make_app(Streaming(math.inf), "0", lambda: ["localhost"]), limits) as running:
        clients: list[Client] = []
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                for _ in range(100):
                    clients.append(running.connect())
                    nursery.start_soon(open_one, clients[-1])
                await trio.testing.wait_all_tasks_blocked()
        assert statuses.count(b"HTTP/1.1 200") == 192
        assert statuses.count(b"HTTP/1.1 503") == 808
        assert running.server.stats.refused[HttpRefusal.TOO_MANY_WAITING] == 808
        answer = await running.connect().ask(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.status == 200
        for client in clients:
            await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert running.server.stats.requests_waiting == 0


async def test_a_reader_that_does_not_read_is_cut_and_costs_the_node_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with serving(make_app(Streaming(0), "0", lambda: ["localhost"])) as running:
        client = running.connect(lockstep=True)
        await client.stream.send_all(GET_EVENTS)
        await trio.sleep(60)
        assert running.server.stats.connections_open == 0
        assert running.server.stats.refused[HttpRefusal.WRITE_TIMEOUT] == 1


# The client


async def test_the_client_gives_the_events_of_a_node() -> None:
    async with open_mesh("a", "b") as nodes, MeshClient(nodes[1].url) as client, client.events() as events:
        first = [await anext(events) for _ in range(3)]
        assert [type(event) for event in first] == [MemberJoined, MemberJoined, LeaderChanged]
        assert [event.id for event in first[:2] if isinstance(event, MemberEvent)] == ["a", "b"]
        await client.register("zed", "h", 1)
        await client.deregister("zed")
        async for event in events:
            if isinstance(event, MemberLeft):
                assert event.instance == msgspec.structs.replace(event.instance, id="zed", hostname="h", port=1)
                break


async def test_the_client_reads_events_on_asyncio_and_leaves_nothing_open() -> None:
    async with open_mesh("a") as [node]:

        async def on_asyncio() -> None:
            async with MeshClient(node.url) as client:
                for _ in range(2):
                    async with client.events() as events:
                        async for event in events:
                            if isinstance(event, LeaderChanged):
                                break
                assert (await client.health())["status"] == "healthy"

        await trio.to_thread.run_sync(asyncio.run, on_asyncio())


async def follow(mesh: VirtualMesh) -> list[str]:
    """Read events at a node that is killed: what a client sees, as text."""
    await mesh.start("a", "b", "c")
    await mesh.wait_until_whole()
    told: list[str] = []
    members: set[str] = set()
    async with mesh.client("a", "b") as client, client.events() as events:
        async for event in events:
            told.append(event_text(event))
            match event:
                case MemberJoined():
                    members.add(event.id)
                case MemberEvent() if isinstance(event, MemberDied | MemberLeft):
                    members.discard(event.id)
                case EventsLost():
                    members.clear()
                case LeaderChanged() if members == {"a", "b", "c"} and len(told) < 6:
                    mesh.kill("a")
                case LeaderChanged() if members == {"b", "c"}:
                    break
    return told


def test_a_client_goes_on_at_another_node_when_its_own_is_killed_and_a_seed_repeats_what_it_sees() -> None:
    told = run(follow, seed=3)
    assert "events may have been missed while the connection was lost" in told
    assert told[-1].startswith("leader is b")
    assert run(follow, seed=3) == told


async def test_the_client_goes_on_after_the_last_event_when_the_connection_breaks() -> None:
    async with open_mesh("a") as [node], MeshClient(node.url) as client, open_event_stream(client._requests) as events:
        assert isinstance(await events.receive(), SnapshotEvent)
        await client.register("one", "h", 1)
        while (await events.receive()).__struct_config__.tag != "member_joined":
            pass
        await events.close()
        await client.register("two", "h", 1)
        while True:
            event = await events.receive()
            assert event.__struct_config__.tag in ("member_joined", "member_updated", "leader_changed")
            if event.__struct_config__.tag == "member_joined":
                break


async def receive_without_end(events: event_stream.EventStream) -> None:
    while True:
        await events.receive()


async def test_the_client_fails_when_the_node_is_gone() -> None:
    async with MeshClient("http://127.0.0.1:1") as client, open_event_stream(client._requests) as events:
        with pytest.raises(Unreachable):
            await events.receive()
    async with (
        open_mesh("a") as [node],
        MeshClient(node.url) as client,
        open_event_stream(client._requests) as events,
    ):
        await events.receive()
        node._node._event_log.end()
        with pytest.raises(Unreachable):
            await receive_without_end(events)


def answering(body: bytes, status: int = 200) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(status, stream=httpx.ByteStream(body)))


async def receive_all(body: bytes, status: int = 200) -> None:
    async with (
        MeshClient("http://h", transport=answering(body, status)) as client,
        open_event_stream(client._requests) as events,
    ):
        for _ in range(100):
            await events.receive()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"data: x\n\n", 200),
        (b"data: {}\n\n", 200),
        (b'data: {"type":"member_left","at":"x"}\n\n', 200),
        (b'data: {"type":' + b"[" * 5000 + b"\n\n", 200),
        (b"nothing\n\n", 404),
        (b'{"error":"no"}', 401),
    ],
)
async def test_what_no_node_sends_is_an_error(body: bytes, status: int) -> None:
    with pytest.raises(RequestRefused):
        await receive_all(body, status)


async def test_a_stream_that_ends_before_it_begins_is_not_asked_for_ever() -> None:
    with pytest.raises(Unreachable):
        await receive_all(b"")


async def test_an_event_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "EVENT_BYTES_MAX", 1000)
    for body in (b"data: " + b"x" * 2000, b"data: xxxxxxxxxx\n" * 100, b"x" * 2000):
        with pytest.raises(RequestRefused):
            await receive_all(body)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([b"data", b"id", b"event", b":", b" ", b"\n", b"\r\n", b"\xff", b"{}", b"x"])))
def test_any_bytes_are_read_or_refused(parts: list[bytes]) -> None:
    async def run() -> None:
        with pytest.raises((RequestRefused, Unreachable)), trio.move_on_after(1):
            await receive_all(b"".join(parts) + b"\n\ndata: {}\n\n")

    trio.run(run)


# Access


class Expiring:
    """Stands for the access of a caller whose token ends after 20 s."""

    def check(self, request: Request, route: Route) -> None:
        if trio.current_time() >= self.end:
            raise BadRequest(401, "the token expired")

    def __init__(self) -> None:
        self.end = trio.current_time() + 20


async def test_a_stream_ends_when_its_caller_may_read_no_longer(autojump_clock: trio.testing.MockClock) -> None:
    app = make_app(Streaming(1), "0", lambda: ["localhost"], access=cast("Any", Expiring()))
    start = trio.current_time()
    async with serving(app) as running:
        client = running.connect()
        await client.stream.send_all(GET_EVENTS)
        assert b"data: 1" in await client.rest()
        assert 20 <= trio.current_time() - start <= 21
        assert not any(running.server.stats.refused.values())
        assert (await running.connect().ask(GET_EVENTS)).status == 401
