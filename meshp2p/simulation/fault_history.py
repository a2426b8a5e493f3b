"""The history of faults, by machine and by link."""

from __future__ import annotations

import math
from collections.abc import Callable

from meshp2p.core.config import ProtocolConfig
from meshp2p.virtual.faults import (
    Bursts,
    Corrupted,
    CuttingFault,
    DeadAddress,
    Delayed,
    Fault,
    Forged,
    Forgery,
    Liar,
    Lossy,
    Moved,
    Narrow,
    OneWay,
    Oversized,
    Partition,
    Pause,
    Rejected,
    ShutOut,
    Sleep,
    Slow,
    SmallBuffer,
    Stalls,
    Twin,
)

__all__ = ["FaultHistory"]


class _Span:
    """A fault and its times. ``end`` is infinite while it lasts."""

    __slots__ = ("begin", "end", "fault")

    def __init__(self, fault: Fault, begin: float) -> None:
        self.fault = fault
        self.begin = begin
        self.end = math.inf


class FaultHistory:
    """All faults of a run that a healthy mesh need not tolerate, with their times.

    Each method returns since when there is no fault: the end of the last one, infinity during one, and negative
    infinity if there was none.

    Packets that an attacker replays are a fault of a machine that moved without noticing. Other nodes answer to the
    address at which they heard it last, which is the attacker's, and its record has the old address. (A machine that
    notices that it moved publishes the new address.)
    """

    def __init__(self, config: ProtocolConfig) -> None:
        # who stands still is accused one period after a probe, and has its suspicion less half a period to say it lives
        self._pause_max = (config.suspicion_confirmed_multiplier + 0.5) * config.probe_interval
        self._active: dict[int, Fault] = {}
        self._lasting: dict[int, _Span] = {}
        self._spans: list[_Span] = []
        self._moved: dict[str, None] = {}

    def note(self, number: int, fault: Fault, now: float, *, begins: bool) -> None:
        """Note that a fault begins or ends. Tolerable faults are ignored."""
        if isinstance(fault, Moved):
            self._moved[fault.node] = None
        if not begins:
            self._active.pop(number, None)
            if number in self._lasting:
                self._lasting.pop(number).end = now
            return
        self._active[number] = fault
        is_long = isinstance(fault, Pause) and (fault.end is None or fault.end - fault.begin > self._pause_max)
        if is_long or not fault.is_bearable() or _is_replay(fault) or isinstance(fault, DeadAddress):
            self._begin(number, fault, now)
        if any(isinstance(other, Rejected) for other in self._active.values()):
            # two refusals prove a crash, unless the node answers pings meanwhile
            for silencing, other in self._active.items():
                if isinstance(other, Pause | Lossy | Corrupted):
                    self._begin(silencing, other, now)

    def _begin(self, number: int, fault: Fault, now: float) -> None:
        if number not in self._lasting:
            span = self._lasting[number] = _Span(fault, now)
            self._spans.append(span)

    def _until(self, concerns: Callable[[Fault], bool]) -> float:
        return max((span.end for span in self._spans if concerns(span.fault)), default=-math.inf)

    def node_until(self, key: str) -> float:
        """Return when the last fault of this machine itself ended."""
        return self._until(lambda fault: _impairs_node(fault, key) or (key in self._moved and _is_replay(fault)))

    def links_until(self, key: str) -> float:
        """Return when the last fault of any link of this machine ended."""
        return self._until(lambda fault: _impairs_some_link(fault, key))

    def any_until(self) -> float:
        """Return when the last fault of any machine or link ended."""
        has_moved = bool(self._moved)
        return self._until(
            lambda fault: isinstance(fault, _OfNode) or _is_of_links(fault) or (has_moved and _is_replay(fault))
        )

    def addresses_until(self) -> float:
        """Return the last time after which a node may send to an address that another node has left.

        An attacker replayed packets, a second process had the id, an address of a machine was dead, or there was a
        fault since a machine moved. A probe finds the other node by TCP, or is found by the other's probe. So each pair
        is repaired within a round of probes and the next.
        """
        until = self._until(lambda fault: _is_replay(fault) or isinstance(fault, Twin | DeadAddress))
        return max(until, self.any_until()) if self._moved else until

    def is_bearable(self, fault: Fault) -> bool:
        """Return whether a healthy mesh must tolerate this fault, after the earlier ones."""
        return fault.is_bearable() and not (self._moved and _is_replay(fault))


def _is_replay(fault: Fault) -> bool:
    return isinstance(fault, Forged) and fault.what is Forgery.REPLAY


_OfNode = Pause | Sleep | Slow | Stalls | SmallBuffer | Moved | Twin | ShutOut


def _is_of_links(fault: Fault) -> bool:
    # what a liar says may reach any node
    return isinstance(fault, CuttingFault | Lossy | Bursts | Delayed | Oversized | Corrupted | Narrow | Liar)


def _impairs_node(fault: Fault, key: str) -> bool:
    """Return whether this fault impairs the machine itself."""
    return isinstance(fault, _OfNode) and fault.node == key


def _impairs_some_link(fault: Fault, key: str) -> bool:
    """Return whether this fault impairs a link of the machine. A fault that names nodes impairs all their links, unless
    it is one between the named nodes."""
    is_between = isinstance(fault, Partition | OneWay | Rejected | Narrow)
    return _is_of_links(fault) and (not is_between or key in fault.names())
