"""What the benchmarks' command lines have in common: what an argument may be, and how a signal ends a run."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVarTuple

import trio

__all__ = ["INTERRUPTED", "names_among", "positive", "run_until_signal"]

_Arguments = TypeVarTuple("_Arguments")

INTERRUPTED: Final = 130
"""The exit code where a signal ended the run."""


def positive(text: str) -> int:
    """A whole number, 1 or more: a type of argparse."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def names_among(known: Collection[str], *, may_be_none: bool = False) -> Callable[[str], tuple[str, ...]]:
    """The type of argparse that takes some of these names, with commas between them; ``none`` for no name where that is
    allowed."""
    allowed = f"one of {', '.join(known)}{', or none' if may_be_none else ''}"

    def names(text: str) -> tuple[str, ...]:
        found = () if may_be_none and text == "none" else tuple(text.split(","))
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r}: expected {allowed}")
        return found

    return names


async def run_until_signal(body: Callable[[*_Arguments], Awaitable[int]], *arguments: *_Arguments) -> int:
    """Run it, and return its exit code. SIGINT and SIGTERM cancel it, and then the code is :data:`INTERRUPTED`,
    whatever came of it."""
    code = 0
    was_interrupted = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def cancel_at_signal() -> None:
                nonlocal was_interrupted
                async for _ in signals:
                    was_interrupted = True
                    nursery.cancel_scope.cancel()

            nursery.start_soon(cancel_at_signal)
            code = await body(*arguments)
            nursery.cancel_scope.cancel()
    return INTERRUPTED if was_interrupted else code
