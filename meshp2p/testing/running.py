"""Virtual time, with a deterministic scheduler."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import trio
import trio.testing
from trio._core import _run as trio_run

from meshp2p.testing.mesh import VirtualMesh

__all__ = ["run", "run_on_virtual_time"]

_T = TypeVar("_T")


def run(test: Callable[[VirtualMesh], Awaitable[_T]], *, seed: int = 0, **options: Any) -> _T:
    """Run ``await test(mesh)`` with a new :class:`VirtualMesh` in virtual time, and return its result.

    Do not call it from within trio. ``options`` are those of :class:`VirtualMesh`. The same seed repeats the run
    exactly, as long as the test itself uses no other randomness, thread, real socket or real clock.
    """

    async def main() -> _T:
        async with VirtualMesh(seed, **options) as mesh:
            return await test(mesh)

    return run_on_virtual_time(main, seed=seed)


def run_on_virtual_time(
    main: Callable[[], Awaitable[_T]],
    *,
    seed: int,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> _T:
    """Run ``trio.run`` with a clock that jumps to the next deadline when there is nothing left to do, scheduled by
    ``seed``."""
    __tracebackhide__ = True
    if clock is None:
        clock = trio.testing.MockClock(autojump_threshold=0)
    # trio shuffles the tasks that are ready, in an order that depends on memory addresses, unless a flag is set; the
    # flag and the generator are private, and used like this by pytest-trio and Hypothesis
    draw: random.Random = trio_run._r
    state, is_allowed = draw.getstate(), trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    draw.seed(f"scheduler of {seed}")
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # Final, but meant to be set
    try:
        return trio.run(main, clock=clock, instruments=instruments)
    finally:
        draw.setstate(state)
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = is_allowed  # type: ignore[misc]
