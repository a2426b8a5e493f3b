"""A program that a test started on a host, so that it can be stopped and restarted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from meshp2p.testing.process import Process

__all__ = ["Launched", "Program"]

Program = Callable[["Launched"], Awaitable[None]]
"""The program that runs in the process. A node's program ends when ``wants_stop`` is set; an agent's own code is then
cancelled."""


class Launched:
    """One run of a program in a process."""

    def __init__(self, process: Process, program: Program, *, is_agent: bool) -> None:
        self.process = process
        self.program = program
        self.is_agent = is_agent
        self.wants_stop: trio.Event = trio.Event()
        self.begun: trio.Event = trio.Event()
        """Set when a node is open, or the run has ended."""
        self.ended: trio.Event = trio.Event()
        self.error: Exception | None = None
        """Why no node was opened."""

    @property
    def is_running(self) -> bool:
        return not self.process.is_dead and not self.ended.is_set()
