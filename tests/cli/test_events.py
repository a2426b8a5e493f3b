"""``meshp2p events``: what it prints of a real node, filtered, as text and as JSON."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
import trio

from meshp2p import MeshClient
from meshp2p.cli import events, main, make_parser
from meshp2p.cli.changes import Changes
from meshp2p.wire.contract import InstanceDetail
from meshp2p.wire.event_contract import (
    MemberDiedEvent,
    MemberJoinedEvent,
    MemberLeftEvent,
    MemberUpdatedEvent,
    MeshEvent,
    StreamedEvent,
)
from tests.http.meshes import open_mesh

DETAIL = InstanceDetail(*("x", "h", 1, (), False, "", "", (), None, None, "alive"), *("", 1, None, (), 0, None))


async def printed_until(
    end: str, monkeypatch: pytest.MonkeyPatch, *words: str, while_it_runs: Any = trio.lowlevel.checkpoint
) -> list[str]:
    """The lines that the command prints until one has this in it. The function runs once the first is printed."""
    lines: list[str] = []
    has_begun = trio.Event()

    def note(line: str) -> None:
        lines.append(line)
        has_begun.set()
        if end in line:
            nursery.cancel_scope.cancel()

    monkeypatch.setattr(events, "write_line", note)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(events.events, make_parser().parse_args(["events", *words]))
        await has_begun.wait()
        await while_it_runs()
        await trio.sleep_forever()
    return lines


async def test_it_prints_the_present_and_then_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_mesh("a", "b") as [a, _], MeshClient(a.url) as client:

        async def come_and_go() -> None:
            await client.register("zed\n", "h", 1)
            await client.deregister("zed\n")

        lines = await printed_until("left", monkeypatch, "--node", a.url, while_it_runs=come_and_go)
        assert lines[0].split("  ")[1].startswith("members: a, b; leader is a (epoch ")
        said = [line.split("  ")[1] for line in lines[1:]]
        assert said[0] == "joined zed\\n"
        assert said[-1] == "left zed\\n"
        assert all(line[:3] == "202" and line[23] == "Z" for line in lines)


async def test_an_update_says_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_mesh("a") as [a], MeshClient(a.url) as client:
        await client.register("zed", "h", 1)
        await client.heartbeat("zed", "idle")

        async def change() -> None:
            await client.register("zed", "h", 2, ["paint\x1b"], ["x" * 200])
            await client.deregister("zed")

        lines = await printed_until("left", monkeypatch, "--node", a.url, "--id", "zed", while_it_runs=change)
        said = [line.split("  ")[1] for line in lines[1:-1]]
        assert said == [
            f'updated zed: capabilities ["paint\\u001b"]; agent profiles ["{"x" * 98}...; port 2',
        ]


def test_a_change_of_nothing_that_is_shown_is_said_too() -> None:
    changes = Changes()
    assert changes.text_of(MemberUpdatedEvent("", DETAIL)) == ""  # it is not known how it was
    assert changes.text_of(MemberUpdatedEvent("", DETAIL)) == ": published again"


@pytest.mark.parametrize(
    "ending", [MemberDiedEvent("", DETAIL, None, "silent"), MemberLeftEvent("", DETAIL)], ids=["died", "left"]
)
def test_a_member_that_died_or_left_is_forgotten(ending: MeshEvent) -> None:
    changes = Changes()
    changes.text_of(MemberJoinedEvent("", DETAIL))
    changes.text_of(ending)
    assert changes.text_of(MemberUpdatedEvent("", DETAIL)) == ""


async def test_it_begins_with_the_past_if_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_mesh("a") as [a], MeshClient(a.url) as client:
        await client.register("zed", "h", 1)
        await client.deregister("zed")
        lines = await printed_until("members: ", monkeypatch, "--node", a.url, "--past")
        said = [line.split("  ")[1] for line in lines]
        assert said.index("joined zed") < said.index("left zed") < len(said) - 1
        assert said[-1].startswith("members: a; leader is a")


async def test_it_prints_only_what_was_asked_for_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_mesh("a") as [a], MeshClient(a.url) as client:

        async def come_and_go() -> None:
            for name in ("x", "y", "z"):
                await client.register(name, "h", 1)
            for name in ("x", "y", "z"):
                await client.deregister(name)
            await client.register("a-last", "h", 1)
            await client.deregister("a-last")

        words = ("--node", a.url, "--json", "--id", "y", "--id", "a", "--id", "a-last")
        types = ("--type", "member_left", "--type", "snapshot")
        lines = await printed_until('"a-last"', monkeypatch, *words, *types, while_it_runs=come_and_go)
        found = [json.loads(line) for line in lines]
        assert [one["type"] for one in found] == ["snapshot", "member_left", "member_left"]
        assert [one["instance"]["instance_id"] for one in found[1:]] == ["y", "a-last"]


def test_an_unknown_type_is_refused_with_all_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["events", "--type", "nonsense"])
    told = capsys.readouterr().err
    for shape in get_args(StreamedEvent):
        assert str(shape.__struct_config__.tag) in told


def test_without_a_node_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--node", "127.0.0.1:1"]) == 1
    assert "no node answered GET /events" in capsys.readouterr().err
