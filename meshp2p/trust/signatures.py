"""Signatures over what nodes publish: records and rumours.

A record is signed with the key of the machine on which its home runs. Every member has the certificates of all machines
in its trust map, so nobody needs the certificate of a process to verify a record. A rumour is signed with the key of
the machine of its author.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from meshp2p.core.record import Proof, Record, Rumour, SignedRecord, SignedRumour, State
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.trust_map import TrustMap

__all__ = ["ClaimSigner", "ClaimVerifier"]

VERIFIED_MAX: Final = 8192
"""Claims that are remembered as verified. Chosen, not measured."""

_RECORD: Final = b"record"
_RUMOUR: Final = b"rumour"

_encode: Final = msgspec.msgpack.Encoder().encode


class ClaimSigner:
    """Signs the claims of one node; a :class:`~meshp2p.core.directory.state.Signer`.

    ``public_keys`` returns the number of the node's current key for datagrams, and the current and the next one.
    ``may_use`` says whether the machine may use an id.
    """

    def __init__(
        self,
        key: PrivateKey,
        mesh_id: bytes,
        public_keys: Callable[[], tuple[int, tuple[bytes, ...]]],
        may_use: Callable[[str], bool],
    ) -> None:
        self._key = key
        self._mesh_id = mesh_id
        self._public_keys = public_keys
        self._may_use = may_use

    def may_sign(self, instance_id: str) -> bool:
        """See :class:`~meshp2p.core.directory.state.Signer`."""
        return self._may_use(instance_id)

    def sign_record(self, record: Record) -> SignedRecord:
        """See :class:`~meshp2p.core.directory.state.Signer`."""
        number, keys = self._public_keys() if record.is_node else (0, ())
        proof = Proof(self._key.fingerprint, b"", number, keys)
        signed = SignedRecord(**{field: getattr(record, field) for field in Record.__struct_fields__}, proof=proof)
        signature = self._key.sign(_RECORD, _record_statement(self._mesh_id, signed))
        return msgspec.structs.replace(signed, proof=msgspec.structs.replace(proof, signature=signature))

    def sign_rumour(self, rumour: Rumour) -> SignedRumour:
        """See :class:`~meshp2p.core.directory.state.Signer`."""
        signed = SignedRumour(rumour.id, rumour.incarnation, rumour.state, rumour.by, rumour.is_refused)
        return msgspec.structs.replace(
            signed, signature=self._key.sign(_RUMOUR, _rumour_statement(self._mesh_id, signed))
        )


class ClaimVerifier:
    """Verifies each claim once, as long as it is remembered. Whether a machine is trusted is asked each time."""

    def __init__(self, trust: TrustMap) -> None:
        self._trust = trust
        self._verified: collections.OrderedDict[bytes, None] = collections.OrderedDict()

    def verify_record(self, record: SignedRecord) -> None:
        """Check that the owner of a record is trusted, may use its id and that of its home, and signed it.
        Raises :class:`RemoteProtocolError`, for a machine that is not in the trust map with ``UNKNOWN``."""
        proof = record.proof
        public = self._trust.verify_user(proof.owner, record.home, record.id)
        if bool(proof.keys) != record.is_node or len(proof.keys) not in (0, 2):
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"record of {record.id!r}: a node has two keys, others none")
        statement = _record_statement(self._mesh_id, record)
        digest = hashlib.sha256(proof.owner + proof.signature + statement).digest()
        if not self._is_known(digest):
            public.verify(_RECORD, statement, proof.signature)
            self._remember(digest)

    def verify_rumour(self, rumour: SignedRumour, owner: bytes, admit: Callable[[], bool]) -> None:
        """Check that this machine, which is that of the author, is trusted and signed a rumour. ``admit()`` is asked
        whether one that is not known yet is taken. Raises :class:`RemoteProtocolError`."""
        public = self._trust.verify_user(owner, rumour.by)
        statement = _rumour_statement(self._mesh_id, rumour)
        digest = hashlib.sha256(owner + rumour.signature + statement).digest()
        if not self._is_known(digest):
            public.verify(_RUMOUR, statement, rumour.signature)
            if not admit():
                raise RemoteProtocolError(Refusal.TOO_MANY, f"{rumour.by!r} accuses too many")
            self._remember(digest)

    @property
    def _mesh_id(self) -> bytes:
        return self._trust.mesh_id

    def _is_known(self, digest: bytes) -> bool:
        if digest not in self._verified:
            return False
        self._verified.move_to_end(digest)
        return True

    def _remember(self, digest: bytes) -> None:
        self._verified[digest] = None
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)


def _record_statement(mesh_id: bytes, record: SignedRecord) -> bytes:
    """Return the encoding of a record without its signature, as alive: others may hold it as suspect."""
    proof = msgspec.structs.replace(record.proof, signature=b"")
    return mesh_id + _encode(msgspec.structs.replace(record, state=State.ALIVE, proof=proof))


def _rumour_statement(mesh_id: bytes, rumour: SignedRumour) -> bytes:
    return mesh_id + _encode(msgspec.structs.replace(rumour, signature=b""))
