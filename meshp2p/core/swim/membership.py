"""Processes claims, those received and those of this node itself. This is the only place that changes the table.

Every transition is a ``become_*`` method: it changes the table, notes the event for the other parts, and spreads the
claim. Claims about this node, or about an instance that it hosts, are not accepted but answered:
:mod:`meshp2p.core.swim.ownership`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import msgspec

from meshp2p.core.directory.gossip import item_bytes
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.events import Evidence, Grounds, InstanceChange, InstanceDied, InstanceLeft, InstanceSuspected
from meshp2p.core.record import (
    INCARNATION_MAX,
    Claim,
    Departed,
    Item,
    Record,
    Rumour,
    SignedRecord,
    SignedRumour,
    State,
    is_sound,
    is_usurped,
    owner_of,
    supersedes,
    tag_of,
)
from meshp2p.core.swim.dissemination import pass_on
from meshp2p.core.swim.findings import Doubted, Findings, Suspected
from meshp2p.core.swim.ownership import Ownership
from meshp2p.core.swim.suspicion_table import SuspicionTable

__all__ = ["Membership"]

EXPELLED_MAX = 1024
"""Expelled processes that are remembered. Chosen, not measured."""


class Membership:
    """SWIM's dissemination and suspicion for one node (SWIM §4.1, §4.2; Lifeguard §IV-B)."""

    def __init__(self, state: NodeState, ownership: Ownership, findings: Findings) -> None:
        self._state = state
        self._findings = findings
        self._ownership = ownership
        self.suspicions: SuspicionTable = SuspicionTable(state)

    # Received claims

    def merge(self, items: Iterable[Item], now: float, *, by_sync: bool = False, told_by: int = 0) -> None:
        """Process claims in order. ``by_sync``: they are no news, and confirm no suspicion. ``told_by`` is the tag of
        the node that told them to this one, in place of gossip."""
        for item in items:
            self._merge_item(item, now, by_sync=by_sync, told_by=told_by)
        self._state.forget_departed(now)
        self._ownership.refute(now)

    def _merge_item(self, item: Item, now: float, *, by_sync: bool, told_by: int) -> None:
        """Merge one claim into the table, by :func:`~meshp2p.core.record.supersedes`."""
        state = self._state
        held = state.members.claim_of(item.id)
        if isinstance(item, Record) and isinstance(held, Record) and _is_known(item, held):
            state.counters.items_stale += 1  # nine of ten, if many nodes join at once
            return
        if isinstance(item, Record) and (owner_of(item), item.home, item.boot) in state.expelled:
            state.counters.items_refused += 1
            return
        # Nodes that believe a claim about this node must receive the outbidding record. In a secured mesh they believe
        # none that is far ahead of the record that they hold.
        is_own = item.id == state.id and state.signer is None
        if not self._may_be_claimed(item, held) or not is_sound(item, INCARNATION_MAX if is_own else _published(held)):
            state.counters.items_refused += 1
            return
        if by_sync and isinstance(item, Record) and item_bytes(item) > state.config.sync_bytes_max:
            state.counters.items_refused += 1  # it could not be passed on: it fits into no call of this node
            return
        if self._ownership.answer(item, now):
            return
        if isinstance(item, Record):
            self.note_claim((item.epoch, item.id))  # even if the record is stale: its claim must be outbid
        else:
            if item.state is State.SUSPECT:
                if isinstance(held, Record) and held.is_node:
                    self._merge_suspicion(item, held, now, by_sync=by_sync)
                return
            if item.state is State.DEAD and isinstance(held, Record):
                is_doubtful = by_sync or self._contradicts_life(item, held, now)
                if is_doubtful and self._doubt(item, held, now):
                    return
        if held is not None and not supersedes(item, held):
            state.counters.items_stale += 1
            return
        state.counters.items_taken += 1
        if isinstance(item, Rumour):
            self.become_departed(item, now, told_by=told_by)
        elif item.state is State.SUSPECT:
            self._become_listed_suspect(item, now)
        else:
            self._become_listed(item, now, told_by=told_by)

    def _may_be_claimed(self, item: Item, held: Record | Departed | None) -> bool:
        """Return whether the author of this claim may make it.

        In a secured mesh every claim is signed, and the signature was verified before. Only a node itself says that it
        leaves. Everybody may tell this node that it is accused.
        """
        is_signed = isinstance(item, (SignedRecord, SignedRumour))
        if self._state.signer is None:
            return not is_signed
        if isinstance(item, Record):
            return is_signed and (item.id == self._state.id or not is_usurped(item, held))
        if item.state is not State.LEFT:
            return is_signed or item.id == self._state.id
        return is_signed and (item.by == item.id or (held is not None and not held.is_node))

    def note_claim(self, claim: Claim) -> None:
        """Note a claim to lead, whether or not its record prevails.

        A claim that no leader can have made is ignored. Its record is accepted all the same, because this node's clock
        may be the wrong one.
        """
        if self._state.may_be_claimed(claim[0]):
            self._state.members.note_claim(claim)
        else:
            self._state.counters.items_refused += 1

    def _merge_suspicion(self, rumour: Rumour, held: Record, now: float, *, by_sync: bool) -> None:
        if rumour.incarnation < held.incarnation:
            self._state.counters.items_stale += 1
        elif held.state is State.ALIVE:
            found = Rumour(rumour.id, rumour.incarnation, State.SUSPECT, "", rumour.is_refused) if by_sync else rumour
            self.become_suspect(found, now)
        elif not by_sync:
            self.confirm_suspicion(rumour, now)
            self._weigh_refusals(now)

    def _contradicts_life(self, rumour: Rumour, held: Record, now: float) -> bool:
        """Return whether this node heard the accused after the time from which it must have been silent for such a
        verdict.

        Then the verdict comes from another view, for example after a partition. Two nodes that were refused have
        observed more than silence.
        """
        heard_at = self._state.heard.get(rumour.id, -math.inf)
        return held.is_node and not rumour.is_refused and now - heard_at < self._state.config.confirmed_timeout

    def _doubt(self, rumour: Rumour, held: Record, now: float) -> bool:
        """Doubt that a listed node is dead, as another view says. Return whether it is doubted instead of accepted.

        After a partition each side holds the other dead, and merging that would kill both. So a node is only suspected
        and told, and checked if it does not refute. The death of an instance is believed if its home says so.
        """
        if rumour.incarnation < held.incarnation:
            return False
        state = self._state
        if held.is_node:
            if held.state is State.ALIVE:
                self.become_suspect(Rumour(rumour.id, rumour.incarnation, State.SUSPECT), now)
            self._note_death(rumour, now)
            return True
        if rumour.by == held.home or not state.members.has_node(held.home):
            return False
        state.tell(held.home, rumour)
        return True

    def _note_death(self, rumour: Rumour, now: float) -> None:
        """Note that another view holds a suspect dead: it is told, and one failed check by this node is enough."""
        if self.suspicions.note_death(rumour, now):
            self._state.tell(rumour.id, Rumour(rumour.id, rumour.incarnation, State.SUSPECT))
            self._findings.append(Doubted(rumour.id))

    # Transitions

    def _become_listed(self, record: Record, now: float, *, is_spread: bool = True, told_by: int = 0) -> None:
        state = self._state
        held = state.members.claim_of(record.id)
        is_new = not isinstance(held, Record)
        if is_new and not state.has_room_for(record):
            state.counters.records_without_room += 1
            return
        self.suspicions.end(record.id)
        if held is not None and _was_accused(record, held):
            state.patience.note_return(record.id, now)
        if is_new:
            state.life.assume(record.id, now)
        state.put(record)
        if is_spread:
            state.spread(record, now, is_told=pass_on(state, record, told_by))

    def _become_listed_suspect(self, record: Record, now: float) -> None:
        """List a node that is suspected elsewhere."""
        held = self._state.members.records.get(record.id)
        if held is None or (held.incarnation, held.boot) != (record.incarnation, record.boot):
            self._become_listed(msgspec.structs.replace(record, state=State.ALIVE), now, is_spread=False)
        if self._state.members.has_node(record.id):
            self.become_suspect(Rumour(record.id, record.incarnation, State.SUSPECT), now)

    def become_suspect(self, rumour: Rumour, now: float, ping: int = 0, *, is_check: bool = False) -> None:
        """Suspect a listed node that does not answer ``rumour.by``. It is told at once, so that it can refute.

        The record keeps its incarnation even if the rumour names a later one: the record with that incarnation is still
        to come.
        """
        state = self._state
        record = state.members.records[rumour.id]
        suspect = msgspec.structs.replace(record, state=State.SUSPECT)
        state.members.put(suspect)
        state.counters.suspicions += 1
        self.suspicions.begin(rumour, now)
        if record.state is not State.SUSPECT:
            grounds = self._grounds(rumour.id, ping, is_check=is_check)
            state.changes.append(InstanceSuspected(suspect, None, rumour.by, _evidence(rumour, record), grounds))
        state.spread(rumour, now)
        if rumour.by == state.id:
            state.tell(rumour.id, rumour)
        self._findings.append(Suspected(rumour))

    def confirm_suspicion(self, rumour: Rumour, now: float) -> None:
        """Count another accuser of a suspect. If it is new, it shortens the suspicion and is gossiped."""
        suspicion = self.suspicions.get(rumour.id)
        if suspicion is None:
            return
        is_news = suspicion.confirm(rumour.by)
        if is_news:
            self.suspicions.set_timers(rumour.id, now)
        if rumour.is_refused and rumour.by and rumour.by not in suspicion.refused:
            suspicion.refused[rumour.by] = None
            is_news = True
            self._findings.append(Suspected(rumour))
        elif rumour.is_refused and rumour.by == self._state.id:
            self._findings.append(Suspected(rumour))  # no other node was refused yet: ask again
        if is_news:
            self._state.spread(rumour, now)

    def accuse(self, node_id: str, now: float, ping: int, *, is_check: bool = False, is_refused: bool = False) -> None:
        """Suspect a node that did not answer this node's ``ping``; with ``is_refused``, its process is gone."""
        record = self._state.members.records.get(node_id)
        if record is None or self._state.is_leaving or self._state.is_guarded:
            return
        rumour = self._state.find(node_id, record.incarnation, State.SUSPECT, is_refused=is_refused)
        if record.state is State.SUSPECT:
            self.confirm_suspicion(rumour, now)
        else:
            self.become_suspect(rumour, now, ping, is_check=is_check)
        self._weigh_refusals(now)

    def _weigh_refusals(self, now: float) -> None:
        """Declare a node dead that refused this node and another. If no other live node could be asked, one refusal is
        enough."""
        state = self._state
        if state.is_guarded:
            return
        refused = [node_id for node_id, suspicion in self.suspicions.items() if state.id in suspicion.refused]
        others = len(state.members.nodes) - 1 - len(refused)
        for node_id in refused:
            if len(self.suspicions[node_id].refused) > 1 or others == 0:
                incarnation = state.members.records[node_id].incarnation
                verdict = state.find(node_id, incarnation, State.DEAD, is_refused=True)
                self.become_departed(verdict, now, at_birth=True)

    def give_last_word(self, node_id: str, now: float) -> None:
        """Tell a suspect once more, shortly before its unconfirmed suspicion ends.

        This node may have been the one that was cut off, and then no other node has heard of its suspicion yet.
        """
        state = self._state
        record = state.members.records.get(node_id)
        if record is not None and record.state is State.SUSPECT:
            state.send_to_node(node_id, state.ping(0, tag_of(node_id)), now)

    def end_suspicion_period(self, node_id: str, now: float) -> None:
        """Declare a suspect dead that did not refute in time."""
        record = self._state.members.records.get(node_id)
        if self._state.is_guarded:
            self.suspicions.restart(now)
        elif record is not None and record.state is State.SUSPECT:
            verdict = self._state.find(node_id, record.incarnation, State.DEAD)
            self.become_departed(verdict, now, at_birth=True)

    def become_departed(
        self, rumour: Rumour, now: float, *, is_spread: bool = True, at_birth: bool = False, told_by: int = 0
    ) -> None:
        """Mark a member as dead or left, or update one that had departed already.

        ``at_birth``: this node found it itself, and tells others at once; ``told_by`` as in :meth:`merge`. An id that
        was never listed here is stored only so that a late record does not list it, and not passed on: anybody can
        claim this of any number of ids.
        """
        state = self._state
        held = state.members.claim_of(rumour.id)
        grounds = self._grounds(rumour.id) if at_birth and rumour.id in self.suspicions else None
        self.suspicions.end(rumour.id)
        departed = Departed(rumour.id, rumour.incarnation, rumour.state, (), is_node=True, since=now, by=rumour.by)
        if held is not None:
            departed.addresses, departed.is_node = state.addresses_of(held), held.is_node
            departed.boot, departed.home, departed.published = held.boot, held.home, _published(held)
            departed.proof = held.proof if isinstance(held, (SignedRecord, Departed)) else None
        departed.rumour = rumour if isinstance(rumour, SignedRumour) else None
        state.members.depart(departed)
        state.reach.pop(rumour.id, None)
        state.heard.pop(rumour.id, None)
        state.patience.forget_health(rumour.id)
        heard = state.life[rumour.id]
        state.life.forget(rumour.id)
        if isinstance(held, Record):
            state.counters.deaths += rumour.state is State.DEAD
            gone = msgspec.structs.replace(held, state=rumour.state, incarnation=rumour.incarnation)
            if rumour.state is State.DEAD:
                state.changes.append(InstanceDied(gone, heard, rumour.by, _evidence(rumour, held), grounds))
            else:
                is_revoked = (owner_of(held), held.home, held.boot) in state.expelled
                state.changes.append(InstanceLeft(gone, heard, is_revoked))
        state.timers.set_earlier(Timer.FORGET, now + state.config.departed_retention)
        if departed.was_listed and is_spread:
            state.spread(rumour, now, at_birth=at_birth, is_told=pass_on(state, rumour, told_by))
        state.forget_departed(now)

    def _grounds(self, node_id: str, ping: int = 0, *, is_check: bool = False) -> Grounds:
        suspicion, state = self.suspicions[node_id], self._state
        return Grounds(
            tuple(sorted(filter(None, suspicion.accusers))),
            tuple(filter(None, suspicion.refused)),
            suspicion.since,
            suspicion.deadline(),
            suspicion.patience,
            state.local_health.score,
            ping,
            is_check,
        )

    def expel(self, agents: Collection[tuple[bytes, str]], now: float) -> None:
        """See :meth:`~meshp2p.core.machine.Machine.expel`."""
        state = self._state
        known: list[Record | Departed] = [*state.members.records.values(), *state.members.departed.values()]
        gone = [one for one in known if (owner_of(one), one.home) in agents and one.home != state.id]
        for one in sorted(gone, key=lambda one: one.is_node):  # a node after what it hosts: nobody is to adopt that
            state.expelled[owner_of(one), one.home, one.boot] = None
            # what it hosts may register elsewhere, and then gets its messages
            end = State.LEFT if one.is_node else State.DEAD
            if one.state not in (end, State.LEFT):
                self.become_departed(Rumour(one.id, one.incarnation, end, state.id), now, at_birth=True)
        while len(state.expelled) > EXPELLED_MAX:
            del state.expelled[next(iter(state.expelled))]

    def notice(self, event: InstanceChange) -> None:
        """Process a suspect that became an instance hosted by this node, without any claim of others."""
        record = self._state.members.records.get(event.id)
        if event.id in self.suspicions and (record is None or record.state is not State.SUSPECT):
            self.suspicions.end(event.id)


def _published(held: Record | Departed | None) -> int:
    """Return the last incarnation that the owner is known to have published; 0 if none is."""
    if held is None:
        return 0
    return held.incarnation if isinstance(held, Record) else held.published


def _evidence(rumour: Rumour, held: Record) -> Evidence:
    """Return the evidence against a member."""
    if held.is_node:
        return "refused" if rumour.is_refused else "silent"
    return "no_heartbeat" if rumour.by == held.home else "home_lost"


def _was_accused(record: Record, held: Record | Departed) -> bool:
    """Return whether the publisher of this record was suspected or declared dead, and is the same process."""
    return record.is_node and held.state in (State.SUSPECT, State.DEAD) and held.boot == record.boot


def _is_known(record: Record, held: Record) -> bool:
    """Return whether the claim is already held, or is an earlier one of the same process without a claim to lead. It
    then needs no processing."""
    if record == held:
        return True
    return record.incarnation < held.incarnation and record.boot == held.boot and not record.epoch
