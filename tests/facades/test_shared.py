"""Shared maps of agents whose node runs in a thread of its own: on asyncio, in plain threads, and beside trio."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import trio

import meshp2p
import meshp2p.aio
from meshp2p import EventsLost, MapChange
from meshp2p.errors import ConfigError, LimitExceeded, LocalProtocolError, NodeClosed, WaitTimeout
from tests.facades.meshes import LONG, QUICK, open_pair, options


def union(one: list[str], other: list[str]) -> list[str]:
    return sorted({*one, *other})


def first(one: Any, _other: Any) -> Any:
    return one


# In plain threads


def test_what_one_thread_sets_another_node_reads() -> None:
    with open_pair() as (a, b):
        ours, theirs = a.shared("plan"), b.shared("plan")
        assert a.shared("plan") is ours
        value = {"n": 1, "done": [True, None]}
        ours.set("step", value)
        value["n"] = 2
        theirs.wait_until(lambda: "step" in theirs, timeout=LONG)
        assert theirs["step"] == {"n": 1, "done": [True, None]}
        theirs["step"]["n"] = 3  # a value of its own
        theirs.set("another", "ü")
        ours.wait_until(lambda: len(ours) == 2, timeout=LONG)
        assert (list(ours), list(ours.keys())) == (["another", "step"], ["another", "step"])
        assert list(ours.values()) == ["ü", {"n": 1, "done": [True, None]}]
        assert ours == theirs == dict(ours.items()) == dict(ours)
        assert ours.version == theirs.version
        before = ours.items()
        ours.delete("step")
        ours.delete("step")
        theirs.wait_until(lambda: "step" not in theirs, timeout=LONG)
        assert (len(before), theirs.get("step"), theirs.get("x", 7)) == (2, None, 7)
        assert (ours.name, repr(ours)) == ("plan", f"<SharedMap 'plan' of 1 keys, version {ours.version}>")


def test_a_thread_iterates_over_changes_while_others_write() -> None:
    with open_pair() as (a, b):
        ours, theirs = a.shared("m"), b.shared("m")
        ours.set("x", 1)
        theirs.wait_until(lambda: "x" in theirs, timeout=LONG)
        with theirs.changes() as changes:
            assert changes.get(timeout=LONG) == MapChange("x", 1)
            with pytest.raises(WaitTimeout):
                changes.get(timeout=0.01)
            writers = [threading.Thread(target=ours.set, args=(f"k{number}", number)) for number in range(8)]
            for writer in writers:
                writer.start()
            seen = [changes.get(timeout=LONG) for _ in writers]
            for writer in writers:
                writer.join(LONG)
            assert sorted(seen, key=str) == [MapChange(f"k{number}", number) for number in range(8)]
            ours.delete("x")
            assert changes.get(timeout=LONG) == MapChange("x", None, is_deleted=True)
            b.leave()
            assert list(changes) == []


def test_a_thread_is_told_of_wrong_use_and_of_the_end() -> None:
    with open_pair(protocol=meshp2p.ProtocolConfig(settle_timeout=0.05, map_value_bytes_max=100)) as (_, b):
        shared = b.shared("m", merge=union)
        assert b.shared("m") is shared
        with pytest.raises(LocalProtocolError, match="another merge function"):
            b.shared("m", merge=first)
        with pytest.raises(ConfigError, match="name"):
            b.shared("")
        with pytest.raises(ConfigError, match="key"):
            shared.set("", 1)
        with pytest.raises(ConfigError, match="value of 'k'"):
            shared.set("k", object())
        with pytest.raises(LimitExceeded, match="map_value_bytes_max = 100"):
            shared.set("k", "x" * 100)
        with pytest.raises(KeyError, match="k"):
            shared["k"]
        with pytest.raises(WaitTimeout, match=r"of map 'm' did not come within 0.01 s"):
            shared.wait_until(lambda: "k" in shared, timeout=0.01)
        with pytest.raises(ZeroDivisionError):
            shared.wait_until(lambda: 1 / 0 > 1)
        ended: list[type[BaseException]] = []

        def wait() -> None:
            try:
                shared.wait_until(asked)
            except NodeClosed as error:
                ended.append(type(error))

        def asked() -> bool:
            began.set()
            return "k" in shared

        began = threading.Event()
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert began.wait(LONG)
        b.leave()
        waiting.join(LONG)
        assert ended == [NodeClosed]
        with pytest.raises(NodeClosed):
            shared.set("k", 1)
    for call in (shared.changes, shared.items, lambda: shared.version, lambda: "k" in shared, lambda: shared["k"]):
        with pytest.raises(NodeClosed, match="open a new one"):
            call()
    assert "'m'" in repr(shared)


def test_values_that_are_equal_are_kept_as_equal_text() -> None:
    with open_pair() as (a, b):
        ours, theirs = a.shared("m"), b.shared("m")
        ours.set("k", {"x": 1, "y": 2})
        theirs.wait_until(lambda: "k" in theirs, timeout=LONG)
        changes = theirs.changes()
        ours.set("k", {"y": 2, "x": 1})
        ours.set("k", 3)
        assert [changes.get(timeout=LONG) for _ in range(2)] == [MapChange("k", {"x": 1, "y": 2}), MapChange("k", 3)]


# On asyncio


def test_an_agent_on_asyncio_shares_a_map() -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(LONG),
            meshp2p.aio.open_node(**options("a")) as a,
            meshp2p.aio.open_node(**options("b", a)) as b,
        ):
            ours, theirs = a.shared("tags", merge=union), b.shared("tags", merge=union)
            assert a.shared("tags") is ours
            threads: list[threading.Thread] = []

            def holds() -> bool:
                threads.append(threading.current_thread())
                return theirs.get("k") == ["x", "y"]

            waiting = asyncio.create_task(theirs.wait_until(holds))
            await ours.set("k", ["x"])
            await ours.set("k", ["y"])
            await waiting
            assert {*threads} == {threading.main_thread()}
            async with ours.changes() as changes:
                assert await anext(changes) == MapChange("k", ["x", "y"])
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(changes), 0.01)
                await theirs.delete("k")
                assert await anext(changes) == MapChange("k", None, is_deleted=True)
            never = asyncio.create_task(ours.wait_until(lambda: "never" in ours))
            await asyncio.sleep(0)
            never.cancel()
            with pytest.raises(asyncio.CancelledError):
                await never
            await ours.set("k", ["z"])
            assert dict(ours.items()) == {"k": ["z"]}

    asyncio.run(main())


def test_an_agent_on_asyncio_is_told_of_wrong_use_and_of_the_end() -> None:
    async def main() -> None:
        async with asyncio.timeout(LONG), meshp2p.aio.open_node(**options("a", protocol=QUICK)) as a:
            shared = a.shared("m")
            with pytest.raises(LocalProtocolError, match="another merge function"):
                a.shared("m", merge=union)
            with pytest.raises(ConfigError, match="name"):
                a.shared("")
            with pytest.raises(ConfigError, match="value of 'k'"):
                await shared.set("k", {1: object()})
            with pytest.raises(ConfigError, match="key"):
                await shared.delete("")
            changes = shared.changes()
            waiting = asyncio.create_task(shared.wait_until(lambda: "never" in shared))
            await asyncio.sleep(0)
            await a.leave()
            with pytest.raises(NodeClosed):
                await waiting
            assert [change async for change in changes] == []
        with pytest.raises(NodeClosed, match="open a new one"):
            a.shared("m")
        with pytest.raises(NodeClosed, match="open a new one"):
            await shared.set("k", 1)

    asyncio.run(main())


# Beside trio


async def test_an_agent_on_trio_beside_its_node_shares_a_map() -> None:
    with trio.fail_after(LONG):
        async with (
            meshp2p.open_node(in_loop=True, **options("a")) as a,
            meshp2p.open_node(**options("b", a)) as b,
        ):
            ours, theirs = a.shared("m"), b.shared("m")
            changes = theirs.changes()
            with trio.move_on_after(0.01) as scope:
                await theirs.wait_until(lambda: "k" in theirs)
            assert scope.cancelled_caught
            await ours.set("k", 1)
            await theirs.wait_until(lambda: "k" in theirs)
            await theirs.set("k", 2)
            await ours.wait_until(lambda: ours["k"] == 2)
            got: list[MapChange | EventsLost] = [await anext(changes), await anext(changes)]
            assert got == [MapChange("k", 1), MapChange("k", 2)]
            assert ours == theirs
            with pytest.raises(ConfigError, match="value of 'k'"):
                await theirs.set("k", "\ud800")
