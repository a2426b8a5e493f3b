"""Threads for handlers that block."""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Callable

__all__ = ["Pool"]

_log = logging.getLogger("meshp2p.node")


class Pool:
    """At most so many threads, made as they are needed. They are daemons: a handler that never returns does not hold up
    the end of the program."""

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._threads = 0
        self._idle = 0
        self._work: collections.deque[Callable[[], None]] = collections.deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def start(self, function: Callable[[], None]) -> None:
        """Run it as soon as a thread is free; never waits. Nothing happens if the pool is closed."""
        with self._changed:
            if self._is_closed:
                return
            self._work.append(function)
            if self._idle >= len(self._work) or self._threads >= self._threads_max:
                self._changed.notify()
                return
            self._threads += 1
        threading.Thread(target=self._run, name="meshp2p-handler", daemon=True).start()

    def close(self) -> None:
        """Drop the functions that have not begun. Each thread ends when its function has."""
        with self._changed:
            self._is_closed = True
            self._work.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._work:
                    if self._is_closed:
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                function = self._work.popleft()
            try:
                function()
            except BaseException:  # noqa: BLE001 - what is no Exception ends a thread otherwise, and silently
                _log.exception("a handler raised a BaseException that is no Exception; its message gets no answer")
