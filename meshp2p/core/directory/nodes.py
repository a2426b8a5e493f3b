"""The listed nodes, and whose turn it is to be probed.

Every node orders the ids the same, in a ring. In the protocol period with the number ``period``, which all read off
their wall clocks, each node probes the one ``probe_offset(period, n)`` places behind itself, ``n`` being how many
others there are. Where views and clocks agree, each node is so probed by exactly one other in each period, and within
``n`` periods once by each. With SWIM's random order (SWIM §4.3) one node in three is probed by nobody in a period, and
one in a hundred by nobody in 4.5 of them.

A clock that is off makes of its node's turns random ones, no more: then the order is as good as SWIM's. That each other
node has its turn hangs on no clock, see :meth:`Nodes.choose_next`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from math import gcd
from typing import Protocol

__all__ = ["Nodes", "probe_offset"]


class _Randomness(Protocol):
    def randrange(self, start: int, stop: int, /) -> int: ...
    def sample(self, population: list[str], k: int, /) -> list[str]: ...


class Nodes:
    """The ids of all listed nodes (not hosted instances) in their order, from which probes and gossip draw.

    In a large mesh this is one of few things that each node keeps about each other, so it is a list, and a byte each
    for who had its turn in this round.
    """

    __slots__ = ("_had_turn", "_order", "_period", "_repeats", "_waiting")

    def __init__(self) -> None:
        self._order: list[str] = []
        self._had_turn = bytearray()
        self._waiting = 0
        """How many had no turn yet in this round."""
        self._repeats = 0
        self._period: int | None = None

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def add(self, node_id: str) -> None:
        """List one that is not listed."""
        place = bisect_left(self._order, node_id)
        self._order.insert(place, node_id)
        self._had_turn.insert(place, False)
        self._waiting += 1

    def remove(self, node_id: str) -> None:
        """Take one off the list that is on it."""
        place = bisect_left(self._order, node_id)
        del self._order[place]
        self._waiting -= not self._had_turn.pop(place)

    def choose_next(self, own: str, period: int, random: _Randomness) -> str | None:
        """Whom ``own``, which is listed, probes in the protocol period with this number; None where there is no other.

        A round ends when each of the n others had its turn, which takes n to 2n periods whatever the clock does: once
        n turns of a round went to those who had theirs, or where the number is that of the call before, one that had
        none is drawn at random. Where the clock runs and the mesh stays as it is, a round takes n periods.
        """
        order, had_turn = self._order, self._had_turn
        others = len(order) - 1
        if others < 1:
            return None
        own_place = bisect_left(order, own)
        if not had_turn[own_place]:
            had_turn[own_place] = True
            self._waiting -= 1
        if not self._waiting:
            had_turn[:] = bytes(len(order))
            had_turn[own_place] = True
            self._waiting = others
            self._repeats = 0
        place = (own_place + probe_offset(period, others)) % len(order)
        if period == self._period or (had_turn[place] and self._repeats >= others):
            place = had_turn.find(False, random.randrange(0, len(order)))
            if place < 0:
                place = had_turn.find(False)
        self._period = period
        if had_turn[place]:
            self._repeats += 1
        else:
            had_turn[place] = True
            self._waiting -= 1
        return order[place]

    def successors(self, node_id: str) -> Iterator[str]:
        """All others in the order of the ring, from the one behind this id on, which need not be listed."""
        order = self._order
        place = bisect_right(order, node_id)
        yield from order[place:]
        yield from order[: bisect_left(order, node_id)]

    def predecessors(self, node_id: str) -> Iterator[str]:
        """The same in the opposite order."""
        order = self._order
        yield from reversed(order[: bisect_left(order, node_id)])
        yield from reversed(order[bisect_right(order, node_id) :])

    def draw(self, random: _Randomness, count: int, *without: str) -> list[str]:
        """Up to ``count`` in an order drawn at random, none of them in ``without``."""
        order = self._order
        enough = count + len(without)
        if len(order) > enough:
            return [node_id for node_id in random.sample(order, enough) if node_id not in without][:count]
        others = [node_id for node_id in order if node_id not in without]
        return random.sample(others, min(count, len(others)))


def probe_offset(period: int, others: int) -> int:
    """How many places behind itself a node probes in this period, where it lists so many others: 1 to ``others``, each
    once in ``others`` periods.

    It goes in steps of about a golden section of the ring, and has no divisor in common with it. In steps of 1, where
    half of the ring is on a machine whose clock is off, a long stretch that nobody probes would move by one place a
    period, so that each node in it waits for long.
    """
    step = others * 618 // 1000
    while gcd(step, others) != 1:
        step += 1
    return 1 + step * period % others
