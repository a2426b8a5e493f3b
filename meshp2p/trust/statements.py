"""The statements that a trust map is made of, as members exchange and store them."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.trust.certificates import CERTIFICATE_BYTES_MAX
from meshp2p.trust.revocations import SignedRevocation

__all__ = ["MACHINES_MAX", "REVOCATIONS_MAX", "Statements"]

MACHINES_MAX: Final = 1024
"""Machine certificates in a map. When it is full, further ones are refused. Chosen, not measured."""

REVOCATIONS_MAX: Final = 1024
"""Revocations in a map. When it is full, only the root's and those by admins are accepted; at three times as many, only
the root's. Chosen, not measured."""

_Der = Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]


class Statements(msgspec.Struct, frozen=True, array_like=True):
    """Machine certificates and revocations, in any order."""

    machines: Annotated[tuple[_Der, ...], msgspec.Meta(max_length=MACHINES_MAX)] = ()
    revocations: Annotated[tuple[SignedRevocation, ...], msgspec.Meta(max_length=4 * REVOCATIONS_MAX)] = ()

    def encode(self) -> bytes:
        return _encode(self)

    def without(self, known: Statements) -> Statements:
        """Return the statements that are not in ``known``."""
        machines, revocations = set(known.machines), set(known.revocations)
        return Statements(
            tuple(one for one in self.machines if one not in machines),
            tuple(one for one in self.revocations if one not in revocations),
        )

    @classmethod
    def decode_untrusted(cls, body: bytes) -> Statements:
        """Decode statements without verifying them. Raises :class:`RemoteProtocolError`."""
        try:
            return _decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, f"no statements: {error}") from None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Statements).decode
