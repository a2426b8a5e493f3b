"""Hundreds of operations leave nothing behind: what is reachable from a node is counted, type by type.

``gc.get_objects`` would not do: msgspec's Structs, strings and tuples of them are not tracked.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import types
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio._core._run import Deadlines

import meshp2p
from meshp2p.core.mail import mailbox
from meshp2p.errors import DelegationFailed, MeshError, QueryTimeout, WaitTimeout
from meshp2p.node import event_log, request_client
from meshp2p.recording.outside import RecordedOutside
from meshp2p.recording.recorder import Recorder
from meshp2p.testing import VirtualMesh, run

WARM_UP = 60
"""Rounds before the first count. They fill what is bounded, and counters pass 256, from where an int is an object."""

ROUNDS = 40
"""Rounds between the two counts, each with every operation. A leak is at least one object in each."""

STOPS = (types.ModuleType, type, types.CodeType, types.BuiltinFunctionType, Deadlines, Recorder, RecordedOutside)
"""What belongs to the program, not to a node. trio takes past deadlines out of its heap by the thousand. A recorder
keeps up to 64 inputs and their answers as they are, and tests of its own hold its limits."""

PROTOCOL = meshp2p.ProtocolConfig(
    message_timeout=60, remembered_max=20, receipts_max=20, map_deleted_retention=30, departed_retention=30
)
"""What is remembered on purpose is forgotten before it is counted."""


def reachable(*roots: object) -> collections.Counter[str]:
    """How many objects of each type there are that the roots refer to, directly or not."""
    counts: collections.Counter[str] = collections.Counter()
    seen: dict[int, object] = {}
    waiting: list[object] = list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, STOPS) or type(one).__module__.startswith("meshp2p.testing"):
            continue
        seen[id(one)] = one  # kept, so that no other takes its place in memory
        counts[f"{type(one).__module__}.{type(one).__qualname__}"] += 1
        if isinstance(one, dict):
            waiting += [*one, *one.values()]  # the collector does not look at keys that are text
        elif isinstance(one, types.FunctionType):  # not its globals, which are the whole program
            waiting += [*(one.__closure__ or ()), one.__defaults__, one.__kwdefaults__]
        else:
            waiting += gc.get_referents(one)
    return counts


class Work:
    """What agents ``a`` and ``b`` do in each round, each operation at least once."""

    def __init__(self, mesh: VirtualMesh, a: meshp2p.MeshNode, b: meshp2p.MeshNode) -> None:
        self.mesh, self.a, self.b = mesh, a, b
        self.inbox = b.inbox()
        self.events = a.events()
        self.changes = a.shared("m").changes()
        self.handled = 0

        @b.handler("Query")
        async def answer(outcome: str) -> AsyncIterator[int]:
            yield 1
            if outcome == "fails":
                raise ValueError(outcome)
            if outcome == "hangs":
                await trio.sleep(60)
            yield 2

        @b.handler("TaskDelegation")
        async def work(outcome: str) -> AsyncIterator[int]:
            yield 1
            if outcome == "fails":
                raise meshp2p.Declined(outcome)
            if outcome == "hangs":
                await trio.sleep(60)
            yield 2

        @b.handler("own")
        async def handle(_message: Any) -> None:
            self.handled += 1

    async def round(self, number: int, client: meshp2p.MeshClient) -> None:
        a, b = self.a, self.b
        await a.send("b", number)
        await (await anext(self.inbox)).acknowledge()
        await a.send("b", number, kind="own")
        await a.broadcast(number, kind="own")
        await b.send("a", "nobody reads it")
        async with b.inbox() as inbox:
            await a.send("b", "twice")
            await anext(inbox)
        await (await anext(self.inbox)).acknowledge()
        for outcome in ("succeeds", "fails", "hangs"):
            for call in (a.query, _ask_all(a), _ask_one(a)):
                with contextlib.suppress(QueryTimeout, meshp2p.RemoteError):
                    await call("b", outcome, timeout=0.5)
            with contextlib.suppress(DelegationFailed):
                await a.delegate(outcome, capability="work", timeout=0.5)
            async with a.delegation(outcome, capability="work") as task:
                await anext(task.progress())
        with trio.move_on_after(0.01):
            async with b.leadership():
                pytest.fail("b leads")
        async with a.leadership():
            pass
        shared = a.shared("m")
        await shared.set(f"key {number}", number)
        await b.shared("m").wait_until(lambda: f"key {number}" in b.shared("m"))
        await shared.delete(f"key {number}")
        for _ in range(2):
            await anext(self.changes)
        b.shared("m").changes()
        await b.set_status(f"status {number}", {"n": number}, until=1)
        with trio.move_on_after(0.01):
            await a.wait_for_members(99)
        b.events()
        await drain(self.events)
        await client.register(f"hosted {number}", "host", 0)
        await client.heartbeat(f"hosted {number}", metrics={"n": number})
        await client.send(f"hosted {number}", "to the hosted", source="a")
        (message,) = await client.messages(f"hosted {number}")
        await client.acknowledge(f"hosted {number}", [message.id])
        await client.message_status(message.id)
        await client.members()
        await client.deregister(f"hosted {number}")
        for operation in (a.send("nobody", 1), a.query("nobody", 1, timeout=0.1)):
            with pytest.raises(MeshError):
                await operation


async def drain(iterator: meshp2p.NodeIterator[Any]) -> None:
    """Read what is there."""
    with contextlib.suppress(WaitTimeout):
        while True:
            await iterator.get(timeout=0.01)


def _ask_all(node: meshp2p.MeshNode) -> Any:
    async def ask(target: str, payload: object, *, timeout: float) -> None:
        async for _ in node.ask(target, payload, timeout=timeout):
            pass

    return ask


def _ask_one(node: meshp2p.MeshNode) -> Any:
    async def ask(target: str, payload: object, *, timeout: float) -> None:
        async with node.ask(target, payload, timeout=timeout) as parts:
            await anext(parts)

    return ask


@pytest.mark.slow
def test_what_an_agent_does_leaves_nothing_behind_in_its_node(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("CRITICAL", logger="meshp2p")
    monkeypatch.setattr(request_client, "ENDED_MAX", 20)
    monkeypatch.setattr(mailbox, "PASSED_MAX", 20)
    monkeypatch.setattr(event_log, "EVENTS_MAX", 20)

    async def main(mesh: VirtualMesh) -> tuple[collections.Counter[str], collections.Counter[str]]:
        a, b = await mesh.start("a", "b", capabilities=["work"], protocol=PROTOCOL)
        await mesh.wait_until_whole()
        work = Work(mesh, a, b)
        counts = []
        async with mesh.client("a") as client:
            for begin, end in ((0, WARM_UP), (WARM_UP, WARM_UP + ROUNDS)):
                for number in range(begin, end):
                    await work.round(number, client)
                await mesh.sleep(300)
                await drain(work.events)
                gc.collect()
                counts.append(reachable(a, b, client))
        assert work.handled == 2 * (WARM_UP + ROUNDS)
        return counts[0], counts[1]

    before, after = run(main, seconds_max=1e6)
    grown = {name: (before[name], count) for name, count in after.items() if count >= before[name] + ROUNDS}
    assert grown == {}
    assert before["meshp2p.node.handlers.Handler"] == 3, "the nodes were not reached"
