"""Impairments of a virtual network: random effects on each packet."""

from __future__ import annotations

from collections.abc import Callable

from meshp2p.virtual.faults import (
    Bursts,
    Corrupted,
    Delayed,
    Duplicated,
    Faulty,
    Kind,
    Lossy,
    Narrow,
    Oversized,
    Reordered,
)
from meshp2p.virtual.faults.base import FaultOfNodes

__all__ = ["RETRANSMISSION", "Flight", "Impairment", "impairment_of"]

QUEUE_SECONDS = 0.5
"""The longest time for which a datagram waits before a narrow path. Chosen, not measured."""

BACKLOG_SECONDS = 10.0
"""The longest time for which a segment of TCP waits there; its sender holds the rest back. Chosen, not measured."""

RETRANSMISSION = 0.2
"""The time in seconds after which TCP retransmits a lost segment: Linux's minimum RTO, doubled each time."""


class Flight:
    """A datagram, or one leg of a call, in transit; impairments read and change it."""

    __slots__ = ("copies", "delay", "dropped", "is_corrupted", "kind", "now", "packet_bytes", "receiver", "sender")

    def __init__(self, sender: str, receiver: str, now: float, kind: Kind, packet_bytes: Callable[[], int]) -> None:
        self.sender: str = sender
        self.receiver: str = receiver
        self.now: float = now
        self.kind: Kind = kind
        self.packet_bytes: Callable[[], int] = packet_bytes
        self.delay: float = 0.0
        self.copies: list[float] = []
        """How much later than the first each further copy arrives."""
        self.dropped: str = ""
        self.is_corrupted: bool = False


Draw = Callable[[], float]
Apply = Callable[[Flight], bool]
"""Applies a fault to a packet and returns whether it affected it."""


class Impairment:
    """The random effect of a fault on packets: on those that its nodes send or receive, on all if it names none, or on
    those in its direction."""

    def __init__(self, fault: FaultOfNodes | Narrow, apply: Apply) -> None:
        self.fault = fault
        self.apply = apply
        self._nodes = fault.names()
        self._way = (fault.senders, fault.receivers) if isinstance(fault, Narrow) else None

    def concerns(self, flight: Flight) -> bool:
        if self._way is not None:
            return flight.sender in self._way[0] and flight.receiver in self._way[1]
        return not self._nodes or flight.sender in self._nodes or flight.receiver in self._nodes


def impairment_of(fault: Faulty, draw: Draw) -> Impairment | None:
    """Return the random effect of a fault on packets, if it has one. ``draw`` returns numbers from 0 to 1."""
    match fault:
        case Lossy():
            return Impairment(fault, _loss(fault, draw))
        case Bursts():
            return Impairment(fault, _bursts(fault, draw))
        case Duplicated() | Reordered() | Corrupted():
            return Impairment(fault, _datagrams_changed(fault, draw))
        case Delayed():
            return Impairment(fault, _delays(fault, draw))
        case Oversized():
            return Impairment(fault, _limit(fault))
        case Narrow():
            return Impairment(fault, _narrow(fault))
        case _:
            return None


def _loss(fault: Lossy, draw: Draw) -> Apply:
    def apply(flight: Flight) -> bool:
        if flight.kind not in fault.kinds or draw() >= fault.probability:
            return False
        _lose(flight, "Lossy", draw, fault.probability)
        return True

    return apply


def _bursts(fault: Bursts, draw: Draw) -> Apply:
    """Draw the loss state of each link on demand, over the elapsed time. The two-state Markov chain in continuous time
    has a closed form."""
    links: dict[tuple[str, str], tuple[int, float]] = {}
    share_bad = fault.bad / (fault.good + fault.bad)

    def apply(flight: Flight) -> bool:
        if flight.kind is Kind.MULTICAST:
            return False
        link = (flight.sender, flight.receiver)
        state, since = links.get(link, (0, flight.now))
        forgotten = 1.0 - 2.0 ** (-(flight.now - since) * 1.4426950408889634 * (1 / fault.good + 1 / fault.bad))
        state = 1 if draw() < state + (share_bad - state) * forgotten else 0
        links[link] = (state, flight.now)
        probability = fault.loss_bad if state else fault.loss_good
        if draw() >= probability:
            return False
        _lose(flight, "Bursts", draw, probability)
        return True

    return apply


def _lose(flight: Flight, reason: str, draw: Draw, probability: float) -> None:
    """Drop a datagram; delay a TCP segment until a retransmission passes, or until any call has timed out."""
    if flight.kind is not Kind.TCP:
        flight.dropped = reason
        return
    pause = RETRANSMISSION
    flight.delay += pause
    while draw() < probability and pause < 100.0:
        pause *= 2
        flight.delay += pause


def _datagrams_changed(fault: Duplicated | Reordered | Corrupted, draw: Draw) -> Apply:
    def apply(flight: Flight) -> bool:
        if flight.kind is not Kind.UDP or draw() >= fault.probability:
            return False
        if isinstance(fault, Corrupted):
            flight.is_corrupted = True
        elif isinstance(fault, Duplicated):
            flight.copies.append(draw() * fault.seconds)
        else:
            flight.delay += draw() * fault.seconds
        return True

    return apply


def _delays(fault: Delayed, draw: Draw) -> Apply:
    def apply(flight: Flight) -> bool:
        delay = fault.seconds + fault.jitter * draw()
        if fault.spikes and draw() < fault.spikes:
            delay *= 10
        flight.delay += delay
        return True

    return apply


def _narrow(fault: Narrow) -> Apply:
    free_at: dict[tuple[str, str], float] = {}

    def apply(flight: Flight) -> bool:
        is_udp = flight.kind is Kind.UDP
        size = flight.packet_bytes() if fault.bytes_per_second or fault.bytes_max else 0
        pair = (flight.sender, flight.receiver)
        waits = max(0.0, free_at.get(pair, 0.0) - flight.now)
        if is_udp and ((fault.bytes_max and size > fault.bytes_max) or waits > QUEUE_SECONDS):
            flight.dropped = "Narrow"
            return True
        if fault.bytes_per_second:
            waits = min(waits, BACKLOG_SECONDS) + size / fault.bytes_per_second
            free_at[pair] = flight.now + waits
        flight.delay += fault.seconds + waits
        return True

    return apply


def _limit(fault: Oversized) -> Apply:
    def apply(flight: Flight) -> bool:
        if flight.kind is not Kind.UDP or flight.packet_bytes() <= fault.bytes_max:
            return False
        flight.dropped = "Oversized"
        return True

    return apply
