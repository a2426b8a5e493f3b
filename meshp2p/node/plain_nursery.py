"""A nursery that a caller knows nothing of."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio

__all__ = ["open_plain_nursery"]


@contextlib.asynccontextmanager
async def open_plain_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery of which one failure comes out as it is, not as a group of one: the group that it would be is ours, and
    nobody outside knows of it."""
    group: BaseExceptionGroup[BaseException] | None = None
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as failures:
        group = failures
    if group is not None:
        raise group.exceptions[0] if len(group.exceptions) == 1 else group
