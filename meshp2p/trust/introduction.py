"""Messages about machines between two nodes: at the start of a TLS connection, and when a trust map has grown.

TLS shows only the certificate of the other agent. The first message contains the machine certificates above it, and the
digest of the sender's map. If the digests differ, both sides send their maps.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.trust.certificates import CERTIFICATE_BYTES_MAX
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.statements import Statements
from meshp2p.trust.trust_map import CHAIN_MAX

__all__ = ["INTRODUCTION_BYTES_MAX", "STATEMENTS_BYTES_MAX", "Introduction", "TrustUpdate"]

INTRODUCTION_BYTES_MAX: Final = CHAIN_MAX * (CERTIFICATE_BYTES_MAX + 8) + 64
STATEMENTS_BYTES_MAX: Final = 16 << 20
"""The longest trust map that is read from a member."""

_Der = Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]
_Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Introduction(msgspec.Struct, frozen=True, array_like=True):
    """The machine certificates above an agent's, its own machine's first, and the digest of its trust map."""

    chain: Annotated[tuple[_Der, ...], msgspec.Meta(max_length=CHAIN_MAX)]
    digest: _Digest

    @classmethod
    def of(cls, credential: MachineCredential) -> Introduction:
        chain = tuple(certificate.der for certificate in credential.machine.chain)
        return cls(chain, credential.trust.digest())

    @classmethod
    def decode_untrusted(cls, body: bytes) -> Introduction:
        """Raises :class:`RemoteProtocolError`."""
        try:
            return _decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, f"no introduction: {error}") from None

    def encode(self) -> bytes:
        return _encode(self)


class TrustUpdate(msgspec.Struct, frozen=True, array_like=True):
    """The digest of the sender's trust map, and statements of it."""

    digest: _Digest
    statements: Statements = Statements()

    @classmethod
    def decode_untrusted(cls, body: bytes) -> TrustUpdate:
        """Raises :class:`RemoteProtocolError`."""
        try:
            return _decode_update(body)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, f"no update of a trust map: {error}") from None

    def encode(self) -> bytes:
        return _encode(self)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Introduction).decode
_decode_update: Final = msgspec.msgpack.Decoder(TrustUpdate).decode
