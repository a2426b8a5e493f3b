"""Revocations: signed statements that a machine credential, or one agent or token of it, is not trusted any more."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.trust.keys import FINGERPRINT_BYTES, MESH_ID_BYTES, PrivateKey, PublicKey

__all__ = ["KEPT_MAX", "TOKEN_CHARACTERS_MAX", "Revocation", "SignedRevocation"]

KEPT_MAX: Final = 256
"""Machines that one revocation keeps. Chosen, not measured."""

TOKEN_CHARACTERS_MAX: Final = 64
"""The longest id of a token. Chosen, not measured."""

_PURPOSE: Final = b"revocation"

_MeshId = Annotated[bytes, msgspec.Meta(min_length=MESH_ID_BYTES, max_length=MESH_ID_BYTES)]
_Fingerprint = Annotated[bytes, msgspec.Meta(min_length=FINGERPRINT_BYTES, max_length=FINGERPRINT_BYTES)]


class Revocation(msgspec.Struct, frozen=True, array_like=True):
    """``author`` revokes ``target``. Both are fingerprints of keys.

    With neither ``agent`` nor ``token`` this revokes the machine credential ``target``, what it signed, and the
    machines that it invited, except those that are ``kept``. Otherwise it revokes only the agent with this id on that
    machine, or the token with this id that the machine signed.
    """

    mesh: _MeshId
    target: _Fingerprint
    author: _Fingerprint
    agent: Annotated[str, msgspec.Meta(max_length=ID_BYTES_MAX)] = ""
    kept: Annotated[tuple[_Fingerprint, ...], msgspec.Meta(max_length=KEPT_MAX)] = ()
    token: Annotated[str, msgspec.Meta(max_length=TOKEN_CHARACTERS_MAX)] = ""

    @property
    def is_of_machine(self) -> bool:
        """Whether this revokes the machine itself."""
        return not self.agent and not self.token


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Revocation).decode


class SignedRevocation(msgspec.Struct, frozen=True, array_like=True):
    """The encoded revocation, and the signature of its author over it."""

    body: Annotated[bytes, msgspec.Meta(max_length=(FINGERPRINT_BYTES + 2) * (KEPT_MAX + 32))]
    signature: Annotated[bytes, msgspec.Meta(max_length=80)]

    @classmethod
    def sign(cls, revocation: Revocation, author: PrivateKey) -> SignedRevocation:
        body = _encode(revocation)
        return cls(body, author.sign(_PURPOSE, body))

    def decode_untrusted(self) -> Revocation:
        """Read it, without checking the signature. Raises :class:`RemoteProtocolError` on anything but the one encoding
        that a revocation has."""
        try:
            revocation = _decode(self.body)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, f"no revocation: {error}") from None
        if _encode(revocation) != self.body:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, "a revocation is encoded in another way than ours")
        return revocation

    def verify(self, author: PublicKey) -> None:
        """Check the signature. Raises :class:`RemoteProtocolError`."""
        author.verify(_PURPOSE, self.body, self.signature)
