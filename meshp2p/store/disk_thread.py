"""A thread for one node's disk, so that a task waits for the disk and not the loop.

It starts with the node: later the process may be out of threads, and trio's workers, which an agent uses too, may all
be busy.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import trio

from meshp2p.errors import StartError, StoreError

__all__ = ["DiskThread"]

_T = TypeVar("_T")

_END_SECONDS: Final = 5.0
"""How long the end waits for a disk that does not answer. Chosen, not measured."""


class _Job:
    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.token = trio.lowlevel.current_trio_token()
        self.done = trio.Event()
        self.result: Any = None
        self.error: BaseException | None = None


class DiskThread:
    """Runs functions in a thread, one after another, in the order of the calls. Close it after use.

    For consecutive writes ``trio.to_thread`` takes more than twice as long.
    """

    def __init__(self) -> None:
        """Raises :class:`StartError` if the process may start no thread."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._asked = self._done = 0
        # a daemon: the interpreter's end does not wait for a disk that never answers
        self._thread = threading.Thread(target=self._run, name="meshp2p disk", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise StartError(f"no thread can be started for the disk: {error}") from error

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run ``work()`` in the thread and return its result.

        Cancel-safe: it is then unknown whether the work is done; later calls come after it.
        """
        job = self._put(work)
        await job.done.wait()
        if job.error is not None:
            raise job.error
        result: _T = job.result
        return result

    def post(self, work: Callable[[], None]) -> None:
        """Run ``work()`` in the thread after earlier work, without waiting for it. Its errors are ignored."""
        self._put(work)

    @property
    def is_idle(self) -> bool:
        """Whether the thread has nothing to do. In the thread that calls :meth:`run` and :meth:`post`, this stays so
        until the next call."""
        return self._asked == self._done

    def _put(self, work: Callable[[], Any]) -> _Job:
        job = _Job(work)
        self._asked += 1
        self._jobs.put(job)
        return job

    def close(self) -> None:
        """Wait for running work.

        Raises :class:`StoreError` if the disk does not answer for ``_END_SECONDS``. It is then still in use.
        """
        self._jobs.put(None)
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():
            raise StoreError(f"the disk did not answer for {_END_SECONDS:g} s: its files are left open")

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.result = job.work()
            except BaseException as error:  # noqa: BLE001  # raised in the task that waits
                job.error = error
            self._done += 1
            try:
                job.token.run_sync_soon(job.done.set)
            except trio.RunFinishedError:
                pass  # the caller was cancelled
