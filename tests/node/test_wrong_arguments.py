"""A wrong argument is refused at once, by an error that names it; and so is what is no handler."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import meshp2p
import meshp2p.blocking
from meshp2p.errors import ConfigError
from meshp2p.node.received import MessageView
from meshp2p.testing import VirtualMesh, run


class Nothing:
    """What no argument may be."""


RIGHT: dict[str, Any] = {
    "target": "b",
    "payload": 1,
    "kind": "own",
    "count": 1,
    "status": "busy",
    "name": "m",
    "message_id": "x",
    "instance_id": "b",
    "capability": "work",
    "timeout": 1.0,
}
"""Arguments that are right, for the ones that a call needs beside the wrong one."""

WRONG: dict[str, Any] = {
    "an object": Nothing(),
    "a class": Nothing,
    "a list": [1],
    "below 0": -1,
    "empty text": "",
    "NaN": float("nan"),
}

ANYTHING = {"reply"}
"""Of these a class is right, and what is no shape is said in other words."""


async def _call(method: Callable[..., Any], arguments: dict[str, Any]) -> None:
    result = method(**arguments)
    if method.__name__ == "handler":
        result(_handle)
    elif inspect.isawaitable(result):
        await result
    elif hasattr(result, "__aenter__") and not hasattr(result, "__anext__"):
        async with result:
            pass


def wrong_calls() -> Iterator[tuple[str, str]]:
    for of in (meshp2p.MeshNode,):
        for name in dir(of):
            method = inspect.getattr_static(of, name)
            if name.startswith("_") or not inspect.isfunction(method):
                continue
            for parameter in list(inspect.signature(method).parameters)[1:]:
                if parameter not in ANYTHING:
                    yield name, parameter


@pytest.mark.parametrize(("method", "parameter"), list(wrong_calls()))
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_named(method: str, parameter: str, wrong: Any) -> None:
    fine = {
        "payload": ([1], -1, "", Nothing),
        "status": ("",),
        "capability": ("",),
        "profile": ("",),
        "correlation_id": ("",),
        "instance_id": ("",),
        "message_id": ("",),
        "target": ("",),
        "merge": (Nothing,),
    }.get(parameter, ())
    if any(wrong is one or wrong == one for one in fine if not isinstance(wrong, Nothing)):
        return

    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        function = getattr(a, method)
        needed = {
            name: RIGHT[name]
            for name, one in inspect.signature(function).parameters.items()
            if one.default is one.empty
        }
        if method in ("delegate", "delegation"):
            needed["capability"] = "work"
        arguments = {**needed, parameter: wrong}
        with pytest.raises((ConfigError, TypeError), match=parameter):
            await _call(function, arguments)

    run(main)


@pytest.mark.parametrize("name", ["config", "handlers", "in_loop"])
@pytest.mark.parametrize("wrong", [7, "text", [1], Nothing()], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("open_node", [meshp2p.open_node, meshp2p.blocking.open_node], ids=["async", "blocking"])
async def test_a_wrong_argument_of_an_opening_is_named(open_node: Callable[..., Any], name: str, wrong: Any) -> None:
    if name not in inspect.signature(open_node).parameters:
        return

    async def start() -> None:
        result = open_node(**{name: wrong}).start()
        if inspect.isawaitable(result):
            await result

    with pytest.raises(ConfigError, match=rf"^{name} = "):
        await start()


@pytest.mark.parametrize("reply", [7, "text", Nothing], ids=repr)
def test_a_reply_of_no_shape_is_named(reply: Any) -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        with pytest.raises(ConfigError, match=r"^reply\b.* is no shape of a payload"):
            await a.query("a", 1, reply=reply)

    run(main)


def test_these_tests_call_what_a_node_has() -> None:
    assert len(list(wrong_calls())) > 35


async def _handle(_message: Any) -> None: ...


def not_async(_message: Any) -> None: ...


async def nothing() -> None: ...


async def three(_a: int, _b: int, _c: int) -> None: ...


async def swapped(_message: meshp2p.ReceivedMessage, _payload: dict[str, int]) -> None: ...


async def two_payloads(_one: int, _other: int) -> None: ...


class Opaque:
    pass


async def no_shape(_payload: Opaque) -> None: ...


async def two_arrays(_payload: list[int] | tuple[int, ...]) -> None: ...


async def keyword_only(*, _message: Any) -> None: ...


async def starred(*_messages: Any) -> None: ...


async def unknown_name(_payload: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def stream_of_nothing() -> AsyncIterator[int]:
    yield 1


WRONG_HANDLERS = [
    (not_async, "expected an async function"),
    (nothing, "expected (message)"),
    (three, "expected (message)"),
    (swapped, "in this order"),
    (two_payloads, "in this order"),
    (no_shape, "parameter '_payload': .*Opaque.* is no shape of a payload"),
    (two_arrays, "parameter '_payload': .* is no shape of a payload"),
    (keyword_only, "expected (message)"),
    (starred, "expected (message)"),
    (unknown_name, "NoSuchName"),
    (stream_of_nothing, "expected (message)"),
    ("text", "expected an async function"),
    (None, "expected an async function"),
]


@pytest.mark.parametrize(("function", "message"), WRONG_HANDLERS, ids=lambda one: getattr(one, "__name__", ascii(one)))
def test_what_is_no_handler_is_refused_when_it_is_registered(function: Any, message: str) -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        with pytest.raises(ConfigError, match=message.replace("(message)", r"\(message\)")):
            a.handler("own")(function)
        with pytest.raises(ConfigError):
            async with mesh.node("b", handlers={"own": function}):
                pytest.fail("it was opened")
        a.handler("own")(_handle)  # the wrong one left nothing behind

    run(main)


def test_a_decorator_without_parentheses_says_how_it_is_written() -> None:
    async def main(mesh: VirtualMesh) -> None:
        (a,) = await mesh.start("a")
        with pytest.raises(ConfigError, match=r"write @node.handler\(KIND\), with parentheses"):

            @a.handler  # type: ignore[arg-type]
            async def answer(_message: Any) -> None: ...

        for kind in ("", None, 3, "Custom"):
            with pytest.raises(ConfigError, match="kind"):
                a.handler(kind)  # type: ignore[arg-type]

    run(main)


@pytest.mark.parametrize("hint", [MessageView, meshp2p.ReceivedMessage, Any, object])
def test_a_handler_may_take_the_payload_and_the_message(hint: type[Any]) -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()

        async def answer(payload: int, message: Any) -> list[Any]:
            return [payload, message.source]

        answer.__annotations__["message"] = hint
        b.handler("Query")(answer)
        assert await a.query("b", 1) == [1, "a"]

    run(main)
