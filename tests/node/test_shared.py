"""Shared maps of whole nodes, on virtual time: through partition, with merge functions, read as they change."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from meshp2p.core.config import ProtocolConfig
from meshp2p.errors import ConfigError, LimitExceeded, LocalProtocolError, NodeClosed
from meshp2p.node.events import EventsLost
from meshp2p.node.local_map import MapChange
from meshp2p.node.subscriptions import BUFFER_MAX
from meshp2p.testing import VirtualMesh, run
from meshp2p.threaded.shared_map import SharedMap


def are_same(*maps: SharedMap) -> bool:
    return len({one.version for one in maps}) == 1


def test_what_one_node_sets_the_others_read() -> None:
    async def main(mesh: VirtualMesh) -> None:
        nodes = await mesh.start("a", "b", "c")
        await mesh.wait_until_whole()
        a, b, c = (node.shared("plan") for node in nodes)
        assert nodes[0].shared("plan") is a
        await a.set("step", {"n": 1, "done": [True, None]})
        await c.wait_until(lambda: "step" in c)
        assert c["step"] == {"n": 1, "done": [True, None]}
        c["step"]["n"] = 2  # a value of its own
        assert c["step"]["n"] == 1
        await c.set("later", "ü")
        await c.delete("step")
        await mesh.wait_until(lambda: are_same(a, b, c) and len(a) == 1)
        assert (dict(a), list(b), len(b), b.get("step"), b.get("x", 7)) == ({"later": "ü"}, ["later"], 1, None, 7)
        anything: list[object] = ["later", 5]
        assert [what in a for what in anything] == [True, False]
        with pytest.raises(KeyError):
            a["step"]
        assert "plan" in repr(a)

    run(main)


def test_both_sides_of_a_partition_write_and_agree_after_it() -> None:
    async def main(mesh: VirtualMesh) -> None:
        nodes = await mesh.start("a", "b", "c", "d")
        await mesh.wait_until_whole()
        a, b, c, d = (node.shared("m") for node in nodes)
        await a.set("both", 0)
        await mesh.wait_until(lambda: are_same(a, b, c, d))
        mesh.partition(["a", "b"], ["c", "d"])
        await a.set("both", 1)
        await a.set("left", 1)
        await mesh.sleep(30)
        await d.set("both", 2)
        await d.set("right", 2)
        await mesh.wait_until(lambda: are_same(a, b) and are_same(c, d) and len(c) == 2)
        assert (dict(b), dict(c)) == ({"both": 1, "left": 1}, {"both": 2, "right": 2})
        mesh.heal()
        await mesh.wait_until(lambda: are_same(a, b, c, d))
        assert dict(b) == {"both": 2, "left": 1, "right": 2}

    run(main)


def test_a_merge_function_joins_what_was_written_at_the_same_time() -> None:
    def longest(one: list[str], other: list[str]) -> list[str]:
        return sorted({*one, *other})

    async def main(mesh: VirtualMesh) -> None:
        nodes = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        a, b = (node.shared("tags", merge=longest) for node in nodes)
        assert nodes[0].shared("tags") is a
        with pytest.raises(LocalProtocolError, match="another merge function"):
            nodes[0].shared("tags", merge=lambda one, _other: one)
        mesh.partition(["a"], ["b"])
        await mesh.sleep(30)
        await a.set("k", ["x"])
        await b.set("k", ["y"])
        await b.set("k", ["z"])
        assert b["k"] == ["y", "z"]
        mesh.heal()
        await mesh.wait_until(lambda: are_same(a, b))
        assert a["k"] == ["x", "y", "z"]

    run(main)


def test_where_a_merge_function_fails_the_later_value_stands(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_one: Any, _other: Any) -> Any:
        raise ValueError("no idea")

    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        shared = a.shared("m", merge=broken)
        await shared.set("k", 1)
        await shared.set("k", 2)
        assert shared["k"] == 2

    run(main)
    assert "merge function of map 'm' failed" in caplog.text


def test_changes_begin_with_what_is_so() -> None:
    async def main(mesh: VirtualMesh) -> None:
        nodes = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        a, b = (node.shared("m") for node in nodes)
        await a.set("x", 1)
        changes = a.changes()
        await a.set("y", 2)
        await b.wait_until(lambda: len(b) == 2)
        await b.delete("x")
        assert [await anext(changes) for _ in range(3)] == [
            MapChange("x", 1),
            MapChange("y", 2),
            MapChange("x", None, is_deleted=True),
        ]
        await a.set("y", 2)  # the same again is no change
        await a.set("y", 3)
        assert await anext(changes) == MapChange("y", 3)

    run(main)


def test_a_slow_reader_is_told_that_it_lost_changes() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        shared = a.shared("m")
        changes = shared.changes()
        for number in range(BUFFER_MAX + 5):
            await shared.set("k", number)
        got = [await anext(changes) for _ in range(BUFFER_MAX + 1)]
        assert got[-1] == EventsLost(5)

    run(main)


def test_it_ends_with_its_node() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        shared = a.shared("m")
        changes = shared.changes()

        async def wait() -> None:
            with pytest.raises(NodeClosed):
                await shared.wait_until(lambda: "never" in shared)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await a.leave()
        assert [change async for change in changes] == []
        assert [change async for change in shared.changes()] == []
        with pytest.raises(NodeClosed):
            await shared.set("k", 1)
        with pytest.raises(NodeClosed):
            a.shared("other")

    run(main)


def test_wrong_use_is_refused_and_says_what_is_allowed() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a", protocol=ProtocolConfig(map_value_bytes_max=100))
        shared = a.shared("m")
        for key in ("", "k" * 513, "\ud800", 7):
            with pytest.raises(ConfigError, match="key"):
                await shared.set(key, 1)  # type: ignore[arg-type]
        for value in (object(), {1: object()}, "\ud800"):
            with pytest.raises(ConfigError, match="value of 'k'"):
                await shared.set("k", value)
        with pytest.raises(LimitExceeded, match="map_value_bytes_max = 100"):
            await shared.set("k", "x" * 100)
        with pytest.raises(ConfigError, match="name"):
            a.shared("")
        assert len(shared) == 0

    run(main)
