"""What a call of a node raises is a plain exception, and what a handler raises is logged with its traceback."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import trio
import trio.testing

import meshp2p
from meshp2p.core.message import Message
from meshp2p.errors import DelegationFailed, NodeClosed, PayloadMismatch, RemoteError
from meshp2p.node.handlers import Handlers
from meshp2p.node.received import ReceivedMessage
from meshp2p.node.tracing import Tracing
from meshp2p.testing import VirtualMesh, run


async def _first(iterator: Any) -> Any:
    try:
        return await anext(iterator)
    except StopAsyncIteration:
        raise NodeClosed("the iterator ended") from None


async def _in_block(block: Any, use: Callable[[Any], Awaitable[object]]) -> None:
    async with block as given:
        await use(given)
    if isinstance(given, meshp2p.Lease):
        raise NodeClosed("the block ended")


async def _drain(events: Any) -> None:
    async for _ in events:
        pass
    raise NodeClosed("the iterator ended")


async def _wait_for_ever(_: object) -> None:
    await trio.sleep_forever()


WAITS: dict[str, Callable[[meshp2p.MeshNode], Awaitable[object]]] = {
    "wait_for_members": lambda node: node.wait_for_members(9),
    "query": lambda node: node.query("b", "never", timeout=600),
    "query itself": lambda node: node.query("a", "never", timeout=600),
    "query by mail": lambda node: node.query("hosted", "never", timeout=600),
    "ask": lambda node: _first(node.ask("b", "never", timeout=600)),
    "ask itself": lambda node: _first(node.ask("a", "never", timeout=600)),
    "ask by mail": lambda node: _first(node.ask("hosted", "never", timeout=600)),
    "delegate": lambda node: node.delegate("never", capability="work"),
    "wait_for": lambda node: node.wait_for(capability="nobody has it"),
    "delegate to whoever comes": lambda node: node.delegate(1, capability="nobody has it", wait=True),
    "delegate with a timeout": lambda node: node.delegate("never", capability="work", timeout=600),
    "delegation": lambda node: _in_block(node.delegation("never", capability="work"), lambda task: task.result()),
    "progress": lambda node: _in_block(
        node.delegation("never", capability="work"), lambda task: _drain(task.progress())
    ),
    "inbox": lambda node: _first(node.inbox()),
    "events": lambda node: _drain(node.events()),
    "map changes": lambda node: _first(node.shared("m").changes()),
    "map wait_until": lambda node: node.shared("m").wait_until(lambda: False),
    "leadership of another": lambda node: _in_block(node.leadership(), _wait_for_ever),
    "own leadership": lambda node: _in_block(node.leadership(), _wait_for_ever),
}


@pytest.mark.parametrize("name", WAITS)
def test_whoever_waits_when_the_node_leaves_gets_a_plain_exception(name: str) -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b", capabilities=["work"])
        await mesh.wait_until_whole()

        async def never(_message: Any) -> None:
            await trio.sleep_forever()

        for node in (a, b):
            node.handler("Query")(never)
            node.handler("TaskDelegation")(never)
        waiting = b if name == "leadership of another" else a
        raised: list[Any] = []

        async def wait() -> None:
            try:
                raised.append(await WAITS[name](waiting))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
                raised.append(error)

        async with mesh.client("b") as client, trio.open_nursery() as nursery:
            await client.register("hosted", "host", 0)
            await mesh.wait_until(lambda: a.member("hosted") is not None)
            nursery.start_soon(wait)
            await mesh.sleep(2)
            assert raised == []
            await waiting.leave()
        assert [type(error) for error in raised] == [NodeClosed], raised

    run(main)


@pytest.mark.parametrize("error", [KeyError("mine"), ValueError("mine")])
def test_what_the_block_of_a_delegation_raises_comes_out_though_the_node_leaves(error: Exception) -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, _ = await mesh.start("a", "b", capabilities=["work"])
        await mesh.wait_until_whole()
        async with a.delegation(1, capability="work") as task:
            await mesh.sleep(1)
            await a.leave()
            with pytest.raises(NodeClosed):
                await task.result()
            assert task.state is meshp2p.DelegationState.FAILED
            raise error

    with pytest.raises(type(error), match="mine"):
        run(main)


def _fail() -> None:
    raise LookupError("deep inside")


async def _fails(_message: Any) -> None:
    _fail()


async def _fails_in_parts(_message: Any) -> AsyncIterator[int]:
    yield 1
    _fail()


async def _misuses_the_mesh(_message: Any) -> None:
    raise meshp2p.UnknownInstance("deep inside")


@pytest.mark.parametrize("function", [_fails, _fails_in_parts, _misuses_the_mesh])
@pytest.mark.parametrize("kind", ["Query", "TaskDelegation", "Notification", "own"])
def test_the_traceback_of_a_handler_is_logged(
    function: Callable[..., Any], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b", capabilities=["work"])
        await mesh.wait_until_whole()
        b.handler(kind)(function)
        match kind:
            case "Query":
                with pytest.raises(RemoteError, match="deep inside"):
                    await a.query("b", 1)
            case "TaskDelegation":
                with pytest.raises(DelegationFailed, match="deep inside"):
                    await a.delegate(1, capability="work")
            case _:
                await a.send("b", 1, kind=kind)
        await mesh.sleep(1)

    run(main)
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(records) == 1
    assert "deep inside" in records[0].getMessage()
    assert records[0].exc_info is not None
    assert f"in {function.__name__}" in caplog.text


def test_a_traceback_that_utf_8_cannot_write_is_logged_escaped(caplog: pytest.LogCaptureFixture) -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()

        @b.handler("Query")
        async def answer(_message: Any) -> None:
            raise ValueError("\ud800 ü")

        with pytest.raises(RemoteError):
            await a.query("b", 1)

    run(main)
    assert b"ValueError: \\ud800 \xc3\xbc" in caplog.text.encode()


@pytest.mark.parametrize("error", [meshp2p.Declined("busy"), PayloadMismatch("no number")])
def test_what_says_something_of_the_caller_alone_is_not_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()

        @b.handler("Query")
        async def answer(_message: Any) -> None:
            raise error

        with pytest.raises(RemoteError):
            await a.query("b", 1)

    run(main)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ("function", "the handler of %r failed"),
        ("reply", "the answer to %r was not accepted"),
        ("acknowledge", "%r was not acknowledged"),
    ],
)
async def test_what_is_logged_says_which_step_failed(failing: str, said: str) -> None:
    reports: list[tuple[str, str]] = []
    done = trio.Event()

    async def take_step(name: str) -> None:
        if name == "acknowledge":
            done.set()
        if name == failing:
            raise meshp2p.StoreFull("no room")

    handlers = Handlers(
        lambda *_: take_step("reply"),
        lambda *_: take_step("acknowledge"),
        lambda what, error: reports.append((what, str(error))),
        lambda *_: take_step("progress"),
        Tracing(),
    )

    async def answer(_message: ReceivedMessage) -> int:
        await take_step("function")
        return 1

    handlers.add("Query", answer, 1, None)
    message = ReceivedMessage(Message("id", "a", "b", "Query", "", b"1", None, 0), cast(Any, None))
    async with trio.open_nursery() as nursery:
        await nursery.start(handlers.run)
        assert handlers.handle(message)
        await done.wait()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert reports == [(said % message, "no room")]
