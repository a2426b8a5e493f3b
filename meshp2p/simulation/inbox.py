"""The waiting input of a machine whose process is stopped or slow."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from meshp2p.simulation.engine import Engine

__all__ = ["BUFFER_DATAGRAMS", "ArrivalQueue"]

BUFFER_DATAGRAMS = 256
"""How many datagrams a kernel buffers for a process that does not read: 208 KiB of small packets, the default on
Linux."""

Action = Callable[..., None]
Arrival = tuple[Action, tuple[Any, ...], bool]


class ArrivalQueue:
    """Inputs in their order: the action for each, its argument, and whether it is a datagram. It holds up to
    ``datagrams_max`` of these.

    ``service`` is how many seconds the process takes for one input, on average; they are processed one after another.
    ``may_serve`` returns whether the process runs; ``draw`` returns random numbers from 0 to 1.
    """

    def __init__(self, engine: Engine, may_serve: Callable[[], bool], draw: Callable[[], float]) -> None:
        self.service: float = 0.0
        self.datagrams_max: int = BUFFER_DATAGRAMS
        self._engine = engine
        self._may_serve = may_serve
        self._draw = draw
        self._waiting: deque[Arrival] = deque()
        self._datagrams = 0
        self._turn = 0
        self._is_serving = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, action: Action, *arguments: Any, is_datagram: bool = False) -> bool:
        """Keep an input, unless it is a datagram and the buffer is full. Return whether it is kept."""
        if is_datagram:
            if self._datagrams >= self.datagrams_max:
                return False
            self._datagrams += 1
        self._waiting.append((action, arguments, is_datagram))
        self.serve()
        return True

    def clear(self) -> list[Arrival]:
        """Drop all inputs, including one that was begun, because the process has ended. Return them."""
        gone = list(self._waiting)
        self._waiting.clear()
        self._datagrams = 0
        self._turn += 1
        self._is_serving = False
        return gone

    def drain(self) -> Iterator[tuple[Action, tuple[Any, ...]]]:
        """Take all inputs, datagrams first: a driver empties its socket before it does anything else."""
        waiting = self.clear()
        for wanted in (True, False):
            for action, arguments, is_datagram in waiting:
                if is_datagram is wanted:
                    yield action, arguments

    def serve(self) -> None:
        """Begin with the next input, if the process runs and is idle."""
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
