"""A process on a virtual host. It can be suspended, resumed and killed as by signals.

A suspended process does no I/O: nothing is read or sent, and waits for a packet, a connection or the disk continue,
past any timeout, until it is resumed. Its kernel continues meanwhile: packets are queued up to a limit, and connections
enter the backlog.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from meshp2p.threaded.mesh_node import MeshNode

__all__ = ["Process", "Waiters"]


class Process:
    """One process of a host. ``number`` counts the processes of the host, from 1."""

    def __init__(self, host_name: str, number: int) -> None:
        self.host_name = host_name
        self.number = number
        self.is_stopped: bool = False
        self.is_dead: bool = False
        self.scopes: dict[trio.CancelScope, None] = {}
        """The scopes that run in it; they are cancelled when it is killed."""
        self.nodes: list[MeshNode] = []
        self.at_death: dict[Callable[[], None], None] = {}
        """The actions of its kernel when it has ended: closing sockets, releasing locks."""
        self.waiting: dict[Waiters, None] = {}
        self._held: list[Callable[[], None]] = []
        self._resumed = Waiters(self)
        self._stop_count = 0

    def __repr__(self) -> str:
        state = "dead" if self.is_dead else "stopped" if self.is_stopped else "running"
        return f"<Process {self.number} of {self.host_name!r}: {state}>"

    # Signals

    def stop(self) -> int:
        """SIGSTOP. Returns the number of this stop, for :meth:`resume`."""
        self.is_stopped = True
        self._stop_count += 1
        return self._stop_count

    def resume(self, stop: int | None = None) -> bool:
        """SIGCONT. With a ``stop``, only if no other came after that one. Return whether the process was suspended and
        runs now."""
        if not self.is_stopped or (stop is not None and stop != self._stop_count):
            return False
        self.is_stopped = False
        held, self._held = self._held, []
        for action in held:
            action()
        for waiters in list(self.waiting):
            waiters.wake()
        return True

    def kill(self) -> None:
        """SIGKILL. Its code does not continue, except for what Python runs when a task is cancelled, which has no
        effect outside."""
        if self.is_dead:
            return
        self.is_dead = True
        self._held.clear()
        self.resume()
        for action in list(self.at_death):
            action()
        self.at_death.clear()
        self.terminate()

    def terminate(self) -> None:
        """SIGTERM, for agents: the code in it is cancelled, and may still say farewell."""
        for scope in list(self.scopes):
            scope.cancel()

    # Running

    @contextlib.contextmanager
    def run(self) -> Iterator[trio.CancelScope]:
        """A block that runs in the process: it is cancelled when the process is killed or terminated."""
        with trio.CancelScope() as scope:
            self.scopes[scope] = None
            try:
                yield scope
            finally:
                del self.scopes[scope]

    def do(self, action: Callable[[], None]) -> None:
        """Run an action now, or when the process is resumed; never if it is dead."""
        if self.is_stopped:
            self._held.append(action)
        elif not self.is_dead:
            action()

    async def wait_until_running(self) -> None:
        """Wait until the process runs. While it is suspended, this cannot be cancelled."""
        while self.is_stopped:
            await self._resumed.wait()

    async def sleep(self, seconds: float) -> None:
        """Sleep, and longer if the process is suspended meanwhile. Cancel-safe."""
        await trio.sleep(seconds)
        await self.wait_until_running()


class Waiters:
    """Tasks of a process that wait for a change. A task that wakes checks whether it occurred."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._tasks: dict[trio.lowlevel.Task, None] = {}

    async def wait(self) -> None:
        """Wait for :meth:`wake`, or for the process to be resumed. It cannot be cancelled while that is suspended."""
        process, tasks = self._process, self._tasks
        task = trio.lowlevel.current_task()
        tasks[task] = None
        process.waiting[self] = None

        def abort(_: object) -> trio.lowlevel.Abort:
            if process.is_stopped:
                return trio.lowlevel.Abort.FAILED
            del tasks[task]
            if not tasks:
                process.waiting.pop(self, None)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Wake all waiters; if the process is suspended, when it is resumed."""
        if self._process.is_stopped or not self._tasks:
            return
        tasks = list(self._tasks)
        self._tasks.clear()
        self._process.waiting.pop(self, None)
        for task in tasks:
            trio.lowlevel.reschedule(task)
