"""Which side of a cut a node may be on, by the deaths that it heard of."""

from __future__ import annotations

from collections import deque

from meshp2p.core.events import Event, InstanceDied, LeadershipChanged
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["Sides"]

ROUNDING = 1e-6


class _Deaths:
    """The deaths that one process heard of within a settle window, by its own clock, and how often it was paused when
    it last named a leader. ``some`` has no deaths from before it last looked around anew."""

    __slots__ = ("every", "pauses", "some")

    def __init__(self) -> None:
        self.some: deque[float] = deque()
        self.every: deque[float] = deque()
        self.pauses = 0


class Sides(Checker):
    """A node that lost more than a third of its view within a settle window, and at least two, looks around before it
    names a leader again; and without a quorum it ceases to name one only for that, for a pause of its own, to leave, or
    because it hears nobody (ADR 0056).
    """

    name = "sides"
    watches: tuple[type, ...] = (InstanceDied, LeadershipChanged)

    def prepare(self) -> None:
        self._deaths: dict[str, _Deaths] = {}

    def started(self, host: Host) -> None:
        self._deaths[host.key] = _Deaths()

    def event(self, host: Host, event: Event) -> None:
        machine, deaths = host.running, self._deaths[host.key]
        window = self.oracle.config.settle_timeout
        if isinstance(event, InstanceDied):
            if event.record.is_node:
                self._note(host, deaths, window)
        elif isinstance(event, LeadershipChanged):
            if event.leader_id is None and not self.oracle.config.quorum and not machine.has_lost_id:
                was_paused = machine.counters.pauses > deaths.pauses
                _forget(deaths.every, host.now - window - ROUNDING)
                # what it listed then is not known for certain: one node more or less
                is_cut_off = _is_a_third(len(deaths.every), machine.node_count() - 1)
                if not (was_paused or is_cut_off or host.is_leaving or machine.hears_nobody):
                    gone = f"{len(deaths.every)} of {machine.node_count() + len(deaths.every)} nodes"
                    self.violated(host, f"names no leader, though it was not paused, and {gone} died at once")
            deaths.pauses = machine.counters.pauses

    def _note(self, host: Host, deaths: _Deaths, window: float) -> None:
        machine = host.running
        deaths.every.append(host.now)
        deaths.some.append(host.now)
        _forget(deaths.some, host.now - window + ROUNDING)
        if not machine.is_settled:
            deaths.some.clear()
        elif _is_a_third(len(deaths.some), machine.node_count()):
            gone = len(deaths.some)
            self.violated(host, f"is settled, though {gone} of {machine.node_count() + gone} nodes died at once")


def _forget(deaths: deque[float], before: float) -> None:
    while deaths and deaths[0] < before:
        deaths.popleft()


def _is_a_third(gone: int, left: int) -> bool:
    return gone >= 2 and 3 * gone > left + gone
