"""A node that is used in another loop or thread than it was opened in says so at once: it neither hangs nor raises an
error of a framework."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio

import meshp2p
import meshp2p.aio
import meshp2p.blocking
from meshp2p.errors import LocalProtocolError, MeshError, WrongLoop
from tests.facades.meshes import LONG, open_pair, options


async def _enter(manager: Any) -> None:
    async with manager:
        pytest.fail("it was entered")


async def _iterate(iterator: Any) -> None:
    await anext(iterator)


async def _handle(_message: Any) -> None: ...


AWAITED: dict[str, Callable[[Any], Awaitable[object]]] = {
    "ask": lambda node: _iterate(node.ask("a", 1)),
    "broadcast": lambda node: node.broadcast(1),
    "delegate": lambda node: node.delegate(1, capability="c"),
    "delegation": lambda node: _enter(node.delegation(1, capability="c")),
    "events": lambda node: _iterate(node.events()),
    "inbox": lambda node: _iterate(node.inbox()),
    "leadership": lambda node: _enter(node.leadership()),
    "leave": lambda node: node.leave(),
    "message_status": lambda node: node.message_status("x"),
    "query": lambda node: node.query("a", 1),
    "send": lambda node: node.send("a", 1),
    "set_status": lambda node: node.set_status("busy"),
    "wait_for": lambda node: node.wait_for(capability="nobody has it"),
    "wait_for_leader": lambda node: node.wait_for_leader(),
    "wait_for_members": lambda node: node.wait_for_members(9),
    "SharedMap.changes": lambda node: _iterate(node.shared("m").changes()),
    "SharedMap.delete": lambda node: node.shared("m").delete("k"),
    "SharedMap.set": lambda node: node.shared("m").set("k", 1),
    "SharedMap.wait_until": lambda node: node.shared("m").wait_until(lambda: False),
    "NodeIterator.get": lambda node: node.events().get(timeout=LONG),
}
"""Whatever waits for the node."""

READ: dict[str, Callable[[Any], object]] = {
    "addresses": lambda node: node.addresses,
    "config": lambda node: node.config,
    "find": lambda node: node.find(capability="c"),
    "id": lambda node: node.id,
    "is_leader": lambda node: node.is_leader,
    "leader": lambda node: node.leader,
    "member": lambda node: node.member("a"),
    "members": lambda node: node.members(),
    "uptime": lambda node: node.uptime,
    "url": lambda node: node.url,
    "repr": repr,
}
"""Whatever reads the node's view."""

CALLED: dict[str, Callable[[Any], object]] = {
    "handler": lambda node: node.handler(f"kind {threading.get_ident()}")(_handle),
    "shared": lambda node: node.shared("m"),
    "ask": lambda node: node.ask("a", 1).close(),
    "inbox": lambda node: node.inbox().close(),
}
"""What is asked of the node at once: in any thread if it has one of its own."""

LIFE = {"start", "close"}


def in_asyncio(function: Callable[[], Awaitable[object]]) -> object:
    async def main() -> object:
        async with asyncio.timeout(LONG):
            return await function()

    return asyncio.run(main())


def in_trio(function: Callable[[], Awaitable[object]]) -> object:
    async def main() -> object:
        with trio.fail_after(LONG):
            return await function()

    return trio.run(main)


def in_thread(function: Callable[[], Any]) -> object:
    """Without a loop: a coroutine is run until it waits for something."""
    result = function()
    if inspect.isawaitable(result):
        coroutine = result.__await__()
        try:
            next(coroutine)
        except StopIteration as ended:
            return ended.value
        pytest.fail("it waits")
    return result


ELSEWHERE: dict[str, Callable[[Callable[[], Any]], object]] = {
    "another asyncio loop": in_asyncio,
    "another trio loop": in_trio,
    "no loop": in_thread,
}


@contextlib.contextmanager
def elsewhere(run: Callable[[Callable[[], Any]], object]) -> Iterator[Callable[[Callable[[], Any]], object]]:
    """Run functions in another thread, and return what each returns or raises."""

    def use(function: Callable[[], Any]) -> object:
        outcomes: list[object] = []

        def work() -> None:
            try:
                outcomes.append(run(function))
            except BaseException as error:  # noqa: BLE001 - it is looked at
                outcomes.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(LONG)
        assert not thread.is_alive(), "it hangs"
        return outcomes[0]

    yield use


def check(node: Any, run: Callable[[Callable[[], Any]], object], *, is_in_loop: bool) -> None:
    with elsewhere(run) as use:
        for name, call in AWAITED.items():
            error = use(lambda call=call: call(node))  # type: ignore[misc]
            assert isinstance(error, WrongLoop), f"{name}: {error!r}"
            assert "meshp2p.blocking.open_node()" in str(error)

        def as_awaited(call: Callable[[Any], object]) -> Callable[[], Any]:
            async def read() -> object:
                return call(node)

            return read

        for name, read in READ.items():
            assert not isinstance(use(as_awaited(read)), BaseException), name
        for name, call in CALLED.items():  # type: ignore[assignment]
            outcome = use(as_awaited(call))
            assert isinstance(outcome, WrongLoop) if is_in_loop else not isinstance(outcome, BaseException), name


@pytest.mark.parametrize("run", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_node_of_asyncio_is_awaited_in_its_own_loop_alone(run: Callable[[Callable[[], Any]], object]) -> None:
    async def answer(number: int) -> int:
        return number + 1

    async def main() -> None:
        async with meshp2p.aio.open_node(**options("a", capabilities=["c"]), handlers={"Query": answer}) as node:
            await asyncio.to_thread(check, node, run, is_in_loop=False)
            assert await node.query("a", 1, timeout=LONG) == 2

    asyncio.run(main())


@pytest.mark.parametrize("run", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("is_in_loop", [False, True])
def test_a_node_of_trio_is_awaited_in_its_own_loop_alone(
    run: Callable[[Callable[[], Any]], object], is_in_loop: bool
) -> None:
    async def main() -> None:
        async with meshp2p.open_node(in_loop=is_in_loop, **options("a", capabilities=["c"])) as node:
            await trio.to_thread.run_sync(lambda: check(node, run, is_in_loop=is_in_loop))
            assert [member.id for member in await node.wait_for_members(1)] == ["a"]

    trio.run(main)


def test_these_tests_call_all_that_a_node_has() -> None:
    names = {name for name in dir(meshp2p.MeshNode) if not name.startswith("_")}
    assert names - {*AWAITED, *READ, *CALLED} == LIFE
    for of in (meshp2p.SharedMap, meshp2p.NodeIterator):
        waits = {
            f"{of.__name__}.{name}"
            for name in dir(of)
            if inspect.iscoroutinefunction(inspect.getattr_static(of, name)) and not name.startswith("_")
        }
        assert waits
        assert waits <= set(AWAITED)


def test_a_node_that_waits_in_its_own_thread_is_told() -> None:
    outcomes: list[Any] = []
    may_go = threading.Event()

    with open_pair() as (a, b):

        def merge(one: Any, other: Any) -> Any:
            """It uses its node, which it must not."""
            for call in (lambda: b.send("a", 1), lambda: b.query("a", 1), lambda: b.wait_for_members(9)):
                try:
                    outcomes.append(call())
                except MeshError as error:
                    outcomes.append(error)
            outcomes.append(len(b.members()))
            may_go.set()
            return max(one, other)

        ours, theirs = a.shared("m"), b.shared("m", merge=merge)
        theirs.set("k", 1)
        ours.set("k", 2)
        theirs.set("k", 3)
        assert may_go.wait(LONG)
        assert [type(outcome) for outcome in outcomes[:4]] == [WrongLoop, WrongLoop, WrongLoop, int]
        assert "in a merge function" in str(outcomes[0])


@pytest.mark.parametrize("open_node", [meshp2p.open_node, meshp2p.aio.open_node])
@pytest.mark.parametrize("way", ["start", "enter"])
def test_opening_without_a_loop_names_the_right_call(open_node: Callable[..., meshp2p.MeshNode], way: str) -> None:
    node = open_node(**options("a"))
    with pytest.raises(WrongLoop, match=r"meshp2p\.blocking\.open_node\(\)"):
        in_thread(node.start if way == "start" else node.__aenter__)


def test_a_node_in_the_loop_needs_trio() -> None:
    async def main() -> None:
        with pytest.raises(WrongLoop, match="needs a trio loop: leave it out"):
            async with meshp2p.open_node(in_loop=True, **options("a")):
                pytest.fail("it was opened")

    asyncio.run(main())


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_the_loop_that_runs_is_found(run: Callable[[Any], None]) -> None:
    async def live() -> None:
        for open_node in (meshp2p.open_node, meshp2p.aio.open_node):
            async with open_node(**options("a")) as node:
                assert [member.id for member in node.members()] == ["a"]
                assert await node.send("a", 1)

    run(live() if run is asyncio.run else live)


def test_a_node_that_is_not_open_says_how_to_open_it() -> None:
    node = meshp2p.open_node(**options("a"))
    for name, read in READ.items():
        if name != "repr":
            with pytest.raises(LocalProtocolError, match=r"use it in 'async with', or await node\.start"):
                read(node)
    assert repr(node) == "<MeshNode that is not open>"
    with pytest.raises(LocalProtocolError, match="is not open"):
        in_thread(lambda: node.send("b", 1))


async def _use(node: Any) -> None:
    assert await node.query("a", 1, timeout=LONG) == 2
    async with node.inbox() as inbox:
        await node.send("a", "x")
        await (await inbox.get(timeout=LONG)).acknowledge()


@pytest.mark.parametrize("kind", ["asyncio", "trio", "trio in the loop"])
def test_a_node_may_be_started_and_closed_without_a_block(kind: str) -> None:
    async def answer(number: int) -> int:
        return number + 1

    async def live() -> None:
        more: Any = {"in_loop": True} if kind == "trio in the loop" else {}
        node = meshp2p.open_node(handlers={"Query": answer}, **options("a"), **more)
        await node.close()  # nothing
        assert await node.start() is node
        await _use(node)
        for again in (node.start, node.__aenter__):
            with pytest.raises(LocalProtocolError, match="opened only once"):
                await again()
        iterator = node.events()
        await node.close()
        await node.close()
        with pytest.raises(meshp2p.NodeClosed):
            await node.send("a", 1)
        async for _ in iterator:
            pass
        second = meshp2p.open_node(**options("a", host="no.such.host.invalid"), **more)
        with pytest.raises(MeshError):
            await second.start()
        await second.close()

    if kind == "asyncio":
        asyncio.run(live())
    else:
        trio.run(live)


def test_a_node_of_threads_may_be_started_and_closed_without_a_block() -> None:
    node = meshp2p.blocking.open_node(**options("a"))
    node.close()
    assert node.start() is node
    assert [member.id for member in node.members()] == ["a"]
    node.close()
    node.close()
    with pytest.raises(meshp2p.NodeClosed):
        node.members()


@pytest.mark.parametrize("kind", ["asyncio", "trio", "trio in the loop"])
def test_a_started_node_that_fails_says_so_at_each_call_and_when_it_is_closed(kind: str) -> None:
    async def live() -> None:
        more: Any = {"in_loop": True} if kind == "trio in the loop" else {}
        first = await meshp2p.open_node(**options("x"), **more).start()
        second = await meshp2p.open_node(**options("x"), **more).start()
        third = await meshp2p.open_node(**options("c", first, second), **more).start()
        with pytest.raises((meshp2p.IdConflict, meshp2p.NodeClosed)):
            await second.wait_for_members(99)
        with pytest.raises(meshp2p.IdConflict):
            await second.close()
        await third.close()
        await first.close()

    if kind == "asyncio":
        asyncio.run(live())
    else:
        trio.run(live)


def test_reading_waits_for_nobody_while_the_thread_of_the_node_is_blocked() -> None:
    is_blocked, may_go_on = threading.Event(), threading.Event()

    def merge(one: Any, other: Any) -> Any:
        is_blocked.set()
        assert may_go_on.wait(LONG)
        return max(one, other)

    with open_pair(capabilities=["c"]) as (a, b):
        ours, theirs = a.shared("m"), b.shared("m", merge=merge)
        theirs.set("k", 1)
        b.wait_for_leader(timeout=LONG)
        writing = threading.Thread(target=lambda: (ours.set("k", 2), theirs.set("k", 3)))
        writing.start()
        try:
            assert is_blocked.wait(LONG)  # the node's thread is in the merge function
            assert {name: repr(read(b)) for name, read in READ.items()}
            assert [member.id for member in b.members()] == ["a", "b"]
            assert b.leader is not None
            assert dict(theirs.items())["k"] in (1, 2, 3)
            assert (len(theirs), list(theirs), theirs["k"] > 0, "k" in theirs) == (1, ["k"], True, True)
            assert theirs.version
        finally:
            may_go_on.set()
            writing.join(LONG)


def test_many_threads_read_a_view_that_changes() -> None:
    """What is read is of one moment: a key that is written over is never missing."""
    with open_pair() as (a, b):
        shared, seen = b.shared("m"), a.shared("m")
        for key in range(50):
            shared.set(f"k{key:02}", 0)
        seen.wait_until(lambda: len(seen) == 50, timeout=LONG)
        failures: list[BaseException] = []
        is_over = threading.Event()

        def read() -> None:
            try:
                while not is_over.is_set():
                    assert len(dict(seen.items())) == len(seen) == 50
                    assert seen["k07"] >= 0
                    assert len(a.members()) == 2
            except BaseException as error:  # noqa: BLE001 - it is told below
                failures.append(error)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(100):
            shared.set(f"k{number % 50:02}", number)
        seen.wait_until(lambda: seen["k49"] == 99, timeout=LONG)
        is_over.set()
        for reader in readers:
            reader.join(LONG)
        assert failures == []
