"""The listed nodes in the order in which they are probed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

__all__ = ["Nodes"]


class _Randomness(Protocol):
    def randrange(self, start: int, stop: int, /) -> int: ...
    def sample(self, population: list[str], k: int, /) -> list[str]: ...


class Nodes:
    """The ids of all listed nodes (not hosted instances), from which probes and gossip draw.

    The first ``_position`` of the list were probed in this round. Who is next is drawn from the rest, so that each has
    its turn in a round, in an order that nobody can foresee, and a newcomer waits for half a round on average (SWIM
    §4.3). In a large mesh this is one of few things that each node keeps about each other, and is a list for that.
    """

    __slots__ = ("_order", "_position")

    def __init__(self) -> None:
        self._order: list[str] = []
        self._position = 0

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def add(self, node_id: str) -> None:
        """List one that is not listed."""
        self._order.append(node_id)

    def remove(self, node_id: str) -> None:
        """Take one off the list that is on it."""
        order = self._order
        place = order.index(node_id)
        if place < self._position:
            self._position -= 1
            order[place] = order[self._position]
            place = self._position
        order[place] = order[-1]
        order.pop()

    def draw_next(self, random: _Randomness) -> str:
        """Whose turn it is: one of those who had none in this round, or, where all had, the first of the next. At least
        one is listed."""
        order = self._order
        if self._position >= len(order):
            self._position = 0
        position = self._position
        place = random.randrange(position, len(order))
        order[position], order[place] = order[place], order[position]
        self._position += 1
        return order[position]

    def draw(self, random: _Randomness, count: int, *without: str) -> list[str]:
        """Up to ``count``, drawn at random, none of them in ``without``."""
        order = self._order
        enough = count + len(without)
        if len(order) > enough:
            return [node_id for node_id in random.sample(order, enough) if node_id not in without][:count]
        others = [node_id for node_id in order if node_id not in without]
        return others if len(others) <= count else random.sample(others, count)
