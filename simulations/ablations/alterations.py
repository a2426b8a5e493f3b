"""Changes to the machine of a host that was just made: each takes one safeguard of the protocol away.

They reach into the machine under test, as nothing else here does: a safeguard has no switch of its own in ``core``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from meshp2p.core.calls import LeaseAsk, LeaseReply, Probe, SyncReply
from meshp2p.core.directory.nodes import Nodes
from meshp2p.core.record import Item, Record
from meshp2p.core.swim.election import Election
from meshp2p.core.swim.suspicion import Suspicion
from meshp2p.core.swim.suspicion_table import SuspicionTable
from meshp2p.errors import check
from meshp2p.simulation.host import Host

__all__ = [
    "believe_late_records",
    "believe_verdicts",
    "count_one_confirmation",
    "forget_acknowledged",
    "grant_to_all",
    "lead_again",
    "miscount_the_ring",
    "settle_on_anybody",
    "tell_for_ever",
    "without_crash_ping",
    "without_method",
    "without_second_observer",
    "without_tcp_probe",
    "write_nothing",
]


def _nothing(*_arguments: Any, **_options: Any) -> None:
    return None


def without_method(*path: str) -> Callable[[Host], None]:
    """Let this method of the machine, or of one of its parts, do nothing."""

    def alter(host: Host) -> None:
        part: Any = host.machine
        for name in path[:-1]:
            part = getattr(part, name)
        check(callable(getattr(part, path[-1], None)), f"the machine has no {'.'.join(path)} to switch off")
        setattr(part, path[-1], _nothing)

    return alter


def believe_late_records(host: Host) -> None:
    membership: Any = host.machine._swim.membership  # type: ignore[union-attr]
    members: Any = host.machine._state.members  # type: ignore[union-attr]
    take = membership._merge_item

    def merge_regardless(item: Item, now: float, **origin: Any) -> None:
        if isinstance(item, Record):
            members.departed.pop(item.id, None)
        take(item, now, **origin)

    membership._merge_item = merge_regardless


def without_tcp_probe(host: Host) -> None:
    state: Any = host.machine._state  # type: ignore[union-attr]
    call = state.call

    def call_unless_probe(addresses: Any, request: Any, *more: Any) -> None:
        if not isinstance(request, Probe):
            call(addresses, request, *more)

    state.call = call_unless_probe


def forget_acknowledged(host: Host) -> None:
    """Let no mailbox remember what was acknowledged."""
    mail: Any = host.machine._mail  # type: ignore[union-attr]
    tell = mail.notifier.tell

    def tell_and_forget(ticket: int, recipient: str, *more: Any) -> None:
        tell(ticket, recipient, *more)
        if recipient in mail.mailboxes.by_recipient:
            mail.mailboxes.by_recipient[recipient].acknowledged.clear()

    mail.notifier.tell = tell_and_forget


def without_second_observer(host: Host) -> None:
    membership: Any = host.machine._swim.membership  # type: ignore[union-attr]
    accuse = membership.accuse

    def accuse_and_convict(
        node_id: str, now: float, ping: int, *, is_check: bool = False, is_refused: bool = False
    ) -> None:
        accuse(node_id, now, ping, is_check=is_check, is_refused=is_refused)
        suspicion = membership.suspicions.get(node_id)
        if is_refused and suspicion is not None:
            suspicion.refused[""] = None
            membership._weigh_refusals(now)

    membership.accuse = accuse_and_convict


def without_crash_ping(host: Host) -> None:
    swim: Any = host.machine._swim  # type: ignore[union-attr]
    swim.confirmer.receive_ack = lambda _sequence, _sender: False


def count_one_confirmation(host: Host) -> None:
    """Let one independent confirmation be enough."""
    membership: Any = host.machine._swim.membership  # type: ignore[union-attr]

    class Hasty(SuspicionTable):
        def __setitem__(self, node_id: str, suspicion: Suspicion) -> None:
            suspicion._confirmations_max = suspicion._wanted = min(1, suspicion._wanted)
            super().__setitem__(node_id, suspicion)

    membership.suspicions = Hasty(host.machine._state)  # type: ignore[union-attr]


def believe_verdicts(host: Host) -> None:
    """Let each verdict that goes round be believed, whoever was heard since."""
    membership: Any = host.machine._swim.membership  # type: ignore[union-attr]
    membership._contradicts_life = lambda *_arguments: False


def settle_on_anybody(host: Host) -> None:
    """Let each sync settle a node, whoever it was with."""
    syncer: Any = host.machine._swim.syncer  # type: ignore[union-attr]
    handle_reply = syncer._handle_reply

    def handle_reply_as_settled(reply: Any, *arguments: Any) -> None:
        if isinstance(reply, SyncReply):
            reply = msgspec.structs.replace(reply, is_settled=True)
        handle_reply(reply, *arguments)

    syncer._handle_reply = handle_reply_as_settled


def miscount_the_ring(host: Host) -> None:
    """Let a node that is removed stay among those whose turn is awaited."""
    members: Any = host.machine._state.members  # type: ignore[union-attr]

    class Miscounting(Nodes):
        __slots__ = ()

        def remove(self, node_id: str) -> None:
            waiting = self._waiting
            super().remove(node_id)
            self._waiting = waiting

    members.nodes = Miscounting()


def grant_to_all(host: Host) -> None:
    lease: Any = host.machine._swim.lease  # type: ignore[union-attr]
    if lease is None:
        return
    handle_ask = lease.handle_ask

    def take_ask_unbound(ask: LeaseAsk, now: float) -> LeaseReply:
        lease._granted_until = -math.inf
        reply: LeaseReply = handle_ask(ask, now)
        return reply

    lease.handle_ask = take_ask_unbound


def tell_for_ever(host: Host) -> None:
    """Let no rumour ever be told often enough."""
    gossip: Any = host.machine._state.gossip  # type: ignore[union-attr]
    take = gossip.pop_items
    gossip.pop_items = lambda budget, _retransmits: take(budget, 1 << 30)


def lead_again(host: Host) -> None:
    """Let a node that led take up its old claim."""
    election: Any = host.machine._swim.election  # type: ignore[union-attr]

    class Resuming(Election):
        @property
        def _has_claimed(self) -> bool:
            return self._state.own.epoch > 0

        @_has_claimed.setter
        def _has_claimed(self, _has_claimed: bool) -> None:
            pass

    election.__class__ = Resuming


def write_nothing(host: Host) -> None:
    if host.disk is not None:
        host.disk.write = _nothing  # type: ignore[method-assign]
