"""Rules of a virtual network: each decides whether traffic passes from one host to another.

A :class:`Rule` is pure: it always gives the same verdict for the same arguments, so checkers may use it too.
"""

from __future__ import annotations

from collections.abc import Callable

from meshp2p.virtual.faults import Blocked, Faulty, Kind, OneWay, Partition, Rejected

__all__ = ["Rule", "rule_of"]

Rule = Callable[[str, str, float, Kind], bool]
"""Decides whether traffic of some kind passes from one node to another now. Pure."""


def rule_of(fault: Faulty) -> Rule | None:
    """Return the rule of a fault, if it blocks traffic."""
    match fault:
        case Partition():
            return _partition_rule(fault)
        case OneWay(senders=senders, receivers=receivers, kinds=kinds):
            return lambda sender, receiver, _now, kind: sender in senders and receiver in receivers and kind in kinds
        case Blocked(nodes=nodes, kinds=kinds):
            return lambda sender, receiver, _now, kind: (
                kind in kinds and (not nodes or sender in nodes or receiver in nodes)
            )
        case Rejected(senders=senders, receivers=receivers, drops_udp=drops_udp):
            # what TCP has is refused, not dropped
            return lambda sender, receiver, _now, kind: (
                drops_udp and kind is Kind.UDP and sender in senders and receiver in receivers
            )
        case _:
            return None


def _partition_rule(fault: Partition) -> Rule:
    side = {name: number for number, group in enumerate(fault.groups) for name in group}
    kinds, begin, period = fault.kinds, fault.begin, fault.period

    def is_cut(sender: str, receiver: str, now: float, kind: Kind) -> bool:
        one, other = side.get(sender), side.get(receiver)
        if one == other or one is None or other is None or kind not in kinds:
            return False
        return not period or (now - begin) % period < period / 2

    return is_cut
