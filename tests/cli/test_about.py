"""``meshp2p agent``, ``why`` and ``ping``: one agent, as a node knows and reaches it."""

from __future__ import annotations

import itertools
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

import meshp2p
from meshp2p import Instance, MemberDied, MeshClient, MeshNode, ProtocolConfig, State, Unreachable
from meshp2p.cli import about, ask, main
from meshp2p.cli.output import detail_of
from meshp2p.core.events import Evidence
from meshp2p.wire.contract import InstanceDetail, LeaderResponse, PingResponse
from meshp2p.wire.event_contract import (
    MemberDiedEvent,
    MemberJoinedEvent,
    MemberRecoveredEvent,
    MemberSuspectedEvent,
    PeerUnreachableEvent,
    SnapshotEvent,
    StreamedEvent,
)
from tests.cli.shells import Shell
from tests.http.meshes import open_mesh
from tests.processes.mesh_processes import open_ups

ALONE = ("--no-mdns", "--port", "0")
QUICK = ProtocolConfig(instance_timeout=1.0)


@asynccontextmanager
async def two_nodes(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[tuple[Shell, list[MeshNode]]]:
    """A shell for node a; node b hosts an instance."""
    async with open_mesh("a", "b") as nodes, MeshClient(nodes[1].url) as client:
        await client.register("painter", "studio", 7, ["paint", "draw"], ["artist"])
        await client.heartbeat("painter", "busy", {"queue": 3})
        await nodes[0].wait_for_members(3)
        yield Shell(nodes[0].url, capsys), nodes


async def test_all_that_is_known_of_an_agent_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    async with two_nodes(capsys) as (sh, _):
        code, out, _ = await sh.run("agent", "painter")
        assert code == 0
        name, *rows = out.splitlines()
        known = {row.split("  ")[1]: row.split("  ")[-1].strip() for row in rows}
        assert name == "painter"
        assert (known["state"], known["leads"], known["home"], known["addresses"]) == ("alive", "no", "b", "-")
        assert (known["capabilities"], known["profiles"]) == ("paint, draw", "artist")
        assert (known["status"], known["metrics"], known["place"]) == ("busy", '{"queue":3}', "studio:7")
        assert known["reached"].startswith("directly, in ")
        assert known["reached"].endswith(" ms to b and back")
        told = await sh.json("agent", "painter")
        assert told["agent"]["instance_id"] == "painter"
        assert (told["suspicion"], told["unreachable"]) == (None, None)
        assert (told["reached"]["home"], told["reached"]["via"]) == ("b", None)
        assert told["reached"]["seconds"] > 0
        code, out, _ = await sh.run("why", "painter")
        assert (code, len(out.splitlines())) == (0, 2)
        assert out.startswith("painter is alive, and no node found anything wrong with it\n")
        own = (await sh.run("agent", "a"))[1]
        assert "yes, epoch " in own
        assert "here: the node that was asked is a" in own


async def test_a_ping_says_what_is_called_and_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    async with two_nodes(capsys) as (sh, _):
        code, out, _ = await sh.run("ping", "painter", "--count", "3", "--interval", "0.01")
        first, *calls, last = out.splitlines()
        assert code == 0
        assert first.startswith("calls to b, the home of painter, which is not called itself;")
        assert [call.split(", in ")[0] for call in calls] == ["1: directly", "2: directly", "3: directly"]
        assert last.startswith("3 calls, 3 answered; min/mean/max ")
        code, out, _ = await sh.run("ping", "b", "--json", "--count", "2", "--interval", "0.01")
        one, two, summary = map(json.loads, out.splitlines())
        assert (one["call"], two["call"], two["home"], two["via"]) == (1, 2, "b", None)
        assert summary["min_seconds"] == min(one["seconds"], two["seconds"])
        assert (summary["calls"], summary["answered"]) == (2, 2)
        code, out, _ = await sh.run("ping", "a", "--count", "2")
        assert (code, len(out.splitlines())) == (0, 2)
        assert "min/mean/max" not in out


@pytest.mark.parametrize("command", ["agent", "ping", "why"])
async def test_an_unknown_id_is_an_error_with_the_nearest(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with two_nodes(capsys) as (sh, _):
        code, out, err = await sh.run(command, "paintr")
        assert (code, out) == (1, "")
        assert err.startswith("meshp2p: no agent 'paintr' is in the mesh")
        assert err.endswith(": did you mean painter?\n")
        code, out, err = await sh.run(command, "\x1b[2Jzzz\u202e")
        assert (code, out) == (1, "")
        assert err.removesuffix("\n").isprintable()


async def test_why_says_what_happened_to_a_dead_agent(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_mesh("node", protocol=QUICK) as (node,), MeshClient(node.url) as client:
        sh = Shell(node.url, capsys)
        events = node.events()
        await client.register("agent\x1b", "h", 1)
        while not isinstance(await anext(events), MemberDied):
            pass
        code, out, _ = await sh.run("why", "agent\x1b")
        assert code == 0
        said = [line.split("Z  ")[-1] for line in out.splitlines()]
        assert said[:3] == [
            "agent\\x1b is dead",
            "joined agent\\x1b",
            "died agent\\x1b (it sent no heartbeat, found by node)",
        ]
        assert re.fullmatch(r"now: agent\\x1b died \d+ \w+ ago: it sent no heartbeat, found by node", said[3])
        assert said[4].startswith("  -> start agent\\x1b again")
        code, out, _ = await sh.run("agent", "node")
        assert "finding" not in out
        told = await sh.json("why", "agent\x1b")
        assert (told["instance_id"], told["state"]) == ("agent\x1b", "dead")
        assert [finding["name"] for finding in told["findings"]] == ["dead_agent"]
        assert [event["type"] for event in told["events"]] == ["member_joined", "member_died"]
        assert told["events"][1]["evidence"] == "no_heartbeat"


async def test_why_asks_the_nodes_that_run_longest_if_none_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_mesh("old", protocol=QUICK) as (old,), MeshClient(old.url) as client:
        events = old.events()
        await client.register("worker", "h", 1)
        while not isinstance(await anext(events), MemberDied):
            pass
        seed = [str(old.addresses[0])]
        async with meshp2p.open_node(in_loop=True, id="late", port=0, mdns=False, join=seed, protocol=QUICK) as late:
            await late.wait_for_members(2)
            await old.wait_for_members(2)

            async def find(*_: object, **__: object) -> list[str]:
                return [late.url]

            monkeypatch.setattr(ask, "find_nodes", find)
            assert await trio.to_thread.run_sync(main, ["why", "worker", "--node", late.url]) == 1
            assert "'worker' is in the mesh, and late remembers none" in capsys.readouterr().err
            assert await trio.to_thread.run_sync(main, ["why", "worker"]) == 0
            assert [line.split("Z  ")[-1] for line in capsys.readouterr().out.splitlines()][:3] == [
                "worker is dead",
                "joined worker",
                "died worker (it sent no heartbeat, found by old)",
            ]
            assert await trio.to_thread.run_sync(main, ["why", "late", "--json"]) == 0
            told = json.loads(capsys.readouterr().out)
            assert (told["state"], told["node_id"]) == ("alive", "late")
            assert await trio.to_thread.run_sync(main, ["why", "nobody"]) == 1


async def test_a_node_that_tells_no_end_of_events_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(about, "_PAST_MAX", 2)
    async with two_nodes(capsys) as (sh, _):
        code, out, err = await sh.run("why", "painter")
        assert (code, out) == (1, "")
        assert "told of more events than a node has" in err


def test_many_deaths_with_each_other_take_no_time() -> None:
    """As only a hostile node tells them: each of many homes is followed once."""
    detail = InstanceDetail(
        *("x", "h", 1, (), False, "", "", (), None, None, "dead"),
        *("", 1, None, (), 0, None),
    )
    past = [
        MemberDiedEvent("", msgspec.structs.replace(detail, instance_id=name, home=home), None, "home_lost")
        for _ in range(500)
        for name, home in (("x", "y"), ("y", "x"), ("x", "x"), ("y", "z"), ("z", "x"))
    ]
    assert len(set(about._causes(past, "x", len(past), {"x"}))) > 1000


class Past:
    """Events that led to the present, told in their order."""

    def __init__(self, node: MeshNode) -> None:
        self._node = node
        self._times = (f"2026-11-30T12:00:{second:02d}.000Z" for second in itertools.count())
        self.events: list[StreamedEvent] = []

    def of(self, name: str, home: str) -> InstanceDetail:
        own = self._node.member(self._node.id)
        assert own is not None
        return msgspec.structs.replace(detail_of(own), instance_id=name, home=home)

    def joined(self, name: str, home: str) -> None:
        self.events.append(MemberJoinedEvent(next(self._times), self.of(name, home)))

    def suspected(self, name: str, by: str) -> None:
        self.events.append(MemberSuspectedEvent(next(self._times), self.of(name, name), by, "silent"))

    def recovered(self, name: str) -> None:
        self.events.append(MemberRecoveredEvent(next(self._times), self.of(name, name)))

    def died(self, name: str, home: str, by: str, evidence: Evidence) -> None:
        self.events.append(MemberDiedEvent(next(self._times), self.of(name, home), by, evidence))


async def test_why_follows_the_causes_to_the_home(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_mesh("node") as (node,):
        past = Past(node)
        past.joined("agent", "old")
        past.died("agent", "old", "old", "no_heartbeat")
        past.joined("home", "home")
        past.joined("agent", "home")
        past.joined("other", "other")
        past.suspected("home", "x")
        past.recovered("home")
        past.suspected("other", "x")
        past.events.append(PeerUnreachableEvent("2026-11-30T12:00:30.000Z", "home", "timed out"))
        past.suspected("home", "y")
        past.died("home", "home", "y", "silent")
        past.died("agent", "home", "z", "home_lost")
        past.died("other", "other", "x", "silent")

        async def read_past(client: MeshClient) -> Any:
            return past.events, SnapshotEvent("now", [], LeaderResponse(None, 0, None, False))

        monkeypatch.setattr(about, "_read_past", read_past)
        _, out, _ = await Shell(node.url, capsys).run("why", "agent")
        assert [line.split("Z  ")[-1] for line in out.splitlines()] == [
            "agent is dead",
            "joined home",
            "joined agent",
            "suspected home (it did not answer, found by x)",
            "recovered home",
            "no path to home, directly or through other nodes; messages for it wait: timed out",
            "suspected home (it did not answer, found by y)",
            "died home (it did not answer, found by y)",
            "died agent (its home is gone, found by z)",
        ]


async def test_a_suspect_is_shown_with_who_suspects_it_and_that_it_is_not_reached(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_nodes(capsys) as (sh, nodes):
        past = Past(nodes[0])
        past.suspected("b", "x")
        past.recovered("b")
        past.suspected("b", "y")
        suspect = msgspec.structs.replace(await expect_b(nodes[0]), state=State.SUSPECT)

        async def member(client: MeshClient, instance_id: str) -> Instance:
            return suspect

        async def read_past(client: MeshClient) -> Any:
            return past.events, None

        async def call(client: MeshClient, instance_id: str) -> PingResponse:
            raise Unreachable("node 'b' does not answer: timed out")

        for name, function in (("expect_member", member), ("_read_past", read_past), ("_call", call)):
            monkeypatch.setattr(about, name, function)
        code, out, _ = await sh.run("agent", "b")
        assert code == 0
        assert "suspected       2026-11-30T12:00:02.000Z: suspected b (it did not answer, found by y)" in out
        assert "reached         no: node 'b' does not answer: timed out" in out
        told = await sh.json("agent", "b")
        assert (told["agent"]["state"], told["suspicion"]["by"]) == ("suspect", "y")
        assert (told["reached"], told["unreachable"]) == (None, "node 'b' does not answer: timed out")
        code, out, _ = await sh.run("ping", "b", "--count", "2", "--interval", "0.01")
        assert code == 1
        assert out.splitlines()[1:] == [
            "1: node 'b' does not answer: timed out",
            "2: node 'b' does not answer: timed out",
            "2 calls, 0 answered",
        ]


async def expect_b(node: MeshNode) -> Instance:
    member = node.member("b")
    assert member is not None
    return member


async def test_a_killed_process_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(60):
        async with open_ups() as up:
            a = await up("--id", "a", *ALONE)
            b = await up("--id", "b", *ALONE, "--join", a.ready["addresses"][0])
            await a.until_sees("a", "b")
            await b.end(signal.SIGKILL)
            await a.until(lambda up: "died" in up.words("b"))
            _, out, _ = await Shell(a.ready["url"], capsys).run("why", "b")
            assert out.startswith("b is dead\n")
            assert "  died b (its process is gone, found by a)\n" in out
            assert "\n  -> start b again" in out
