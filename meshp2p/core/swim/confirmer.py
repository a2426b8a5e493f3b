"""Immediate checks of single nodes: those whose watch connection broke, and suspects that this node is to confirm.

::

    a watch broke, or was refused ─┐
    a suspicion was heard, and     ├──> ping + Probe ──> an ack or a Pong: it lives
    this is one of its confirmers,─┤         │
    or it is held dead elsewhere  ─┘         │
                                             ├── refused, and no ack within the grace: accused as refused; the
                                             │   other watchers are told, and then the confirmers
                                             └── silence for a period: accused

If two nodes were refused, the target is dead at once (:meth:`~meshp2p.core.swim.membership.Membership.accuse`). Silence
confirms a suspicion, which shortens it (Lifeguard §IV-B). Each ping to a suspect carries the suspicion, so the more
nodes check it, the more surely it hears of it and refutes.
"""

from __future__ import annotations

import heapq
from itertools import islice

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, Pong, Probe
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.record import Rumour, State, tag_of
from meshp2p.core.swim.findings import CheckAnswered, Findings, ViewHeard
from meshp2p.core.swim.membership import Membership
from meshp2p.core.swim.prober import Prober

__all__ = ["CRASH_GRACE", "Confirmer"]

CRASH_GRACE = 0.02
CRASH_GRACE_MIN = 0.005
"""Seconds in which a node must answer a ping if its watch connection broke and it refuses connections: three usual
round trips, within these limits, and at least twice the time that the refusal took. Too low declares nodes dead that a
firewall began to block; too high detects crashes late. Chosen, not measured."""

PROCESS_CHECKS_MAX = 256
"""How many nodes are checked at the same time. Chosen, not measured."""

RECHECK_PERIODS = 2
"""Protocol periods until a node checks again whom it accused without confirmation. Chosen, not measured."""

CALLS_MAX = 3
"""Calls within one check if the connection breaks: a dying process accepts connections until its kernel has closed its
listener. Chosen, not measured."""

CALL_PAUSE = 0.005
"""Seconds until a call that broke is repeated, and four times as long until the next. Chosen, not measured."""

_MASK = (1 << 64) - 1


class _ProcessCheck(msgspec.Struct):
    """One check of one process. ``watched_at`` are the addresses at which it was when its watch broke."""

    boot: int
    sequence: int
    watched_at: tuple[Address, ...]
    asked_at: float
    deadline: float
    pings: int = 1
    calls: int = 0
    must_call: bool = False
    is_refused: bool = False
    has_accused: bool = False


class Confirmer:
    """Decides which nodes check a suspect, in addition to the prober's rounds, and checks."""

    def __init__(self, state: NodeState, membership: Membership, prober: Prober, findings: Findings) -> None:
        self._state = state
        self._findings = findings
        self._membership = membership
        self._prober = prober
        self._checks: dict[str, _ProcessCheck] = {}

    # Choosing the confirmers

    def notice(self, rumour: Rumour, now: float) -> None:
        """Process a new suspicion, or another node's refusal. The node that found it tells those that must check, and
        they check at once."""
        state = self._state
        if not rumour.by:
            self._check_again(rumour.id, now)  # it came by a sync, and its accuser may not have told the suspect
            return
        suspicion = self._membership.suspicions.get(rumour.id)
        if suspicion is None:
            return  # two nodes were refused, so it is dead already
        watchers = list(islice(state.members.nodes.predecessors(rumour.id), state.config.watches))
        others = [node_id for node_id in watchers if node_id != rumour.by and rumour.is_refused]
        chosen = list(dict.fromkeys((*others, *self._choose(rumour))))
        is_first = not suspicion.confirmers
        suspicion.confirmers = tuple(chosen)
        if rumour.by != state.id:
            has_accused = self._membership.suspicions.has_accused(rumour.id, is_refused=rumour.is_refused)
            if state.id in chosen and not has_accused:
                self.check(rumour.id, now)
            return
        if is_first and state.id in watchers and any(not state.is_silent(node_id) for node_id in others):
            chosen = others  # their connections broke at the same time; the others are asked if these say nothing
        for node_id in chosen:
            if not state.is_silent(node_id):
                state.tell(node_id, rumour)
        self._check_again(rumour.id, now)

    def _choose(self, rumour: Rumour) -> list[str]:
        """Return the nodes that must check, the first by a hash of their tag and the suspicion.

        All nodes with the same view choose the same.
        """
        state = self._state
        config = state.config
        others = [node_id for node_id in state.members.nodes if node_id not in (rumour.id, rumour.by)]
        salt = tag_of(rumour.id) ^ (rumour.incarnation * 0x9E3779B97F4A7C15 & _MASK)
        return heapq.nsmallest(config.confirmers, others, key=lambda node_id: _mix(tag_of(node_id) ^ salt))

    def doubt(self, node_id: str, now: float) -> None:
        """Check a listed node that another view holds dead, and that was told so, if it does not refute soon.

        After a partition half of the mesh is held dead at once, and nearly all of it lives: if each node checked each
        other at once, that would be a storm.
        """
        if node_id not in self._checks:
            self._state.timers.set_earlier(Timer.CHECK, now + self._state.config.probe_timeout, node_id)

    # One check

    @property
    def room(self) -> int:
        """How many more checks may begin."""
        return PROCESS_CHECKS_MAX - len(self._checks)

    def is_silent(self, node_id: str) -> bool:
        """Return whether a checked node has not answered: its check goes on, it is suspected, or it is gone."""
        record = self._state.members.records.get(node_id)
        return node_id in self._checks or record is None or record.state is not State.ALIVE

    def check(
        self, node_id: str, now: float, watched_at: tuple[Address, ...] = (), *, by_udp_first: bool = False
    ) -> None:
        """Check at once whether a listed node lives, by UDP and TCP.

        ``watched_at``: its watch connection was to these addresses, and broke. ``by_udp_first``: call it only after
        half of the time without an ack.
        """
        state = self._state
        record = state.members.records.get(node_id)
        if record is None or not record.is_node or node_id == state.id:
            return
        if state.is_guarded or state.is_leaving or not state.is_announced:
            return
        under_way = self._checks.get(node_id)
        if under_way is not None and under_way.boot == record.boot and (under_way.watched_at or not watched_at):
            return
        if under_way is None and len(self._checks) >= PROCESS_CHECKS_MAX:
            return
        period = state.local_health.scale(state.config.probe_interval)
        check = _ProcessCheck(record.boot, self._prober.next_sequence(), watched_at, now, now + period)
        self._checks[node_id] = check
        state.silent.pop(node_id, None)
        state.timers.set(Timer.CHECK, now + period / 2, node_id)
        self._ping(node_id, check, now)
        if not by_udp_first:
            self._call(node_id, check)

    def _ping(self, node_id: str, check: _ProcessCheck, now: float) -> None:
        state = self._state
        state.send_to_node(node_id, state.ping(check.sequence, tag_of(node_id)), now, is_everywhere=True)

    def _call(self, node_id: str, check: _ProcessCheck) -> None:
        state = self._state
        check.calls += 1
        check.must_call = False

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            if self._checks.get(node_id) is not check:
                return
            if isinstance(reply, Pong) and reply.id == node_id:
                self._end(node_id)
                state.heard[node_id] = now
                self._findings.append(CheckAnswered(node_id))
                self._check_again(node_id, now)  # this did not tell it that it is suspected
                state.life.note_listed(tag_of(node_id), now)
                self._findings.append(ViewHeard(node_id, reply.view))
            elif isinstance(reply, CallFailed) and reply.failure is Failure.REFUSED:
                check.is_refused = True
                # if it lives, its ack takes about as long as the refusal did, and as acks did before
                usual = 3 * self._prober.usual_round_trip(node_id, CRASH_GRACE)
                grace = max(CRASH_GRACE_MIN, min(CRASH_GRACE, usual), 2 * (now - check.asked_at))
                if not check.watched_at:
                    grace = max(grace, self._prober.direct_timeout(node_id, now))
                state.timers.set(Timer.CHECK, max(now, check.asked_at + grace), node_id)
            elif isinstance(reply, CallFailed) and reply.failure is Failure.UNREACHABLE and check.calls < CALLS_MAX:
                check.must_call = True
                state.timers.set(Timer.CHECK, now + CALL_PAUSE * 4 ** (check.calls - 1), node_id)

        record = state.members.records[node_id]
        addresses = check.watched_at or state.addresses_of(record)
        timeout = max(0.001, check.deadline - check.asked_at)
        state.call(addresses, Probe(tag_of(node_id)), conclude, timeout, record)

    def handle_check(self, node_id: str, now: float) -> None:
        """Start or continue a check, or end it without an answer."""
        state = self._state
        check = self._checks.get(node_id)
        record = state.members.records.get(node_id)
        if check is None:
            if record is not None and record.state is State.SUSPECT:
                if state.is_guarded:
                    self.doubt(node_id, now)  # a node that was suspended accuses nobody yet
                else:
                    self.check(node_id, now)
            return
        if record is None or record.boot != check.boot or not record.is_node or state.is_guarded:
            self._end(node_id)
        elif check.is_refused and not check.has_accused:
            check.has_accused = True
            state.timers.set(Timer.CHECK, now + CRASH_GRACE, node_id)
            self._membership.accuse(node_id, now, check.sequence, is_check=True, is_refused=True)
            if not state.is_live(node_id):
                self._end(node_id)
        elif check.is_refused:
            self._end(node_id)
            if record.state is State.SUSPECT:  # the other watchers said nothing
                self._membership.accuse(node_id, now, check.sequence, is_check=True, is_refused=True)
        elif check.must_call:
            state.timers.set(Timer.CHECK, check.deadline, node_id)
            check.asked_at = now
            self._call(node_id, check)
        elif now < check.deadline and check.pings == 1:
            check.pings += 1
            state.silent[node_id] = None
            state.timers.set(Timer.CHECK, check.deadline, node_id)
            self._ping(node_id, check, now)
            if not check.calls:
                check.asked_at = now
                self._call(node_id, check)
        else:
            self._end(node_id)
            self._membership.accuse(node_id, now, check.sequence, is_check=True)
            self._check_again(node_id, now)

    def _check_again(self, node_id: str, now: float) -> None:
        """Check a suspect again soon.

        If it was this node that was cut off, the suspect has not heard of the suspicion. The views of other nodes do
        not differ then, so nothing else tells it for a long time.
        """
        record = self._state.members.records.get(node_id)
        if record is not None and record.state is State.SUSPECT and node_id not in self._checks:
            pause = RECHECK_PERIODS * self._state.config.probe_interval
            self._state.timers.set_earlier(Timer.CHECK, now + pause, node_id)

    def receive_ack(self, sequence: int, sender: str | None) -> bool:
        """Receive an ack that answers no probe of the prober's. Return whether it answers a check."""
        check = self._checks.get(sender) if sender is not None else None
        if check is None or sender is None or check.sequence != sequence:
            return False
        self._end(sender)
        self._findings.append(CheckAnswered(sender))
        return True

    def _end(self, node_id: str) -> None:
        del self._checks[node_id]
        self._state.silent.pop(node_id, None)
        self._state.timers.cancel(Timer.CHECK, node_id)


def _mix(word: int) -> int:
    """Mix the bits of a word, so that an order by it is independent of the order of ids."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    return word ^ (word >> 31)
