"""What has arrived at a machine whose process does not get to it: it is stopped, or slow."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from meshp2p.simulation.engine import Engine

__all__ = ["BUFFER_DATAGRAMS", "ArrivalQueue"]

BUFFER_DATAGRAMS = 256
"""Datagrams that a kernel keeps for a process that does not read: 208 KiB, the default on Linux, of small packets."""

Action = Callable[..., None]
Arrival = tuple[Action, tuple[Any, ...], bool]


class ArrivalQueue:
    """Arrivals in their order: what is to be done with each, with what, and whether it is a datagram.

    ``service`` is how many seconds the process takes for one thing, on average: one after the other they are done when
    their time has come. ``may_serve`` says whether the process runs at all; ``draw`` gives numbers from 0 to 1.
    """

    def __init__(self, engine: Engine, may_serve: Callable[[], bool], draw: Callable[[], float]) -> None:
        self.service: float = 0.0
        self._engine = engine
        self._may_serve = may_serve
        self._draw = draw
        self._waiting: deque[Arrival] = deque()
        self._datagrams = 0
        self._turn = 0
        self._is_serving = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, action: Action, *arguments: Any, is_datagram: bool = False) -> None:
        """Keep an arrival, unless it is a datagram and the buffer is full."""
        if is_datagram:
            if self._datagrams >= BUFFER_DATAGRAMS:
                return
            self._datagrams += 1
        self._waiting.append((action, arguments, is_datagram))
        self.serve()

    def clear(self) -> list[Arrival]:
        """Forget all, and what was begun: the process is another, or none. What was forgotten."""
        gone = list(self._waiting)
        self._waiting.clear()
        self._datagrams = 0
        self._turn += 1
        self._is_serving = False
        return gone

    def drain(self) -> Iterator[tuple[Action, tuple[Any, ...]]]:
        """Take all, the datagrams first: a driver reads its socket empty before it does anything else."""
        waiting = self.clear()
        for wanted in (True, False):
            for action, arguments, is_datagram in waiting:
                if is_datagram is wanted:
                    yield action, arguments

    def serve(self) -> None:
        """Begin with the next thing, where the process runs and does nothing yet."""
        if self._waiting and not self._is_serving and self._may_serve():
            self._is_serving = True
            cost = -math.log(1.0 - self._draw()) * self.service
            self._engine.at(self._engine.now + cost, self._finish, self._turn)

    def _finish(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._is_serving = False
        if self._waiting and self._may_serve():
            action, arguments, is_datagram = self._waiting.popleft()
            self._datagrams -= is_datagram
            action(*arguments)
            self.serve()
