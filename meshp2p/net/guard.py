"""Guards the machine of a node of a secured mesh: seals and opens its datagrams, and verifies claims.

The machine gets only what was verified here:

- A datagram is opened with keys that the signed record of its sender publishes. One that does not open costs a table
  lookup and at most one decryption, is counted, and has no effect. A node whose keys are unknown is refused until its
  record arrives, for example by its calls, which come over TLS.
- A record must be signed by a machine of the mesh, a rumour by the machine of its author. Others are left out.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec

from meshp2p.core.calls import CallReply, CallRequest, Pong, Push, SyncReply, SyncRequest
from meshp2p.core.datagrams import DATAGRAM_BYTES_MAX, Ack, Datagram, Ping, Unreached
from meshp2p.core.record import (
    Departed,
    Item,
    Proof,
    Record,
    Rumour,
    SignedRecord,
    SignedRumour,
    State,
    id_owner,
    tag_of,
)
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.net.replay_window import ReplayWindow
from meshp2p.trust.datagram_keys import DatagramKeys, NodeOnKey, PairKeys
from meshp2p.trust.signatures import ClaimVerifier
from meshp2p.trust.trust_map import TrustMap
from meshp2p.wire.codec import Codec
from meshp2p.wire.frame import COUNTER_BYTES, PREFIX_BYTES, SEALED_BYTES, SealedHeader

__all__ = ["NodeGuard"]

PAIRS_MAX: Final = 65_536
"""Pairs of keys that are kept, with their windows: as many as a mesh may list nodes."""

ACCUSATIONS_MAX: Final = 64
"""Accusations of one machine that are taken at once, in addition to four for each listed node. Chosen, not
measured."""

ACCUSATIONS_PER_SECOND: Final = 2.0
"""How fast a machine may accuse for long. Chosen, not measured."""

ACCUSERS_MAX: Final = 4096
"""Machines whose accusations are counted. Chosen, not measured."""

_COUNTER_MAX: Final = (1 << 8 * COUNTER_BYTES) - 1


class _GuardedMachine(Protocol):
    """The parts of a machine that the guard uses."""

    @property
    def own(self) -> Record: ...
    def node_count(self) -> int: ...
    def records(self) -> Mapping[str, Record]: ...
    def claim_of(self, instance_id: str, /) -> Record | Departed | None: ...
    def id_of(self, tag: int, /) -> str | None: ...


class _Pair:
    """The keys of two nodes, the counter of the next datagram, and those of the datagrams that arrived."""

    __slots__ = ("counter", "keys", "window")

    def __init__(self, keys: PairKeys, counter: int) -> None:
        self.keys = keys
        self.counter = counter
        self.window = ReplayWindow()


class _Route:
    """The pair for datagrams with the same first bytes, as long as ``claim`` is what is known of the other node."""

    __slots__ = ("claim", "owner", "pair", "prefix")

    def __init__(self, claim: SignedRecord | Departed, owner: bytes, pair: _Pair, prefix: bytes) -> None:
        self.claim = claim
        self.owner = owner
        self.pair = pair
        self.prefix = prefix


class _AccusationAllowance:
    """How many more accusations a machine may make."""

    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at


class NodeGuard:
    """The guard of one node. ``note_stranger`` gets each record of a node whose machine is not in the trust map;
    ``count_refused`` gets the reason for which a claim was left out."""

    def __init__(
        self,
        trust: TrustMap,
        keys: DatagramKeys,
        codec: Codec,
        known: _GuardedMachine,
        note_stranger: Callable[[Record], None],
        count_refused: Callable[[Refusal], None],
    ) -> None:
        self._trust = trust
        self._keys = keys
        self._codec = codec
        self._known = known
        self._note_stranger = note_stranger
        self._count_refused = count_refused
        self._tag = tag_of(known.own.id)
        self._claims = ClaimVerifier(trust)
        self._pairs: collections.OrderedDict[tuple[int, int, int, int], _Pair] = collections.OrderedDict()
        self._outgoing: dict[int, _Route] = {}
        self._incoming: dict[bytes, _Route] = {}
        self._counter_max = 0
        self._allowances: collections.OrderedDict[bytes, _AccusationAllowance] = collections.OrderedDict()
        self._deaths: dict[bytes, int] = {}
        """The incarnation of an earlier process of this node of which a machine said that it died."""

    # Datagrams

    def seal(self, datagram: Datagram, to: int) -> bytes | None:
        """Encode a datagram for the node with the tag ``to``. None if its keys are not known."""
        route = self._outgoing.get(to)
        if route is None or self._known.claim_of(route.claim.id) is not route.claim:
            route = self._find_outgoing(to)
            if route is None:
                return None
            self._outgoing[to] = route
        pair = route.pair
        counter = pair.counter
        if counter > _COUNTER_MAX:
            return None
        header = route.prefix + counter.to_bytes(COUNTER_BYTES, "big")
        pair.counter = counter + 1
        self._counter_max = max(self._counter_max, counter + 1)
        body = self._codec.encode_body(_shorten(datagram, self._tag, to))
        return header + pair.keys.seal(counter, body, header)

    def open_untrusted(self, data: bytes, now: float) -> Datagram:
        """Decrypt and decode a datagram, and leave out the claims that nobody may make. Raises
        :class:`RemoteProtocolError`, and nothing else."""
        if len(data) > DATAGRAM_BYTES_MAX:
            raise RemoteProtocolError(Refusal.TOO_LARGE, f"{len(data)} bytes: at most {DATAGRAM_BYTES_MAX}")
        prefix = data[:PREFIX_BYTES]
        route = self._incoming.get(prefix)
        if route is None or self._known.claim_of(route.claim.id) is not route.claim:
            route = self._find_incoming(SealedHeader.decode_untrusted(data, self._codec.tag), prefix)
        header = data[:SEALED_BYTES]
        counter = int.from_bytes(header[PREFIX_BYTES:], "big")
        if not self._trust.is_trusted(route.owner, agent=route.claim.id):
            raise RemoteProtocolError(Refusal.REVOKED, "a datagram of a machine that was revoked")
        pair = route.pair
        if pair.window.has_seen(counter):
            raise RemoteProtocolError(Refusal.REPLAYED, f"datagram {counter} arrived before, or too late")
        body = pair.keys.open(counter, data[SEALED_BYTES:], header)
        if body is None:
            raise RemoteProtocolError(Refusal.NOT_OPENED, "it is not of the sender that it names, or was changed")
        pair.window.note(counter)
        self._incoming[prefix] = route
        datagram = _restore(self._codec.decode_body_untrusted(body), tag_of(route.claim.id), self._tag)
        # a relay passes on the ack of another node
        if datagram.body.sender != tag_of(route.claim.id) and not isinstance(datagram.body, Ack):
            raise RemoteProtocolError(Refusal.UNTRUSTED, "it names another sender than the node that sealed it")
        if not datagram.items:
            return datagram
        return msgspec.structs.replace(datagram, items=self._check_items(datagram.items, now, route.owner))

    def _find_outgoing(self, to: int) -> _Route | None:
        found = self._find_node(to)
        if found is None:
            return None
        (claim, proof), own_number = found, self._keys.number
        pair = self._pair(to, claim.boot, proof.key_number, own_number, proof.keys[0])
        header = SealedHeader(self._tag, own_number & 0xFF, proof.key_number & 0xFF, 0)
        prefix = header.encode(self._codec.tag)[:PREFIX_BYTES]
        return None if pair is None else _Route(claim, proof.owner, pair, prefix)

    def _find_incoming(self, header: SealedHeader, prefix: bytes) -> _Route:
        """Raises :class:`RemoteProtocolError` if the node with the sender's tag has no such key."""
        found = self._find_node(header.sender)
        if found is None:
            raise RemoteProtocolError(Refusal.UNKNOWN, "a datagram of a node whose keys are not known")
        claim, proof = found
        index = header.sender_key - proof.key_number & 0xFF
        own_number = self._keys.number + _signed_byte(header.receiver_key - self._keys.number)
        if index < len(proof.keys) and self._keys.has(own_number):
            number, public = proof.key_number + index, proof.keys[index]
            pair = self._pair(header.sender, claim.boot, number, own_number, public)
            if pair is not None:
                return _Route(claim, proof.owner, pair, prefix)
        raise RemoteProtocolError(Refusal.NOT_OPENED, "it is sealed with a key that is not known, or not any more")

    def _find_node(self, tag: int) -> tuple[SignedRecord | Departed, Proof] | None:
        """What is known of the node with this tag, and its keys. A node that is held dead may be told so."""
        instance_id = self._known.id_of(tag)
        claim = None if instance_id is None else self._known.claim_of(instance_id)
        if not isinstance(claim, (SignedRecord, Departed)) or claim.proof is None or not claim.proof.keys:
            return None
        return claim, claim.proof

    def _pair(self, tag: int, boot: int, number: int, own_number: int, public: bytes) -> _Pair | None:
        key = (tag, boot, number, own_number)
        pair = self._pairs.get(key)
        if pair is None:
            own = NodeOnKey(self._tag, self._known.own.boot, own_number)
            try:
                keys = self._keys.agree(self._trust.mesh_id, own, NodeOnKey(tag, boot, number), public)
            except ValueError:
                return None
            # a pair that was dropped and is made again must not use a counter twice
            pair = self._pairs[key] = _Pair(keys, self._counter_max)
            if len(self._pairs) > PAIRS_MAX:
                self._pairs.popitem(last=False)
                self._forget_routes()  # they must not outlive their pairs
        else:
            self._pairs.move_to_end(key)
        return pair

    def _forget_routes(self) -> None:
        self._outgoing.clear()
        self._incoming.clear()

    def renew_keys(self) -> None:
        """Use the next key from now on. The record of the node must then be published anew."""
        self._keys.renew()
        self._forget_routes()

    def retire_keys(self) -> None:
        """Forget former keys, and what was derived from them or from former keys of others."""
        self._keys.retire()
        self._forget_routes()
        for key in list(self._pairs):
            tag, boot, number, own_number = key
            found = self._find_node(tag)
            is_former = found is not None and found[0].boot == boot and number < found[1].key_number
            if is_former or not self._keys.has(own_number):
                del self._pairs[key]

    # Claims

    def check_request(self, request: CallRequest, now: float) -> CallRequest:
        """Return the request without the claims that nobody may make. Raises :class:`RemoteProtocolError` if it cannot
        be answered without them."""
        match request:
            case SyncRequest(sender=Record() as sender):
                if self._check_items((sender,), now) != (sender,):
                    raise RemoteProtocolError(Refusal.UNTRUSTED, f"record of {sender.id!r}: it is not taken here")
            case Push(items=items):
                return msgspec.structs.replace(request, items=self._check_items(items, now))
            case _:
                pass
        return request

    def check_reply(self, reply: CallReply, replier: str, now: float) -> CallReply:
        """As :meth:`check_request`, for the reply of a node that is known to have this id."""
        match reply:
            case Pong(id=instance_id) if instance_id != replier:
                raise RemoteProtocolError(Refusal.UNTRUSTED, f"{replier!r} answered as {instance_id!r}")
            case SyncReply(sender=sender, items=items):
                if sender.id != replier:
                    raise RemoteProtocolError(Refusal.UNTRUSTED, f"{replier!r} answered as {sender.id!r}")
                if not isinstance(sender, SignedRecord) or self._check_items((sender,), now) != (sender,):
                    raise RemoteProtocolError(Refusal.UNTRUSTED, f"record of {sender.id!r}: it is not taken here")
                items = self._check_items((sender, *items), now, sender.proof.owner)  # it says whose its claims are
                return msgspec.structs.replace(reply, items=items[1:])
            case _:
                pass
        return reply

    def is_usurper(self, instance_id: str, machine: bytes) -> bool:
        """Whether an id is that of a node of another machine than this one."""
        return id_owner(self._known.claim_of(instance_id)) not in (b"", machine)

    def revoked_agents(self) -> list[tuple[bytes, str]]:
        """The machines and ids of the listed nodes whose machines are not trusted any more."""
        nodes = [one for one in self._known.records().values() if isinstance(one, SignedRecord) and one.is_node]
        agents = [(node.proof.owner, node.id) for node in nodes]
        return [one for one in agents if not self._trust.is_trusted(one[0], agent=one[1])]

    def is_trusted_caller(self, owner: str) -> bool:
        """Whether the machine of a caller of the HTTP API is trusted: see :class:`~meshp2p.trust.grants.Grant`."""
        return self._trust.is_trusted(bytes.fromhex(owner.partition("/")[0]))

    def _check_items(self, items: tuple[Item, ...], now: float, sender: bytes = b"") -> tuple[Item, ...]:
        """Those that may be handed to the machine, in their order. Records of nodes are verified first, because they
        say whose the ids of homes and authors are. ``sender`` is the machine that sent them, empty if that is
        not known."""
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
            self._claims.verify_record(item)
            if item.is_node:
                owners.setdefault(item.id, item.proof.owner)
            elif self._owner_of(item.home, owners) != item.proof.owner:
                raise RemoteProtocolError(Refusal.UNTRUSTED, f"record of {item.id!r}: not signed by its home's machine")
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
        self._claims.verify_rumour(rumour, owner, lambda: self._may_claim(rumour, owner, now))
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
            self._claims.verify_rumour(rumour, sender, lambda: True)
            # this node may not return at once: then it is told again
            if rumour.incarnation != self._deaths.setdefault(sender, rumour.incarnation):
                raise RemoteProtocolError(Refusal.TOO_MANY, f"{rumour.by!r} tells of another death of this node")
        elif rumour.incarnation == published and not self._may_accuse(sender, now):
            raise RemoteProtocolError(Refusal.TOO_MANY, "this node is accused too often")

    def _owner_of(self, node_id: str, owners: dict[str, bytes]) -> bytes:
        """The machine to which the id of a node belongs. Raises :class:`RemoteProtocolError` if that is not known."""
        proof = _proof_of(self._known.claim_of(node_id))
        owner = owners.get(node_id) if proof is None else proof.owner
        if owner is None:
            raise RemoteProtocolError(Refusal.UNKNOWN, f"a claim by {node_id!r}, which is not listed")
        return owner

    def _may_claim(self, rumour: Rumour, owner: bytes, now: float) -> bool:
        """Whether ``owner``, the machine of its author, may make one more such claim now. Only claims about other nodes
        are counted."""
        claim = self._known.claim_of(rumour.id)
        if rumour.by == rumour.id or (claim is not None and not claim.is_node):
            return True
        return self._may_accuse(owner, now)

    def _may_accuse(self, machine: bytes, now: float) -> bool:
        """Whether a machine may make one more accusation now, which is counted. A machine has as many ids as it likes,
        so they share its allowance."""
        count_max = ACCUSATIONS_MAX + 4 * self._known.node_count()
        allowance = self._allowances.pop(machine, None) or _AccusationAllowance(count_max, now)
        self._allowances[machine] = allowance
        if len(self._allowances) > ACCUSERS_MAX:
            self._allowances.popitem(last=False)
        allowance.left = min(count_max, allowance.left + ACCUSATIONS_PER_SECOND * (now - allowance.at))
        allowance.at = now
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True


def _shorten(datagram: Datagram, sender: int, receiver: int) -> Datagram:
    """Replace the tags that the seal implies by 0, which takes 8 bytes less."""
    return _with_tags(datagram, (sender, receiver), (0, 0))


def _restore(datagram: Datagram, sender: int, receiver: int) -> Datagram:
    """Undo :func:`_shorten`."""
    return _with_tags(datagram, (0, 0), (sender, receiver))


def _with_tags(datagram: Datagram, old: tuple[int, int], new: tuple[int, int]) -> Datagram:
    """Replace these tags of the sender and the receiver by others."""
    body = datagram.body
    sender = new[0] if body.sender == old[0] else body.sender
    if isinstance(body, Ping):  # it and Ack are nearly all that an idle mesh sends; `replace` is slow
        target = new[1] if body.target == old[1] else body.target
        body = Ping(body.sequence, sender, target, body.view, body.local_health)
    elif isinstance(body, Ack):
        body = Ack(body.sequence, sender, body.view, body.local_health)
    elif isinstance(body, Unreached):
        body = Unreached(sender, new[1] if body.target == old[1] else body.target, body.relay)
    else:
        body = msgspec.structs.replace(body, sender=sender)
    return Datagram(body, datagram.items, datagram.ages)


def _proof_of(claim: Record | Departed | None) -> Proof | None:
    """The proof of a claim that this is a node; None if there is none."""
    return claim.proof if isinstance(claim, (SignedRecord, Departed)) and claim.is_node else None


def _is_node_record(item: Item) -> bool:
    return isinstance(item, Record) and item.is_node


def _signed_byte(difference: int) -> int:
    """The number from -128 to 127 with the same lowest 8 bits."""
    return (difference + 128 & 0xFF) - 128
