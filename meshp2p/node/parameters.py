"""What a handler takes, and what kind of function it is."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from meshp2p.errors import ConfigError
from meshp2p.node.received import MessageView

__all__ = ["Parameters", "name_of"]


class Parameters:
    """What a handler takes: the payload in some shape, the message, or both.

    Raises :class:`ConfigError` for what is no handler: ``is_async`` says which kind of function is one. A generator
    function answers in parts: ``is_stream``.
    """

    def __init__(self, kind: str, function: Callable[..., Any], *, is_async: bool = True) -> None:
        name = name_of(function)
        plain = inspect.unwrap(function)
        self.is_stream: bool = inspect.isasyncgenfunction(plain) if is_async else inspect.isgeneratorfunction(plain)
        is_coroutine = inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain)
        if is_coroutine is not is_async:
            expected = "an async function" if is_async else "a plain function, not an async one"
            raise ConfigError(f"handler {name} for kind {kind!r}: expected {expected}")
        signature = inspect.signature(function)
        try:
            hints = typing.get_type_hints(plain)
        except NameError as error:
            raise ConfigError(
                f"handler {name} for kind {kind!r}: {error}; annotate it with what its module knows"
            ) from None
        wanted = [one for one in signature.parameters.values() if one.default is one.empty]
        if not 1 <= len(wanted) <= 2 or any(
            one.kind not in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) for one in wanted
        ):
            raise ConfigError(
                f"handler {name} for kind {kind!r}: expected (message), (payload: SHAPE) or (payload: SHAPE, message)"
            )
        first = hints.get(wanted[0].name, MessageView)
        is_message = isinstance(first, type) and issubclass(first, MessageView)
        self._takes_message = len(wanted) == 2 or is_message
        self._shape: Any = None
        """None where the payload is not taken."""
        if len(wanted) == 2:
            self._shape = Any if is_message else first
        elif not is_message:
            self._shape = first

    def of(self, message: MessageView) -> list[Any]:
        """The arguments for this message. Raises :class:`~meshp2p.errors.PayloadMismatch`."""
        arguments: list[Any] = [] if self._shape is None else [message.payload_as(self._shape)]
        if self._takes_message:
            arguments.append(message)
        return arguments


def name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
