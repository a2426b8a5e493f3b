"""How soon a node may hold another dead: only as many independent accusers as are configured make it soon."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import ClassVar

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.events import Event, MemberDied, MemberRecovered, MemberSuspected
from meshp2p.core.messages import CallReply, CallRequest, Push, SyncReply
from meshp2p.core.record import Item, Rumour, State
from meshp2p.simulation.checkers.base import Checker, Violation
from meshp2p.simulation.host import Host
from meshp2p.simulation.truth import Truth

__all__ = ["Suspicions", "suspicion_seconds"]

OBSERVERS_MAX = 64
"""In a larger mesh only so many hosts are followed. Chosen, not measured."""

ROUNDING = 1e-3


def suspicion_seconds(config: ProtocolConfig, nodes: int, confirmations: int, *, is_doubted: bool = False) -> float:
    """How long a suspicion lasts at the least, where so many others confirmed it. ``is_doubted``: another view holds
    the suspect dead.

    By the rule in docs/protocol.md (Lifeguard §IV-B), written anew: without patience, which makes it longer.
    """
    base = config.suspicion_timeout(nodes)
    wanted = max(0, int(config.suspicion_multiplier) - 2)
    if nodes - 2 < wanted:
        wanted = 0
    least = base
    if wanted and config.confirmers:
        least = min(base, config.suspicion_confirmed_multiplier * config.probe_interval)
    seconds = least
    if wanted:
        longest = max(base, least) * config.suspicion_max_multiplier
        share = math.log(min(confirmations, wanted) + 1) / math.log(wanted + 1)
        seconds = max(least, longest - (longest - least) * share)
    if is_doubted:
        # one failed check is enough then: its period, and the suspicion
        seconds = min(seconds, base, (1 + config.suspicion_confirmed_multiplier) * config.probe_interval)
    return seconds


class _Case:
    """What one node heard of one suspect: when its suspicion began and among how many nodes, who accused it of which
    incarnation, who was refused by it, which incarnation is dead in another view, and which is in gossip."""

    __slots__ = ("accusers", "dead", "doubted", "nodes", "refused", "since")

    def __init__(self) -> None:
        self.since: float | None = None
        self.nodes = 1
        self.accusers: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.doubted = -1
        self.dead = -1


class Suspicions(Checker):
    """Who declares a suspect dead has suspected it for as long as the number of independent accusers wants, as far as
    gossip told it of them: what a sync tells is nobody's own finding. Without any suspicion only those are dead that
    refused this node and another."""

    name: ClassVar[str] = "suspicions"
    watches: ClassVar[tuple[type, ...]] = (MemberSuspected, MemberRecovered, MemberDied)

    def __init__(self, truth: Truth, report: Callable[[Violation], None]) -> None:
        super().__init__(truth, report)
        self._cases: dict[str, dict[str, _Case]] = {}

    def _case(self, host: Host, accused: str) -> _Case:
        return self._cases.setdefault(host.key, {}).setdefault(accused, _Case())

    def started(self, host: Host) -> None:
        self._cases.pop(host.key, None)

    def tells(self, host: Host, items: tuple[Item, ...]) -> None:
        for item in items:
            if type(item) is Rumour and item.by == host.id and item.state is State.SUSPECT:
                self._note(host, item)

    def told(self, host: Host, items: tuple[Item, ...]) -> None:
        for item in items:
            if type(item) is Rumour:
                if item.state is State.SUSPECT:
                    self._note(host, item)
                else:
                    case = self._case(host, item.id)
                    case.dead = max(case.dead, item.incarnation)

    def _note(self, host: Host, rumour: Rumour) -> None:
        if not rumour.by or host.number >= OBSERVERS_MAX:
            return
        case = self._case(host, rumour.id)
        case.accusers[rumour.by] = max(rumour.incarnation, case.accusers.get(rumour.by, -1))
        if rumour.is_refused:
            case.refused[rumour.by] = max(rumour.incarnation, case.refused.get(rumour.by, -1))

    def called(self, host: Host, request: CallRequest) -> None:
        if type(request) is Push:
            self._note_doubts(host, request.items)

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if type(reply) is SyncReply:
            self._note_doubts(host, reply.items)

    def _note_doubts(self, host: Host, items: Iterable[Item]) -> None:
        for item in items:
            if type(item) is Rumour and item.state is State.DEAD:
                case = self._case(host, item.id)
                case.doubted = max(case.doubted, item.incarnation)

    def event(self, host: Host, event: Event) -> None:
        machine = host.machine
        if machine is None or host.number >= OBSERVERS_MAX:
            return
        if isinstance(event, MemberSuspected):
            case = self._case(host, event.record.id)
            case.since, case.nodes = host.now, machine.node_count()
        elif isinstance(event, MemberRecovered):
            self._case(host, event.record.id).since = None
        elif isinstance(event, MemberDied) and event.record.is_node:
            case = self._cases.setdefault(host.key, {}).pop(event.record.id, _Case())
            if case.dead < event.record.incarnation:
                self._check_verdict(host, event.record.id, event.record.incarnation, case)

    def _check_verdict(self, host: Host, accused: str, incarnation: int, case: _Case) -> None:
        # it may have failed to reach the accused just now, and told nobody before its verdict
        accusers = list(dict.fromkeys([host.id, *(by for by, about in case.accusers.items() if about >= incarnation)]))
        refused = [by for by, about in case.refused.items() if about >= incarnation]
        is_doubted = case.doubted >= incarnation
        if host.id in refused and (len(refused) > 1 or is_doubted or self._has_nobody_to_ask(host)):
            return
        wanted = suspicion_seconds(self.truth.config, case.nodes, len(accusers) - 1, is_doubted=is_doubted)
        lasted = 0.0 if case.since is None else host.now - case.since
        if lasted < wanted - ROUNDING:
            self.violated(
                host,
                f"declares {accused} dead after {lasted:.2f} s of suspicion: with {len(accusers)} accusers"
                f" ({', '.join(accusers)}) among {case.nodes} nodes it is to last {wanted:.2f} s",
            )

    def _has_nobody_to_ask(self, host: Host) -> bool:
        """Whether all other nodes that it lists refused it too."""
        machine = host.machine
        if machine is None:
            return False
        cases = self._cases.get(host.key, {})
        return all(
            record.id == host.id or host.id in cases.get(record.id, _Case()).refused
            for record in machine.records().values()
            if record.is_node
        )
