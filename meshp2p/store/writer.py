"""A thread of its own for the message store: whoever waits for the disk is a task, not the loop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Sequence
from typing import Final

import trio

from meshp2p.core.effects import Table, Write
from meshp2p.errors import StoreError
from meshp2p.store.messages import MessageStore

__all__ = ["StoreWriter"]

_END_SECONDS: Final = 5.0
"""How long the end waits for a disk that does not answer. Chosen, not measured."""


class _Job:
    def __init__(self, batches: Sequence[Iterable[Write]], token: trio.lowlevel.TrioToken) -> None:
        self.batches = batches
        self.token = token
        self.done = trio.Event()
        self.error: BaseException | None = None


class StoreWriter:
    """Writes to a :class:`MessageStore`. To be closed. The thread begins with the first write: for one write after
    another ``trio.to_thread`` takes more than twice as long."""

    def __init__(self, store: MessageStore) -> None:
        self._store = store
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def load(self) -> list[tuple[Table, bytes, bytes]]:
        """See :meth:`MessageStore.load`. Nothing may be being written."""
        return self._store.load()

    async def apply(self, batches: Sequence[Iterable[Write]]) -> None:
        """See :meth:`MessageStore.apply`. Cancel-safe: whether the writes are made is then unknown; those of later
        calls come after them."""
        if self._thread is None:
            # a daemon: the interpreter's end does not wait for a disk that never answers
            self._thread = threading.Thread(target=self._run, name="meshp2p store", daemon=True)
            self._thread.start()
        job = _Job(batches, trio.lowlevel.current_trio_token())
        self._jobs.put(job)
        await job.done.wait()
        if job.error is not None:
            raise job.error

    def close(self) -> None:
        """Wait for what is being written, then close the store.

        Raises :class:`StoreError` where the disk does not answer for ``_END_SECONDS``: the store is then in use still.
        """
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(_END_SECONDS)
            if self._thread.is_alive():
                raise StoreError(f"the disk did not answer for {_END_SECONDS:g} s: the store is left open")
            self._thread = None
        self._store.close()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._store.apply(job.batches)
            except BaseException as error:  # noqa: BLE001  # raised in the task that waits
                job.error = error
            try:
                job.token.run_sync_soon(job.done.set)
            except trio.RunFinishedError:
                pass  # nobody waits any more
            self._store.shrink()
