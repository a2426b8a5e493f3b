"""Hundreds of operations of agents beside their nodes' threads leave no object behind."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import meshp2p
import meshp2p.blocking
from meshp2p.errors import DelegationFailed, RemoteError, WaitTimeout
from tests.facades.meshes import LONG, open_pair, options

ROUNDS = 30
PACKAGES = ("meshp2p.threaded.", "meshp2p.node.", "concurrent.futures.", "asyncio.", "trio.Event", "trio.lowlevel.")
"""Not the cancel scopes of trio: it takes past deadlines out of its heap by the thousand."""


def count() -> collections.Counter[str]:
    gc.collect()
    kinds = (f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    return collections.Counter(kind for kind in kinds if kind.startswith(PACKAGES))


def grown(before: collections.Counter[str], after: collections.Counter[str]) -> dict[str, tuple[int, int]]:
    return {kind: (before[kind], number) for kind, number in after.items() if number > before[kind] + ROUNDS // 2}


def use_blocking(a: meshp2p.blocking.MeshNode, b: meshp2p.blocking.MeshNode, number: int) -> None:
    with b.inbox() as inbox:
        a.send("b", number)
        inbox.get(timeout=LONG).acknowledge()
        with pytest.raises(WaitTimeout):
            inbox.get(timeout=0)
    for outcome in ("succeeds", "fails"):
        with contextlib.suppress(RemoteError):
            a.query("b", outcome, timeout=LONG)
        with contextlib.suppress(RemoteError):
            list(a.ask("b", outcome, timeout=LONG))
        with contextlib.suppress(DelegationFailed):
            a.delegate(outcome, capability="work", timeout=LONG)
    next(a.ask("b", "succeeds", timeout=LONG))  # and it is forgotten
    with a.delegation("succeeds", capability="work") as task:
        next(task.progress())
    with a.leadership(timeout=LONG) as lease:
        assert not lease.wait_until_lost(timeout=0)
    next(b.events())
    b.shared("m").set("k", number)
    next(b.shared("m").changes())
    b.set_status("busy", {"n": number})
    assert a.members()


def test_plain_threads_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="meshp2p")
    with open_pair(capabilities=["work"]) as (a, b):

        def work(outcome: str) -> Iterator[int]:
            yield 1
            if outcome == "fails":
                raise ValueError(outcome)
            yield 2

        b.handler("Query")(work)
        b.handler("TaskDelegation")(work)
        counts = []
        for begin in (0, ROUNDS):
            for number in range(begin, begin + ROUNDS):
                use_blocking(a, b, number)
            counts.append(count())
        assert grown(*counts) == {}
        assert counts[0]["meshp2p.threaded.node_thread.NodeThread"] >= 2


async def use_async(a: meshp2p.MeshNode, b: meshp2p.MeshNode, number: int) -> None:
    async with b.inbox() as inbox:
        await a.send("b", number)
        await (await inbox.get(timeout=LONG)).acknowledge()
        with pytest.raises(WaitTimeout):
            await inbox.get(timeout=0)
    for outcome in ("succeeds", "fails"):
        with contextlib.suppress(RemoteError):
            await a.query("b", outcome, timeout=LONG)
        with contextlib.suppress(RemoteError):
            async for _ in a.ask("b", outcome, timeout=LONG):
                pass
        with contextlib.suppress(DelegationFailed):
            await a.delegate(outcome, capability="work", timeout=LONG)
    await anext(a.ask("b", "succeeds", timeout=LONG))
    async with a.delegation("succeeds", capability="work") as task:
        await anext(task.progress())
    async with a.leadership(timeout=LONG) as lease:
        assert not await lease.wait_until_lost(timeout=0)
    await anext(b.events())
    await b.shared("m").set("k", number)
    await anext(b.shared("m").changes())
    await b.set_status("busy", {"n": number})
    assert a.members()
    for waits in (a.wait_for_members(99), a.query("b", "hangs", timeout=LONG)):
        task_ = asyncio.create_task(waits)
        await asyncio.sleep(0)
        task_.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task_


def test_agents_on_asyncio_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="meshp2p")

    async def work(outcome: str) -> AsyncIterator[int]:
        yield 1
        if outcome == "fails":
            raise ValueError(outcome)
        if outcome == "hangs":
            await asyncio.sleep(3600)
        yield 2

    async def main() -> None:
        more: dict[str, Any] = {"handlers": {"Query": work, "TaskDelegation": work}, "capabilities": ["work"]}
        async with (
            meshp2p.open_node(**options("a")) as a,
            meshp2p.open_node(**options("b", a, **more)) as b,
        ):
            await a.wait_for_members(2)
            await b.wait_for_members(2)
            counts = []
            for begin in (0, ROUNDS):
                for number in range(begin, begin + ROUNDS):
                    await use_async(a, b, number)
                counts.append(count())
            assert grown(*counts) == {}

    asyncio.run(main())
