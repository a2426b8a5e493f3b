"""Shared parts of the benchmarks' command lines: types of arguments, and the end of a run by a signal."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVarTuple

import trio

__all__ = ["INTERRUPTED", "add_benchmark", "add_names", "positive", "run_until_signal"]

_Arguments = TypeVarTuple("_Arguments")

INTERRUPTED: Final = 130
"""The exit code if a signal ended the run."""


def add_benchmark(commands: Any, name: str, text: str, details: str | None) -> argparse.ArgumentParser:
    """Add the command of a benchmark, with this line in the list of commands, and these details in its own help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def positive(text: str) -> int:
    """A whole number, 1 or more: a type of argparse."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def add_names(
    parser: argparse.ArgumentParser, option: str, known: Iterable[str], *, about: str = "", may_be_none: bool = False
) -> None:
    """Add an option that takes some of these names, separated by commas; all of them by default. ``none`` means no
    name, if that is allowed."""
    names = tuple(known)
    nothing = ", or none" if may_be_none else ""

    def parse(text: str) -> tuple[str, ...]:
        found = () if may_be_none and text == "none" else tuple(text.split(","))
        for name in found:
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r}: expected one of {', '.join(names)}{nothing}")
        return found

    help_text = f"{about}{','.join(names)} (all){nothing}"
    parser.add_argument(option, type=parse, default=names, metavar="NAME,NAME", help=help_text)


async def run_until_signal(body: Callable[[*_Arguments], Awaitable[int]], *arguments: *_Arguments) -> int:
    """Run a benchmark and return its exit code. SIGINT and SIGTERM cancel it; then the code is always
    :data:`INTERRUPTED`."""
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
