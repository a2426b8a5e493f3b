"""Verifies claims before the machine gets them.

A record must be signed by a machine of the mesh, a rumour by the machine of its author. Others are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from meshp2p.core.calls import CallReply, CallRequest, ForwardDeregister, Pong, Push, SyncReply, SyncRequest
from meshp2p.core.record import (
    INCARNATION_STEP_MAX,
    Departed,
    Item,
    Proof,
    Record,
    Rumour,
    SignedRecord,
    SignedRumour,
    State,
    owner_of,
)
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.guard.accusations import AccusationLimits
from meshp2p.guard.guarded_machine import GuardedMachine
from meshp2p.trust.known_agents import KnownAgents
from meshp2p.trust.signatures import ClaimVerifier
from meshp2p.trust.trust_map import TrustMap

__all__ = ["HOSTED_STEP_MAX", "ClaimGuard"]

HOSTED_STEP_MAX: Final = 1 << 32
"""By how much a claim of another machine may exceed the incarnation of a hosted instance. So its id is not used up by
less than a billion claims. Chosen, not measured."""


class ClaimGuard:
    """The claims that a machine may get. For the arguments see :class:`~meshp2p.guard.node_guard.NodeGuard`."""

    def __init__(
        self,
        trust: TrustMap,
        agents: KnownAgents,
        known: GuardedMachine,
        note_stranger: Callable[[Record], None],
        count_refused: Callable[[Refusal], None],
    ) -> None:
        self._agents = agents
        self._known = known
        self._note_stranger = note_stranger
        self._count_refused = count_refused
        self._trust = trust
        self._verifier = ClaimVerifier(trust)
        self._accusations = AccusationLimits()
        self._deaths: dict[bytes, int] = {}
        """The incarnation of an earlier process of this node of which a machine said that it died."""

    def check_request(self, request: CallRequest, sender: bytes, now: float) -> CallRequest:
        """Return the request without the claims that nobody may make. ``sender`` is the machine from whose connection
        it came, empty for a call that was passed on. Raises :class:`RemoteProtocolError` if it cannot be answered
        without them."""
        match request:
            case SyncRequest(sender=Record() as record):
                if self.check_items((record,), sender, now) != (record,):
                    raise RemoteProtocolError(Refusal.UNTRUSTED, f"record of {record.id!r}: it is not taken here")
            case ForwardDeregister(id=instance_id):
                machine = self._trust.machines.get(sender)
                if machine is None or not machine.may_use(instance_id):
                    raise RemoteProtocolError(Refusal.UNTRUSTED, f"its machine may not use the id {instance_id!r}")
            case Push(items=items):
                return msgspec.structs.replace(request, items=self.check_items(items, sender, now))
            case _:
                pass
        return request

    def check_reply(self, reply: CallReply, replier: str, now: float) -> CallReply:
        """Check a reply as :meth:`check_request` does. Its sender is the node with this id."""
        match reply:
            case Pong(id=instance_id) if instance_id != replier:
                raise RemoteProtocolError(Refusal.UNTRUSTED, f"{replier!r} answered as {instance_id!r}")
            case SyncReply(sender=sender, items=items):
                if sender.id != replier:
                    raise RemoteProtocolError(Refusal.UNTRUSTED, f"{replier!r} answered as {sender.id!r}")
                machine = sender.proof.owner if isinstance(sender, SignedRecord) else b""
                if self.check_items((sender,), machine, now) != (sender,):
                    raise RemoteProtocolError(Refusal.UNTRUSTED, f"record of {sender.id!r}: it is not taken here")
                items = self.check_items((sender, *items), machine, now)  # it says whose its claims are
                return msgspec.structs.replace(reply, items=items[1:])
            case _:
                pass
        return reply

    def check_items(self, items: tuple[Item, ...], sender: bytes, now: float) -> tuple[Item, ...]:
        """Return the claims that the machine may get, in their order. Records of nodes are verified first, because they
        say whose the ids of homes and authors are. ``sender`` is the machine that sent them."""
        owners: dict[str, bytes] = {}
        taken: dict[int, Item] = {}
        order = sorted(range(len(items)), key=lambda place: not _is_node_record(items[place]))
        for place in order:
            item = items[place]
            try:
                checked = self._check_item(item, owners, now, sender)
            except RemoteProtocolError as error:
                self._count_refused(error.reason)
                if error.reason is Refusal.UNKNOWN and isinstance(item, Record) and item.is_node:
                    self._note_stranger(item)
            else:
                taken[place] = checked
        return tuple(taken[place] for place in sorted(taken))

    def _check_item(self, item: Item, owners: dict[str, bytes], now: float, sender: bytes) -> Item:
        if isinstance(item, SignedRecord):
            self._verifier.verify_record(item)
            if item.is_node:
                owners.setdefault(item.id, item.proof.owner)
                self._agents.note_record(item)
            elif self._owner_of(item.home, owners) != item.proof.owner:
                raise RemoteProtocolError(Refusal.UNTRUSTED, f"record of {item.id!r}: not signed by its home's machine")
            elif item.incarnation > max(
                _published(self._known.claim_of(item.id)) + HOSTED_STEP_MAX, INCARNATION_STEP_MAX
            ):
                raise RemoteProtocolError(Refusal.UNTRUSTED, f"record of {item.id!r}: incarnation {item.incarnation}")
            # a suspicion needs a rumour that its author signed
            return msgspec.structs.replace(item, state=State.ALIVE) if item.state is State.SUSPECT else item
        if isinstance(item, Rumour) and item.id == self._known.own.id and item.state is not State.LEFT:
            self._check_accusation(item, owners, now, sender)
            # the machine only refutes it, and needs no signature for that
            return Rumour(item.id, item.incarnation, item.state)
        if not isinstance(item, SignedRumour):
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"a claim about {item.id!r} that is not signed")
        rumour = item
        owner = self._owner_of(rumour.by, owners)
        self._verifier.verify_rumour(rumour, owner, lambda: self._may_claim(rumour, owner, now))
        claim = self._known.claim_of(rumour.id)
        if claim is None or claim.is_node or owner == owner_of(claim):
            return rumour
        return self._check_hosted(rumour, claim)

    def _check_hosted(self, rumour: SignedRumour, claim: Record | Departed) -> SignedRumour:
        """Check a claim about a hosted instance, by another machine than that of its home. Raises
        :class:`RemoteProtocolError`.

        Only the home knows whether its instance is gone. Once the home is gone, everybody may say so, but not of an
        incarnation that was not published.
        """
        is_own = claim.home == self._known.own.id and isinstance(claim, Record)
        if rumour.incarnation > claim.incarnation + (HOSTED_STEP_MAX if is_own else 0):
            raise RemoteProtocolError(
                Refusal.UNTRUSTED, f"incarnation {rumour.incarnation} of {rumour.id!r}: {claim.incarnation} is known"
            )
        if is_own:  # this node refutes it, also that it left
            return msgspec.structs.replace(rumour, state=State.DEAD)
        if claim.home in self._known.records():
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"{rumour.by!r} is not the home of {rumour.id!r}")
        return rumour

    def _check_accusation(self, rumour: Rumour, owners: dict[str, bytes], now: float, sender: bytes) -> None:
        """Check a claim that makes this node raise its incarnation. Raises :class:`RemoteProtocolError`.

        Nobody but this node publishes its incarnations, so a claim about a greater one is about an earlier process. Its
        record, or its own farewell, is signed by this machine. Only a death may be known from others alone: each
        machine may tell of one.
        """
        published = self._known.own.incarnation
        if rumour.incarnation > published:
            if not isinstance(rumour, SignedRumour) or rumour.state is not State.DEAD:
                raise RemoteProtocolError(
                    Refusal.UNTRUSTED, f"incarnation {rumour.incarnation} of this node: it published {published}"
                )
            sender = self._owner_of(rumour.by, owners)
            self._verifier.verify_rumour(rumour, sender, lambda: True)
            # this node may not return at once: then it is told again
            if rumour.incarnation != self._deaths.setdefault(sender, rumour.incarnation):
                raise RemoteProtocolError(Refusal.TOO_MANY, f"{rumour.by!r} tells of another death of this node")
        elif rumour.incarnation == published and not self._may_accuse(sender, now):
            raise RemoteProtocolError(Refusal.TOO_MANY, "this node is accused too often")

    def _owner_of(self, node_id: str, owners: dict[str, bytes]) -> bytes:
        """Return the machine to which the id of a node belongs. Raises :class:`RemoteProtocolError` if that is not
        known."""
        proof = _proof_of(self._known.claim_of(node_id))
        owner = owners.get(node_id) if proof is None else proof.owner
        if owner is None:
            raise RemoteProtocolError(Refusal.UNKNOWN, f"a claim by {node_id!r}, which is not listed")
        return owner

    def _may_claim(self, rumour: Rumour, owner: bytes, now: float) -> bool:
        """Whether ``owner``, the machine of its author, may make one more such claim now. Only claims about other nodes
        and about the instances of this one are counted."""
        claim = self._known.claim_of(rumour.id)
        if rumour.by == rumour.id or (claim is not None and not claim.is_node and claim.home != self._known.own.id):
            return True
        return self._may_accuse(owner, now)

    def _may_accuse(self, machine: bytes, now: float) -> bool:
        return self._accusations.admit(machine, self._known.node_count(), now)


def _proof_of(claim: Record | Departed | None) -> Proof | None:
    """Return the proof of a claim that this is a node; None if there is none."""
    return claim.proof if isinstance(claim, (SignedRecord, Departed)) and claim.is_node else None


def _published(claim: Record | Departed | None) -> int:
    """Return the last incarnation that a home is known to have published; 0 if none is."""
    return claim.published if isinstance(claim, Departed) else 0 if claim is None else claim.incarnation


def _is_node_record(item: Item) -> bool:
    return isinstance(item, Record) and item.is_node
