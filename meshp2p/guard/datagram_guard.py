"""Seals the datagrams of a node of a secured mesh, and opens those that it gets.

A datagram is opened with keys that the signed record of its sender publishes. One that does not open costs a table
lookup and at most one decryption. A node whose keys are unknown is refused until its record arrives, for example by its
calls, which come over TLS.
"""

from __future__ import annotations

from typing import Final

import msgspec

from meshp2p.core.datagrams import DATAGRAM_BYTES_MAX, Ack, Datagram, Ping, Unreached
from meshp2p.core.record import Departed, Proof, SignedRecord, tag_of
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.guard.guarded_machine import GuardedMachine
from meshp2p.guard.replay_window import ReplayWindow
from meshp2p.trust.datagram_keys import DatagramKeys, NodeOnKey, PairKeys
from meshp2p.trust.trust_map import TrustMap
from meshp2p.wire.codec import Codec
from meshp2p.wire.frame import COUNTER_BYTES, PREFIX_BYTES, SEALED_BYTES, SealedHeader

__all__ = ["DatagramGuard"]

PAIRS_MAX: Final = 65_536
"""Pairs of keys that are kept, with their windows: three for each instance that a mesh lists by default. No window is
forgotten as long as a datagram of its pair could be opened: see :attr:`DatagramGuard.is_crowded`."""

_COUNTER_MAX: Final = (1 << 8 * COUNTER_BYTES) - 1


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


class DatagramGuard:
    """The keys and replay windows of one node. For the arguments see :class:`~meshp2p.guard.node_guard.NodeGuard`."""

    def __init__(self, trust: TrustMap, keys: DatagramKeys, codec: Codec, known: GuardedMachine) -> None:
        self._trust = trust
        self._keys = keys
        self._codec = codec
        self._known = known
        self._tag = tag_of(known.own.id)
        self._pairs: dict[tuple[int, int, int, int, bytes], _Pair] = {}
        self._outgoing: dict[int, _Route] = {}
        self._incoming: dict[bytes, _Route] = {}
        self._counter_max = 0
        self.is_crowded: bool = False
        """Whether the table of pairs is full, so that new ones are refused. It is until the keys of this node are
        renewed and retired, which ends all earlier pairs."""

    def seal(self, datagram: Datagram, to: int) -> bytes | None:
        """Encode and encrypt a datagram for the node with the tag ``to``. Return None if its keys are not known."""
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

    def open_untrusted(self, data: bytes) -> tuple[Datagram, bytes]:
        """Decrypt and decode a datagram. Return it and the machine of its sender. Raises :class:`RemoteProtocolError`,
        and nothing else."""
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
        return datagram, route.owner

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
        """Return the pair of a datagram that arrived. Raises :class:`RemoteProtocolError` if the node with the sender's
        tag has no such key."""
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
        """Return what is known of the node with this tag, and its keys. A node that is held dead may be told so."""
        instance_id = self._known.id_of(tag)
        claim = None if instance_id is None else self._known.claim_of(instance_id)
        if not isinstance(claim, (SignedRecord, Departed)) or claim.proof is None or not claim.proof.keys:
            return None
        return claim, claim.proof

    def _pair(self, tag: int, boot: int, number: int, own_number: int, public: bytes) -> _Pair | None:
        key = (tag, boot, number, own_number, public)
        pair = self._pairs.get(key)
        if pair is None and self._has_room():
            own = NodeOnKey(self._tag, self._known.own.boot, own_number)
            try:
                keys = self._keys.agree(self._trust.mesh_id, own, NodeOnKey(tag, boot, number), public)
            except ValueError:
                return None
            # a pair that was dropped and is made again must not use a counter twice
            pair = self._pairs[key] = _Pair(keys, self._counter_max)
        return pair

    def _has_room(self) -> bool:
        """Whether there is room for another pair. If there is none, forget those that are over."""
        if len(self._pairs) >= PAIRS_MAX and not self.is_crowded:
            self._forget_ended()
            self.is_crowded = len(self._pairs) > PAIRS_MAX // 2  # with less room left this would be done too often
        return len(self._pairs) < PAIRS_MAX

    def _forget_ended(self) -> None:
        """Forget the pairs with which nothing can be opened any more."""
        self._forget_routes()  # they must not outlive their pairs
        for key in list(self._pairs):
            tag, boot, number, own_number, _ = key
            found = self._find_node(tag)
            is_former = found is not None and (boot, number) < (found[0].boot, found[1].key_number)
            if is_former or not self._keys.has(own_number):
                del self._pairs[key]

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
        self._forget_ended()
        self.is_crowded = False


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


def _signed_byte(difference: int) -> int:
    """Return the number from -128 to 127 with the same lowest 8 bits."""
    return (difference + 128 & 0xFF) - 128
