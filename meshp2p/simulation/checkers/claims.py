"""Which incarnations, epochs and sequences of verdicts about one instance are allowed."""

from __future__ import annotations

from meshp2p.core.calls import Push
from meshp2p.core.effects import Call
from meshp2p.core.events import (
    Event,
    InstanceDied,
    InstanceEvent,
    InstanceJoined,
    InstanceLeft,
    InstanceRecovered,
    InstanceSuspected,
    InstanceUpdated,
    LeadershipChanged,
)
from meshp2p.core.record import EPOCH_MAX, Item, Record
from meshp2p.simulation.checkers.base import OBSERVERS_MAX, Checker
from meshp2p.simulation.host import Host

__all__ = ["Epochs", "Incarnations"]

_CHANGES = (InstanceJoined, InstanceUpdated, InstanceSuspected, InstanceRecovered, InstanceDied, InstanceLeft)


class Incarnations(Checker):
    """Incarnations never fall, a dead instance returns only with a higher one, LEFT never becomes DEAD, and nobody
    hears of an incarnation that its owner did not publish. A node that kept its state comes back with a higher one, and
    tells nothing of a listed instance that is older than what it lists."""

    name = "incarnations"
    watches: tuple[type, ...] = _CHANGES

    def prepare(self) -> None:
        self._seen: dict[str, dict[str, Record]] = {}
        self._published: dict[str, int] = {}
        self._own: dict[str, int] = {}

    def started(self, host: Host) -> None:
        if host.number < OBSERVERS_MAX:
            self._seen[host.key] = {}
        own = self._own.get(host.key, 0)
        machine = host.running
        has_kept = host.disk is not None and not host.disk.has_lost
        if has_kept and machine.own.incarnation <= own:
            self.violated(host, f"came back with incarnation {machine.own.incarnation}, had published {own}")

    def tells(self, host: Host, items: tuple[Item, ...]) -> None:
        seen = self._seen.get(host.key, {})
        for item in items:
            before = seen.get(item.id)
            if before is not None and before.is_live and item.incarnation < before.incarnation:
                self.violated(host, f"tells of {item.id} incarnation {item.incarnation}, and lists {_name(before)}")

    def calls(self, host: Host, effect: Call) -> None:
        if type(effect.request) is Push:
            self.tells(host, effect.request.items)

    def event(self, host: Host, event: Event) -> None:
        if not isinstance(event, InstanceEvent):
            return
        record = event.record
        published = self._published.get(record.id, 0)
        if record.incarnation > published:
            if record.home == host.id and isinstance(event, InstanceJoined | InstanceUpdated | InstanceRecovered):
                self._published[record.id] = record.incarnation
                if record.id == host.id:
                    self._own[host.key] = record.incarnation
            else:
                self.violated(
                    host, f"heard of {record.id} incarnation {record.incarnation}, published was {published} at most"
                )
        seen = self._seen.get(host.key)
        if seen is None:
            return
        before = seen.get(record.id)
        seen[record.id] = record
        if before is not None:
            problem = _problem(before, record, event)
            if problem:
                self.violated(host, f"{type(event).__name__} {_name(record)} after {_name(before)}: {problem}")
        elif not isinstance(event, InstanceJoined):
            self.violated(host, f"{type(event).__name__} {_name(record)}, which never joined")


def _name(record: Record) -> str:
    return f"{record.id}/{record.incarnation}/{record.state.name}"


def _problem(before: Record, record: Record, event: InstanceEvent) -> str:
    if record.incarnation < before.incarnation:
        return "the incarnation fell"
    if not before.is_live:
        if not isinstance(event, InstanceJoined):
            return "it had departed"
        if record.incarnation == before.incarnation:
            return "it rose without a higher incarnation"
    elif isinstance(event, InstanceJoined):
        return "it was listed already"
    elif record.boot == before.boot and record.epoch < before.epoch:
        return "its claim to lead was forgotten"
    if isinstance(event, InstanceRecovered) and record.incarnation == before.incarnation:
        return "it recovered without a refutation"
    if isinstance(event, InstanceSuspected) and record.incarnation != before.incarnation:
        return "a suspicion publishes nothing"
    return ""


class Epochs(Checker):
    """A node that claims to lead claims an epoch above all that it has heard of, and above those of its own earlier
    terms. No two processes claim the same token. The leader that a node names is the lowest live id of its view. A
    node that hears nobody names none before it has checked the others."""

    name = "epochs"
    watches: tuple[type, ...] = (LeadershipChanged, InstanceJoined, InstanceUpdated, InstanceRecovered)

    def prepare(self) -> None:
        self._heard: dict[str, int] = {}
        self._own: dict[str, int] = {}
        self._tokens: dict[tuple[int, str], int] = {}
        self._terms: dict[str, tuple[int, int]] = {}
        """By host: the epoch of its own term, 0 where it does not lead, and the greatest of those that ended."""

    def started(self, host: Host) -> None:
        self._heard[host.key] = 0
        self._own[host.key] = 0
        self._terms[host.key] = (0, 0)
        kept = host.disk.read() if host.disk is not None else None
        if kept is not None:
            self._heard[host.key] = kept.epoch

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, LeadershipChanged):
            self._check_leader(host, event)
            self._check_term(host, event)
        elif isinstance(event, InstanceEvent) and event.record.epoch:
            self._check_claim(host, event.record)

    def _check_claim(self, host: Host, record: Record) -> None:
        heard = self._heard[host.key]
        token = (record.epoch, record.id)
        if record.epoch > EPOCH_MAX // 2:
            self.violated(host, f"lists {record.id} with a claim that can hardly be outbid: epoch {record.epoch}")
        if record.home == host.id:
            if record.id == host.id:
                if record.epoch > self._own.get(host.key, 0):
                    self._own[host.key] = record.epoch
                    self._check_token(host, record)
                    if record.epoch <= heard:
                        self.violated(host, f"claimed epoch {record.epoch}, had heard of epoch {heard}")
            elif token not in self._tokens and record.epoch <= heard:
                # a claim that is known already came with an instance that this node adopted
                self.violated(host, f"claimed epoch {record.epoch} for {record.id}, had heard of epoch {heard}")
            self._tokens.setdefault(token, record.boot)
        if record.epoch > heard:
            self._heard[host.key] = record.epoch

    def _check_token(self, host: Host, record: Record) -> None:
        token = (record.epoch, record.id)
        if self._tokens.setdefault(token, record.boot) != record.boot:
            self.violated(host, f"claimed the token {token}, which another process of its id claimed")

    def _check_term(self, host: Host, event: LeadershipChanged) -> None:
        """Check that this node's own term has an epoch above those of its earlier terms."""
        if event.previous_id == host.id and event.leader_id != host.id:
            self._terms[host.key] = (0, max(self._terms[host.key]))
        if event.leader_id == host.id and event.epoch:
            _, ended = self._terms[host.key]
            if event.epoch <= ended:
                self.violated(host, f"leads again in epoch {event.epoch}, in which a term of its own has ended")
            self._terms[host.key] = (event.epoch, ended)

    def _check_leader(self, host: Host, event: LeadershipChanged) -> None:
        machine = host.running
        if event.leader_id is None:
            return
        if machine.hears_nobody and machine.leader_id is not None:
            self.violated(host, f"hears nobody, is checking the others, and names {machine.leader_id} as leader")
        # Within one call of the machine several events may follow one another: what counts is what it says now.
        lowest = min(machine.records(), key=str.encode, default=None)
        if machine.leader_id not in (None, lowest):
            self.violated(host, f"names {machine.leader_id} as leader, the lowest that it lists is {lowest}")
