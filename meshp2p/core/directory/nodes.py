"""The listed nodes, and the order in which they are probed.

Every node orders the ids alike, in a ring. In the protocol period with the number ``period``, which all nodes derive
from their wall clocks, each node probes the one ``probe_offset(period, n)`` places behind itself, where ``n`` is the
number of other nodes. If views and clocks agree, each node is thus probed by exactly one other in each period, and by
each of them once within ``n`` periods. With SWIM's random order (SWIM §4.3), a third of the nodes is not probed in a
period, and one in a hundred not within 4.5 periods.

A wrong clock only makes the turns of its own node random, which is as good as SWIM's order. That each other node gets
its turn does not depend on any clock: see :meth:`Nodes.choose_next`.
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
    """The ids of all listed nodes (not hosted instances) in order, from which probes and gossip draw.

    In a large mesh this is one of the few things that each node stores about every other, so it is a list, with one
    byte each for whether it was probed in this round.
    """

    __slots__ = ("_had_turn", "_order", "_period", "_repeats", "_waiting")

    def __init__(self) -> None:
        self._order: list[str] = []
        self._had_turn = bytearray()
        self._waiting = 0
        """How many were not probed yet in this round."""
        self._repeats = 0
        self._period: int | None = None

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[str]:
        return iter(self._order)

    def add(self, node_id: str) -> None:
        """Add a node that is not listed."""
        place = bisect_left(self._order, node_id)
        self._order.insert(place, node_id)
        self._had_turn.insert(place, False)
        self._waiting += 1

    def remove(self, node_id: str) -> None:
        """Remove a listed node."""
        place = bisect_left(self._order, node_id)
        del self._order[place]
        self._waiting -= not self._had_turn.pop(place)

    def choose_next(self, own: str, period: int, random: _Randomness) -> str | None:
        """Return the node that ``own``, which is listed, probes in the protocol period with this number; None if there
        is no other.

        A round ends when each of the n other nodes was probed, after n to 2n periods whatever the clock does. If n
        turns of a round went to nodes that had been probed already, or if the number is the same as in the previous
        call, a random node that was not probed yet is chosen. With a running clock and a stable mesh, a round takes n
        periods.
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
        """Yield all others in the order of the ring, after this id, which need not be listed."""
        order = self._order
        place = bisect_right(order, node_id)
        yield from order[place:]
        yield from order[: bisect_left(order, node_id)]

    def predecessors(self, node_id: str) -> Iterator[str]:
        """Yield all others in the reverse order."""
        order = self._order
        yield from reversed(order[: bisect_left(order, node_id)])
        yield from reversed(order[bisect_right(order, node_id) :])

    def arcs(self, node_id: str, count: int) -> list[list[str]]:
        """Return all others in up to ``count`` arcs of the ring, which begins after this id. Arcs differ in length by
        one node at most."""
        others = list(self.successors(node_id))
        count = min(count, len(others))
        return [others[len(others) * arc // count : len(others) * (arc + 1) // count] for arc in range(count)]

    def draw(self, random: _Randomness, count: int, *without: str) -> list[str]:
        """Return up to ``count`` nodes in random order, without those in ``without``."""
        order = self._order
        enough = count + len(without)
        if len(order) > enough:
            return [node_id for node_id in random.sample(order, enough) if node_id not in without][:count]
        others = [node_id for node_id in order if node_id not in without]
        return random.sample(others, min(count, len(others)))


def probe_offset(period: int, others: int) -> int:
    """Return how many places behind itself a node probes in this period, among so many others: 1 to ``others``, each
    once in ``others`` periods.

    It advances in steps of about a golden section of the ring, coprime to it. If half of the ring were on a machine
    with a wrong clock, steps of 1 would leave a long stretch that nobody probes, and that moves by one place per
    period, so that each node in it would wait long.
    """
    step = others * 618 // 1000
    while gcd(step, others) != 1:
        step += 1
    return 1 + step * period % others
