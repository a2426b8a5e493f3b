"""Processes that are measured or watched: their output lines with arrival times, and their reliable end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

__all__ = ["ENDS_WITH_PARENT", "ROOT", "Program", "free_port"]

ROOT: Final = Path(__file__).parents[1]
"""The directory from which ``simulations`` is imported."""

ENDS_WITH_PARENT: Final = ("setpriv", "--pdeathsig", "KILL", "--")
"""The prefix of a command that dies when the thread ends that started it: start it from the main thread."""


class Program:
    """A running process. ``hear`` receives each line of its output and its arrival time, by ``CLOCK_MONOTONIC``.

    Its errors go to the file ``log``, or to this process's standard error if there is none. ``environment`` adds to
    this process's. Start it from the main thread, with :meth:`run` in a nursery, and :meth:`kill` it.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path | None,
        hear: Callable[[str, float], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        with contextlib.nullcontext() if log is None else log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
                bufsize=0,
            )
        self.pid = self._process.pid
        self.ended = trio.Event()
        self._hear = hear
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = self._process.stdin
        self._output = trio.lowlevel.FdStream(os.dup(self._process.stdout.fileno()))
        self._process.stdout.close()

    async def run(self) -> None:
        """Read its output until it ends."""
        text = b""
        try:
            async for data in self._output:
                arrived = time.monotonic()
                *lines, text = (text + data).split(b"\n")
                for line in lines:
                    self._hear(line.decode(errors="replace"), arrived)
        finally:
            with trio.CancelScope(shield=True):
                await self._output.aclose()
            self.ended.set()

    def tell(self, line: str) -> None:
        """Write a short line, which fits into the pipe, to its input."""
        self._input.write(line.encode() + b"\n")

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it now, like a crash, and wait for it."""
        self._process.kill()
        self._process.wait()
        self._input.close()


def free_port() -> int:
    """Return a port of loopback at which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
