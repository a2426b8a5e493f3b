"""Waiting for a limited time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from meshp2p.errors import ConfigError, WaitTimeout

__all__ = ["check_timeout", "within"]

_T = TypeVar("_T")


async def within(function: Callable[[], Awaitable[_T]], timeout: float | None, what: str) -> _T:
    """Call an async function and return its result.

    After ``timeout`` seconds it is cancelled, and :class:`~meshp2p.errors.WaitTimeout` says ``what`` did not happen.
    """
    if timeout is None:
        return await function()
    with trio.move_on_after(timeout):
        return await function()
    raise WaitTimeout(f"{what} within {timeout:g} s")


def check_timeout(timeout: object, name: str = "timeout") -> None:
    """Raise :class:`~meshp2p.errors.ConfigError` unless it is None or a number of seconds."""
    if timeout is None:
        return
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not timeout >= 0:
        raise ConfigError(f"{name} = {timeout!r:.80}: expected a number of seconds, or None for no limit")
