"""Detects nodes that do not answer (SWIM §4.1 and §4.3, Lifeguard §IV-A)."""

from __future__ import annotations

import itertools

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, Pong, Probe
from meshp2p.core.datagrams import Ack, Nack, Ping, PingRequest
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.record import tag_of
from meshp2p.core.swim.findings import Findings, ProbeAnswered, ViewHeard
from meshp2p.core.swim.membership import Membership

__all__ = ["Prober", "Round"]

HEARD_MAX = 64
"""How many nodes have the time at which they were heard last, before those that were not heard recently are dropped.
Chosen, not measured."""

RELAYS_MAX = 1024
"""The maximum number of pings under way for other nodes; beyond it, requests are ignored. Chosen, not measured."""


class Round:
    """The probe of one node in one protocol period."""

    __slots__ = ("address", "boot", "has_relays", "is_acknowledged", "owing", "sent_at", "sequence", "target")

    def __init__(self, sequence: int, target: str, boot: int, address: Address, now: float) -> None:
        self.sequence: int = sequence
        self.target: str = target
        self.boot: int = boot
        self.address: Address = address
        self.sent_at: float = now
        self.is_acknowledged: bool = False
        self.has_relays: bool = False
        self.owing: dict[int, str] = {}
        """The relays that were asked and sent no nack, by tag."""


class Prober:
    """Sends one probe per period.

    If clocks agree, each node is probed by exactly one other in each period, at some moment of it, so none waits for
    two periods. Whatever clocks do, each of n others gets its turn in a round of at most 2n periods (a bound of the
    kind of SWIM §4.3): :mod:`meshp2p.core.directory.nodes`.

    A probe is a ping. Without an answer, three others ping the target, and a call goes over TCP, which may pass where
    UDP does not. Without any answer by the end of the period, the target is accused. Relays that could not reach the
    target send a nack. If they do not, the prober itself is slow (Lifeguard §IV-A), or much of the mesh is gone:
    :mod:`meshp2p.core.swim.roll_call`.
    """

    def __init__(self, state: NodeState, membership: Membership, findings: Findings) -> None:
        self._state = state
        self._findings = findings
        self._membership = membership
        self._sequence = 0
        self._round: Round | None = None
        self._relays: dict[int, tuple[Address, int, int]] = {}
        """By the number of the ping: the address, tag and number of its asker."""
        self.round_trips: dict[str, float] = {}
        """The round trip to each node that answered its last probe at once: a moving average, in seconds."""
        self.indirect: dict[str, None] = {}
        """The nodes whose last probe was answered only over others or TCP."""

    def start(self, now: float) -> None:
        self._state.timers.set(Timer.PROBE, now + self._state.random.random() * self._state.config.probe_interval)

    def restart(self, now: float) -> None:
        """Drop the round under way without a verdict, and begin the next at once."""
        self._round = None
        self._state.timers.cancel(Timer.PROBE_DIRECT)
        self._state.timers.set(Timer.PROBE, now)

    # The prober's side

    def begin_round(self, now: float) -> bool:
        """Probe the next node. Return False if there is none."""
        state = self._state
        state.timers.set(Timer.PROBE, now + state.local_health.scale(state.config.probe_interval))
        if state.is_leaving or not state.is_announced:
            return True
        period = int(state.wall_ms() / (1000 * state.config.probe_interval))
        target = state.members.nodes.choose_next(state.id, period, state.random)
        if target is None:
            return False
        state.counters.probes += 1
        if len(state.heard) > HEARD_MAX:
            state.heard = {key: at for key, at in state.heard.items() if now - at < state.config.confirmed_timeout}
        record = state.members.records[target]
        self._round = Round(self.next_sequence(), target, record.boot, state.address_of(record), now)
        state.timers.set(Timer.PROBE_DIRECT, now + self.direct_timeout(target, now))
        ping = state.ping(self._round.sequence, tag_of(target))
        state.send_to_node(target, ping, now)
        return True

    def direct_timeout(self, target: str, now: float) -> float:
        """Return the timeout of the direct ping in seconds: three round trips, within limits, extended if this node or
        the target is slow."""
        config = self._state.config
        round_trip = self.round_trips.get(target)
        timeout = config.probe_timeout
        if round_trip is not None:
            timeout = min(timeout, max(config.probe_timeout_min, 3 * round_trip))
        patient = min(timeout * self._state.patience.factor(target, now), max(timeout, 0.8 * config.probe_interval))
        return self._state.local_health.scale(patient)

    def handle_no_answer(self, now: float) -> None:
        """Ask others and try TCP, because the direct ping got no answer (SWIM §4.1)."""
        state = self._state
        current = self._round
        if current is None or current.is_acknowledged or not self._is_listed(current):
            return
        target = state.members.records[current.target]
        relays = state.choose_nodes(state.config.indirect_probes, current.target)
        current.has_relays = bool(relays)
        current.owing = {tag_of(relay): relay for relay in relays}
        for relay, address in zip(relays, itertools.cycle(state.ping_addresses(target)), strict=False):
            request = PingRequest(current.sequence, state.tag, tag_of(current.target), address)
            state.send_to_node(relay, request, now)

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            if isinstance(reply, Pong) and reply.id == current.target:
                # it lives but UDP does not reach it: the address it was heard from may be wrong, or forged
                self._forget_address(current)
                self._acknowledge(current, now)
                self._findings.append(ViewHeard(current.target, reply.view))
            elif isinstance(reply, CallFailed) and reply.failure is Failure.REFUSED:
                self._note_refused(current, now)

        state.call_node(target, Probe(tag_of(current.target)), conclude)

    def _note_refused(self, current: Round, now: float) -> None:
        """Note that the target's host refused the connection, and UDP got no answer either."""
        if current is self._round and not current.is_acknowledged and self._is_listed(current):
            self._membership.accuse(current.target, now, current.sequence, is_refused=True)

    def receive_ack(self, message: Ack, sender: str | None, now: float) -> bool:
        """Receive an ack. Return whether it answers a probe of this node, or a ping for another node."""
        state = self._state
        relay = self._relays.pop(message.sequence, None)
        if relay is not None:
            state.timers.cancel(Timer.RELAY, str(message.sequence))
            address, asker, sequence = relay
            state.answer(address, asker, Ack(sequence, message.sender, message.view, message.local_health), now)
            return True
        current = self._round
        if current is None or current.sequence != message.sequence or sender != current.target:
            return False
        self._acknowledge(current, now)
        return True

    def receive_nack(self, message: Nack) -> None:
        current = self._round
        if current is not None and current.sequence == message.sequence:
            current.owing.pop(message.sender, None)
        else:
            self._state.counters.datagrams_unasked += 1

    def _acknowledge(self, current: Round, now: float) -> None:
        state = self._state
        if current.is_acknowledged:
            return
        current.is_acknowledged = True
        if current is self._round:
            if state.timers.cancel(Timer.PROBE_DIRECT):  # the direct ping was answered in time
                self._note_round_trip(current.target, now - current.sent_at)
                self.indirect.pop(current.target, None)
            else:
                self.indirect[current.target] = None
            state.local_health.change(-1)
            if state.is_guarded:
                self._findings.append(ProbeAnswered(current.target))
        if state.heard.get(current.target) != now and state.is_live(current.target):  # by TCP, or in a pause
            state.heard[current.target] = now
            state.life.note(current.target, now)

    def end_round(self) -> Round | None:
        """End the round under way. Return it if the target did not answer and must be accused."""
        state = self._state
        current, self._round = self._round, None
        if current is None or current.is_acknowledged:
            return None
        state.timers.cancel(Timer.PROBE_DIRECT)
        if not self._is_listed(current):
            return None
        state.counters.probes_failed += 1
        self.round_trips.pop(current.target, None)
        self._forget_address(current)
        return current

    def _forget_address(self, current: Round) -> None:
        """Forget the address that the target was heard from, because a ping there got no answer, unless it was heard
        from another since.

        A machine that moved without noticing may send to this node just after each ping to its old address.
        """
        if self._state.reach.get(current.target) == current.address:
            del self._state.reach[current.target]

    def _is_listed(self, current: Round) -> bool:
        """Return whether the probed process is still the one listed under its id."""
        record = self._state.members.records.get(current.target)
        return record is not None and record.is_node and record.boot == current.boot

    def _note_round_trip(self, target: str, seconds: float) -> None:
        known = self.round_trips.get(target)
        self.round_trips[target] = seconds if known is None else 0.75 * known + 0.25 * seconds

    def usual_round_trip(self, target: str, default: float) -> float:
        """Return the round trip to a node in seconds; if it was not measured, the median of those to other nodes."""
        known = sorted(self.round_trips.values()) or [default]
        return self.round_trips.get(target, known[len(known) // 2])

    def forget(self, node_id: str) -> None:
        self.round_trips.pop(node_id, None)
        self.indirect.pop(node_id, None)

    def next_sequence(self) -> int:
        self._sequence = self._sequence % 0xFFFF_FFFF + 1
        return self._sequence

    # The other side

    def receive_ping(self, message: Ping, source: Address, now: float) -> None:
        state = self._state
        if message.target != state.tag:
            state.counters.datagrams_unasked += 1
            return
        ack = Ack(message.sequence, state.tag, state.members.view, state.local_health.score)
        state.answer(source, message.sender, ack, now)

    def receive_ping_request(self, message: PingRequest, source: Address, now: float) -> None:
        """Ping a node for another; pass its ack on, or send a nack if it does not come in time."""
        state = self._state
        if len(self._relays) >= RELAYS_MAX:
            return
        sequence = self.next_sequence()
        self._relays[sequence] = (source, message.sender, message.sequence)
        state.timers.set(Timer.RELAY, now + 0.8 * state.config.probe_timeout, str(sequence))
        state.answer(message.address, message.target, state.ping(sequence, message.target), now)

    def handle_relay_no_answer(self, sequence: int, now: float) -> None:
        relay = self._relays.pop(sequence, None)
        if relay is not None:
            address, asker, asked = relay
            self._state.answer(address, asker, Nack(asked, self._state.tag), now)
