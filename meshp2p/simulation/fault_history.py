"""What went wrong, when, and whom it concerned: single machines, and links between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable

from meshp2p.core.config import ProtocolConfig
from meshp2p.virtual.faults import (
    Bursts,
    Corrupted,
    CuttingFault,
    Delayed,
    Fault,
    Forged,
    Forgery,
    Lossy,
    Moved,
    OneWay,
    Oversized,
    Partition,
    Pause,
    Rejected,
    Sleep,
    Slow,
    Stalls,
    Twin,
)

__all__ = ["FaultHistory"]


class _Span:
    """A fault and how long it lasted: ``end`` is infinite while it does."""

    __slots__ = ("begin", "end", "fault")

    def __init__(self, fault: Fault, begin: float) -> None:
        self.fault = fault
        self.begin = begin
        self.end = math.inf


class FaultHistory:
    """All faults of a run that a healthy mesh need not bear, with their times.

    Who asks is told since when there is quiet: the end of the last trouble, infinity while there is one, and negative
    infinity where there never was any.

    Packets that an attacker sends again are a trouble of a machine that moved without noticing: others answer to where
    they heard it last, which is then the attacker's address, and its record has the address that it left. (A machine
    that notices that it moved publishes the new one.)
    """

    def __init__(self, config: ProtocolConfig) -> None:
        # who stands still is accused one period after a probe, and has its suspicion less half a period to say it lives
        self._pause_max = (config.suspicion_confirmed_multiplier + 0.5) * config.probe_interval
        self._active: dict[int, Fault] = {}
        self._lasting: dict[int, _Span] = {}
        self._spans: list[_Span] = []
        self._moved: dict[str, None] = {}

    def note(self, number: int, fault: Fault, now: float, *, begins: bool) -> None:
        """A fault begins or ends. What is bearable is no trouble."""
        if isinstance(fault, Moved):
            self._moved[fault.node] = None
        if not begins:
            self._active.pop(number, None)
            if number in self._lasting:
                self._lasting.pop(number).end = now
            return
        self._active[number] = fault
        is_long = isinstance(fault, Pause) and (fault.end is None or fault.end - fault.begin > self._pause_max)
        if is_long or not fault.is_bearable() or _is_replay(fault):
            self._begin(number, fault, now)
        if any(isinstance(other, Rejected) for other in self._active.values()):
            # two refusals prove a crash, unless the node answers pings meanwhile
            for paused, other in self._active.items():
                if isinstance(other, Pause):
                    self._begin(paused, other, now)

    def _begin(self, number: int, fault: Fault, now: float) -> None:
        if number not in self._lasting:
            span = self._lasting[number] = _Span(fault, now)
            self._spans.append(span)

    def _until(self, concerns: Callable[[Fault], bool]) -> float:
        return max((span.end for span in self._spans if concerns(span.fault)), default=-math.inf)

    def node_until(self, key: str) -> float:
        """When the last trouble of this machine itself ended."""
        return self._until(lambda fault: _impairs_node(fault, key) or (key in self._moved and _is_replay(fault)))

    def links_until(self, key: str) -> float:
        """When the last trouble of any link of this machine ended."""
        return self._until(lambda fault: _impairs_some_link(fault, key))

    def any_until(self) -> float:
        """When the last trouble of any machine or link ended."""
        has_moved = bool(self._moved)
        return self._until(
            lambda fault: isinstance(fault, _OfNode) or _is_of_links(fault) or (has_moved and _is_replay(fault))
        )

    def addresses_until(self) -> float:
        """When last anything happened after which a node may send to where another is not.

        Packets were sent again by an attacker, a second process had the id, or there was a trouble since a machine
        moved. Whoever probes another finds it by TCP, or is found when the other probes; so each pair is put right
        within a round of probes and the next.
        """
        if self._moved:
            return self.any_until()
        return self._until(lambda fault: _is_replay(fault) or isinstance(fault, Twin))

    def is_bearable(self, fault: Fault) -> bool:
        """Whether a healthy mesh must bear this fault, after those that there were."""
        return fault.is_bearable() and not (self._moved and _is_replay(fault))


def _is_replay(fault: Fault) -> bool:
    return isinstance(fault, Forged) and fault.what is Forgery.REPLAY


_OfNode = Pause | Sleep | Slow | Stalls | Moved | Twin


def _is_of_links(fault: Fault) -> bool:
    return isinstance(fault, CuttingFault | Lossy | Bursts | Delayed | Oversized | Corrupted)


def _impairs_node(fault: Fault, key: str) -> bool:
    """Whether this fault impairs the machine itself."""
    return isinstance(fault, _OfNode) and fault.node == key


def _impairs_some_link(fault: Fault, key: str) -> bool:
    """Whether this fault impairs a link of the machine. One that names nodes impairs their links with everybody, unless
    it is one between those that it names."""
    is_between = isinstance(fault, Partition | OneWay | Rejected)
    return _is_of_links(fault) and (not is_between or key in fault.names())
