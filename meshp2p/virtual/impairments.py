"""Impairments of a virtual network: what chance does to each packet."""

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
    Oversized,
    Reordered,
)

__all__ = ["RETRANSMISSION", "Flight", "Impairment", "impairment_of"]


class Flight:
    """One datagram (or one leg of a call) under way, as impairments find and change it."""

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


class Impairment:
    """What chance does to packets. ``apply`` returns whether it did something to this one."""

    def __init__(self, fault: Faulty, nodes: tuple[str, ...], draw: Callable[[], float]) -> None:
        self.fault = fault
        self._nodes = nodes
        self._draw = draw

    def concerns(self, flight: Flight) -> bool:
        return not self._nodes or flight.sender in self._nodes or flight.receiver in self._nodes

    def apply(self, flight: Flight) -> bool:
        raise NotImplementedError


RETRANSMISSION = 0.2
"""Seconds after which TCP sends again what was lost: Linux's least RTO, doubled each time."""


class _Loss(Impairment):
    def __init__(self, fault: Lossy, draw: Callable[[], float]) -> None:
        super().__init__(fault, fault.nodes, draw)
        self._probability = fault.probability
        self._kinds = fault.kinds

    def apply(self, flight: Flight) -> bool:
        if flight.kind not in self._kinds or self._draw() >= self._probability:
            return False
        _lose(flight, "Lossy", self._draw, self._probability)
        return True


class _Bursts(Impairment):
    """The state of each link is drawn when it is asked for, over the time that went by: the two-state Markov chain in
    continuous time has a closed form."""

    def __init__(self, fault: Bursts, draw: Callable[[], float]) -> None:
        super().__init__(fault, fault.nodes, draw)
        self._good, self._bad = fault.good, fault.bad
        self._loss = (fault.loss_good, fault.loss_bad)
        self._links: dict[tuple[str, str], tuple[int, float]] = {}

    def apply(self, flight: Flight) -> bool:
        if flight.kind is Kind.MULTICAST:
            return False
        link = (flight.sender, flight.receiver)
        state, since = self._links.get(link, (0, flight.now))
        share_bad = self._bad / (self._good + self._bad)
        forgotten = 1.0 - 2.0 ** (-(flight.now - since) * 1.4426950408889634 * (1 / self._good + 1 / self._bad))
        bad = state + (share_bad - state) * forgotten
        state = 1 if self._draw() < bad else 0
        self._links[link] = (state, flight.now)
        probability = self._loss[state]
        if self._draw() >= probability:
            return False
        _lose(flight, "Bursts", self._draw, probability)
        return True


def _lose(flight: Flight, reason: str, draw: Callable[[], float], probability: float) -> None:
    """A datagram is gone; a segment of TCP is sent again until it passes, or for so long that any call has timed
    out."""
    if flight.kind is not Kind.TCP:
        flight.dropped = reason
        return
    pause = RETRANSMISSION
    flight.delay += pause
    while draw() < probability and pause < 100.0:
        pause *= 2
        flight.delay += pause


class _Duplicates(Impairment):
    def __init__(self, fault: Duplicated, draw: Callable[[], float]) -> None:
        super().__init__(fault, fault.nodes, draw)
        self._probability, self._seconds = fault.probability, fault.seconds

    def apply(self, flight: Flight) -> bool:
        if flight.kind is not Kind.UDP or self._draw() >= self._probability:
            return False
        flight.copies.append(self._draw() * self._seconds)
        return True


class _Reorder(Impairment):
    def __init__(self, fault: Reordered, draw: Callable[[], float]) -> None:
        super().__init__(fault, fault.nodes, draw)
        self._probability, self._seconds = fault.probability, fault.seconds

    def apply(self, flight: Flight) -> bool:
        if flight.kind is not Kind.UDP or self._draw() >= self._probability:
            return False
        flight.delay += self._draw() * self._seconds
        return True


class _Delays(Impairment):
    def __init__(self, fault: Delayed, draw: Callable[[], float]) -> None:
        super().__init__(fault, fault.nodes, draw)
        self._seconds, self._jitter, self._spikes = fault.seconds, fault.jitter, fault.spikes

    def apply(self, flight: Flight) -> bool:
        delay = self._seconds + self._jitter * self._draw()
        if self._spikes and self._draw() < self._spikes:
            delay *= 10
        flight.delay += delay
        return True


class _Mtu(Impairment):
    def __init__(self, fault: Oversized, draw: Callable[[], float]) -> None:
        super().__init__(fault, fault.nodes, draw)
        self._bytes_max = fault.bytes_max

    def apply(self, flight: Flight) -> bool:
        if flight.kind is not Kind.UDP or flight.packet_bytes() <= self._bytes_max:
            return False
        flight.dropped = "Oversized"
        return True


class _Corruption(Impairment):
    def __init__(self, fault: Corrupted, draw: Callable[[], float]) -> None:
        super().__init__(fault, fault.nodes, draw)
        self._probability = fault.probability

    def apply(self, flight: Flight) -> bool:
        if flight.kind is not Kind.UDP or self._draw() >= self._probability:
            return False
        flight.is_corrupted = True
        return True


def impairment_of(fault: Faulty, draw: Callable[[], float]) -> Impairment | None:
    """What a fault does to packets by chance, where it does; ``draw`` gives numbers from 0 to 1."""
    match fault:
        case Lossy():
            return _Loss(fault, draw)
        case Bursts():
            return _Bursts(fault, draw)
        case Duplicated():
            return _Duplicates(fault, draw)
        case Reordered():
            return _Reorder(fault, draw)
        case Delayed():
            return _Delays(fault, draw)
        case Oversized():
            return _Mtu(fault, draw)
        case Corrupted():
            return _Corruption(fault, draw)
        case _:
            return None
