"""What a piece of code asks of the real world: an audit hook that can be switched on and off (PEP 578)."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final
from unittest import mock

import trio

__all__ = ["watching_real_world"]

WATCHED: Final = (
    "open",
    "os.",
    "sqlite3.",
    "socket.",
    "subprocess.",
    "shutil.",
    "tempfile.",
    "fcntl.",
    "pathlib.",
    "glob.",
    "mmap.",
    "signal.pthread_kill",
    "urllib.",
    "webbrowser.",
    "ctypes.dlopen",
)
"""Events, and families of events (with a dot at the end), that only the real world has. Importing a module opens its
file: import everything before."""

_asked: list[str] | None = None


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _asked is not None and any(event == one or (one[-1] == "." and event.startswith(one)) for one in WATCHED):
        _asked.append(f"{event}{arguments!r:.200}")


@contextlib.contextmanager
def watching_real_world() -> Iterator[list[str]]:
    """A list of what is asked in the block, by any thread. Threads have no event before Python 3.13, and trio keeps
    some: so the two ways to one are watched by name."""
    global _asked  # noqa: PLW0603 - a hook is for the whole process, and cannot be taken away
    if not _is_hooked:
        sys.addaudithook(_note)
        _is_hooked.append(True)
    asked: list[str] = []
    start, run_sync = threading.Thread.start, trio.to_thread.run_sync

    def note_start(thread: threading.Thread) -> None:
        asked.append(f"thread {thread!r}")
        start(thread)

    async def note_run_sync(function: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(f"thread for {function!r}")
        return await run_sync(function, *arguments, **options)

    _asked = asked
    try:
        with (
            mock.patch.object(threading.Thread, "start", note_start),
            mock.patch.object(trio.to_thread, "run_sync", note_run_sync),
        ):
            yield asked
    finally:
        _asked = None


_is_hooked: Final[list[bool]] = []
