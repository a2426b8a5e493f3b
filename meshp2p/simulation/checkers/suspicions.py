"""How soon a node may hold another dead: only as many independent accusers as are configured make it soon."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from meshp2p.core.calls import CallReply, CallRequest, Push, SyncReply
from meshp2p.core.effects import Call, CallFailed, Failure
from meshp2p.core.events import Event, InstanceDied, InstanceJoined, InstanceLeft, InstanceRecovered, InstanceSuspected
from meshp2p.core.record import Item, Rumour, State, tag_of
from meshp2p.simulation.checkers.base import OBSERVERS_MAX, Checker
from meshp2p.simulation.expectations import suspicion_seconds
from meshp2p.simulation.host import Host

__all__ = ["Suspicions"]

ROUNDING = 1e-3


class _Case:
    """The news that one node has of one suspect: when its suspicion began and among how many nodes, who accused it of
    which incarnation, who was refused by it, which incarnation is dead in another view, and which is in gossip; whether
    gossip says that two were refused; and when the suspect was listed."""

    __slots__ = ("accusers", "dead", "doubted", "is_crash", "joined_at", "nodes", "others", "refused", "since")

    def __init__(self) -> None:
        self.since: float | None = None
        self.nodes = range(1, 2)
        self.others: tuple[str, ...] = ()
        self.accusers: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.doubted = -1
        self.dead = -1
        self.is_crash = False
        self.joined_at = -math.inf


class Suspicions(Checker):
    """A node that declares a suspect dead has suspected it for as long as the number of independent accusers requires,
    as far as it heard of them by gossip: news from a sync is no independent finding. Confirmers that are suspected
    themselves are not waited for. Gossip about a node that was just heard is no verdict (ADR 0057). Without a
    suspicion, only a node that refused this node and another one is dead. An accusation from before a refutation
    makes nobody a suspect."""

    name = "suspicions"
    watches: tuple[type, ...] = (InstanceSuspected, InstanceRecovered, InstanceDied, InstanceJoined, InstanceLeft)

    def prepare(self) -> None:
        self._cases: defaultdict[str, defaultdict[str, _Case]] = defaultdict(lambda: defaultdict(_Case))
        self._nodes: dict[str, tuple[float, int, int]] = {}
        """By host: when its list changed last, how many nodes it had until then, and how many since."""

    def _case(self, host: Host, accused: str) -> _Case:
        return self._cases[host.key][accused]

    def started(self, host: Host) -> None:
        self._cases.pop(host.key, None)
        self._nodes[host.key] = (0.0, 1, 1)

    def tells(self, host: Host, items: tuple[Item, ...]) -> None:
        for item in items:
            if isinstance(item, Rumour) and item.by == host.id and item.state is State.SUSPECT:
                self._note(host, item)

    def told(self, host: Host, items: tuple[Item, ...]) -> None:
        for item in items:
            if isinstance(item, Rumour):
                if item.state is State.SUSPECT:
                    self._note(host, item)
                else:
                    case = self._case(host, item.id)
                    case.dead = max(case.dead, item.incarnation)
                    case.is_crash |= item.is_refused or item.state is State.LEFT

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
        elif isinstance(reply, CallFailed) and reply.failure is Failure.REFUSED:
            record = host.listed.get(effect.node_id)
            if record is not None and record.boot == effect.boot:
                # a verdict by two refusals follows at once: then it tells nobody that it was refused
                self._note(host, Rumour(record.id, record.incarnation, State.SUSPECT, host.id, is_refused=True))

    def _note_doubts(self, host: Host, items: Iterable[Item]) -> None:
        for item in items:
            if isinstance(item, Rumour) and item.state is State.DEAD:
                case = self._case(host, item.id)
                case.doubted = max(case.doubted, item.incarnation)

    def event(self, host: Host, event: Event) -> None:
        machine = host.running
        if host.number >= OBSERVERS_MAX:
            return
        # events follow when all of a packet is taken: a suspicion began among as many nodes as before it, or as now
        now, nodes = self.oracle.engine.now, machine.node_count()
        at, before, last = self._nodes[host.key]
        if now > at:
            before = last
        self._nodes[host.key] = (now, before, nodes)
        if isinstance(event, InstanceSuspected):
            case = self._case(host, event.record.id)
            heard = case.accusers.get(event.by, -1)
            if event.by not in ("", host.id) and heard < event.record.incarnation:
                self.violated(host, f"suspects {event.record.id}, whom {event.by} accused before it refuted")
            case.since, case.nodes = host.now, range(min(before, nodes), max(before, nodes) + 1)
            unlike = (host.id, event.record.id)
            case.others = tuple(
                each.id for each in machine.records().values() if each.is_node and each.id not in unlike
            )
        elif isinstance(event, InstanceJoined):
            self._case(host, event.record.id).joined_at = host.now
        elif isinstance(event, InstanceRecovered):
            self._case(host, event.record.id).since = None
        elif isinstance(event, InstanceDied) and event.record.is_node:
            case = self._cases[host.key].pop(event.record.id, _Case())
            is_told = case.dead >= event.record.incarnation
            if is_told and not case.is_crash and self._hears(host, event.record.id, case):
                case.doubted = event.record.incarnation  # what it was told is no more than a suspicion
                is_told = False
            if not is_told:
                self._check_verdict(host, event.record.id, event.record.incarnation, case)

    def _hears(self, host: Host, accused: str, case: _Case) -> bool:
        """Whether the accused itself was heard since it must have been silent to be found dead."""
        config = self.oracle.config
        heard_at = host.heard_at.get(tag_of(accused), -math.inf)
        silence = config.suspicion_confirmed_multiplier * config.probe_interval
        return heard_at > case.joined_at and host.now - heard_at < silence

    def _check_verdict(self, host: Host, accused: str, incarnation: int, case: _Case) -> None:
        # it may have failed to reach the accused just now, and told nobody before its verdict
        accusers = list(dict.fromkeys([host.id, *(by for by, about in case.accusers.items() if about >= incarnation)]))
        refused = [by for by, about in case.refused.items() if about >= incarnation]
        is_doubted = case.doubted >= incarnation
        if host.id in refused and (len(refused) > 1 or is_doubted or self._has_nobody_to_ask(host)):
            return
        config, confirmations = self.oracle.config, len(accusers) - 1
        silent = self._count_silent(host, case)
        wanted = min(
            suspicion_seconds(config, each, confirmations, is_doubted=is_doubted, silent=silent) for each in case.nodes
        )
        lasted = 0.0 if case.since is None else host.now - case.since
        if lasted < wanted - ROUNDING:
            self.violated(
                host,
                f"declares {accused} dead after {lasted:.2f} s of suspicion: with {len(accusers)} accusers"
                f" ({', '.join(accusers)}) among {case.nodes[-1]} nodes it is to last {wanted:.2f} s",
            )

    def _count_silent(self, host: Host, case: _Case) -> int:
        """How many of those that were listed beside the suspect are suspected now, or no longer listed."""
        records = host.listed
        at_once = max(0, case.nodes[-1] - 2 - len(case.others))  # those that went when the suspicion began
        return at_once + sum(name not in records or records[name].state is not State.ALIVE for name in case.others)

    def _has_nobody_to_ask(self, host: Host) -> bool:
        """Whether all other nodes that it lists refused it too."""
        return all(
            record.id == host.id or host.id in self._case(host, record.id).refused
            for record in host.listed.values()
            if record.is_node
        )
