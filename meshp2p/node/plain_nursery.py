"""A nursery that a caller knows nothing of."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio

__all__ = ["open_plain_nursery"]


@contextlib.asynccontextmanager
async def open_plain_nursery() -> AsyncIterator[trio.Nursery]:
    """A nursery out of which a single failure comes as it is, not in a group: callers do not know that there is one.

    A failure prevails over the cancellation of the surroundings at the same moment, as if a ``finally`` had raised it.
    """
    group: BaseExceptionGroup[BaseException] | None = None
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as failures:
        group = failures
    if group is not None:
        _, failed = group.split(trio.Cancelled)
        group = failed or group
        raise group.exceptions[0] if len(group.exceptions) == 1 else group
