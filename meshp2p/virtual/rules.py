"""Rules of a virtual network: each says whether something passes from one host to another.

A :class:`Rule` is pure: asked again with the same arguments it gives the same verdict, so a checker may ask it too.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from meshp2p.virtual.faults import Blocked, Faulty, Kind, OneWay, Partition, Rejected

__all__ = ["DELIVER", "Allow", "Drop", "Rule", "Verdict", "rule_of"]


class Allow(msgspec.Struct, frozen=True):
    """The rule has nothing against it."""


class Drop(msgspec.Struct, frozen=True):
    """It does not pass. ``reason`` names the fault."""

    reason: str


Verdict = Allow | Drop
DELIVER = Allow()


class Rule(Protocol):
    """Whether something of this kind passes from one node to another now. Pure."""

    def verdict(self, sender: str, receiver: str, now: float, kind: Kind) -> Verdict: ...


class PartitionRule:
    """Cuts groups from one another, all the time or for half of each period."""

    def __init__(self, fault: Partition) -> None:
        self._side = {name: number for number, group in enumerate(fault.groups) for name in group}
        self._kinds = fault.kinds
        self._begin = fault.begin
        self._period = fault.period
        self._drop = Drop("Partition")

    def verdict(self, sender: str, receiver: str, now: float, kind: Kind) -> Verdict:
        one, other = self._side.get(sender), self._side.get(receiver)
        if one == other or one is None or other is None or kind not in self._kinds:
            return DELIVER
        if self._period and (now - self._begin) % self._period >= self._period / 2:
            return DELIVER
        return self._drop


class OneWayRule:
    """Cuts one direction."""

    def __init__(self, fault: OneWay) -> None:
        self._fault = fault
        self._drop = Drop("OneWay")

    def verdict(self, sender: str, receiver: str, now: float, kind: Kind) -> Verdict:
        fault = self._fault
        if sender in fault.senders and receiver in fault.receivers and kind in fault.kinds:
            return self._drop
        return DELIVER


class RejectedRule:
    """What a firewall drops beside what it refuses."""

    def __init__(self, fault: Rejected) -> None:
        self._fault = fault
        self._drop = Drop("Rejected")

    def verdict(self, sender: str, receiver: str, now: float, kind: Kind) -> Verdict:
        fault = self._fault
        if fault.drops_udp and kind is Kind.UDP and sender in fault.senders and receiver in fault.receivers:
            return self._drop
        return DELIVER


class BlockedRule:
    """Cuts some kinds of traffic."""

    def __init__(self, fault: Blocked) -> None:
        self._fault = fault
        self._drop = Drop("Blocked")

    def verdict(self, sender: str, receiver: str, now: float, kind: Kind) -> Verdict:
        fault = self._fault
        if kind in fault.kinds and (not fault.nodes or sender in fault.nodes or receiver in fault.nodes):
            return self._drop
        return DELIVER


def rule_of(fault: Faulty) -> Rule | None:
    """The rule that a fault sets, where it is one that cuts."""
    match fault:
        case Partition():
            return PartitionRule(fault)
        case OneWay():
            return OneWayRule(fault)
        case Blocked():
            return BlockedRule(fault)
        case Rejected():
            return RejectedRule(fault)
        case _:
            return None
