"""Messages about machines between two nodes: at the start of a TLS connection, and when a trust map has grown.

TLS shows only the certificate of the other agent. The first message contains the machine certificates above it, and the
digest of the sender's map. If the digests differ, both sides send their maps.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, Final

import msgspec

from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.trust.certificates import CERTIFICATE_BYTES_MAX, AgentRole
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.known_agents import KnownAgents
from meshp2p.trust.machines import CHAIN_MAX
from meshp2p.trust.statements import Statements

__all__ = ["INTRODUCTION_BYTES_MAX", "Introduction", "IntroductionStep", "TrustUpdate", "introduce"]

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
        """Decode one. Raises :class:`RemoteProtocolError`."""
        try:
            return _decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, f"no introduction: {error}") from None

    def encode(self) -> bytes:
        return _encode(self)


class IntroductionStep(msgspec.Struct, frozen=True):
    """Send ``body``, and receive a message of at most ``bytes_max`` bytes; none is received if that is 0."""

    body: bytes
    bytes_max: int = 0


def introduce(
    credential: MachineCredential, leaf: bytes, agents: KnownAgents
) -> Generator[IntroductionStep, bytes, tuple[bytes, AgentRole]]:
    """Yield the steps of one side of an introduction. Each received message is sent to the generator.

    ``leaf`` is the certificate that the other side has shown. Returns its machine and its role. Raises
    :class:`RemoteProtocolError` if it is refused. Either may have added to the trust map.
    """
    trust = credential.trust
    own = Introduction.of(credential)
    other = Introduction.decode_untrusted((yield IntroductionStep(own.encode(), INTRODUCTION_BYTES_MAX)))
    certificate = credential.root.decode_untrusted(leaf)
    trust.merge_untrusted(Statements(other.chain))
    if other.digest != own.digest:
        try:
            trust.verify_agent(certificate)  # only members are sent the map, and only theirs is read
        except RemoteProtocolError as error:
            if error.reason is Refusal.REVOKED:
                yield IntroductionStep(trust.evidence_against(certificate.issuer).encode())
            raise
        body = yield IntroductionStep(trust.statements().encode(), STATEMENTS_BYTES_MAX)
        trust.merge_untrusted(Statements.decode_untrusted(body))
    role = trust.verify_agent(certificate)
    agents.meet(certificate.issuer, role)
    return certificate.issuer, role


class TrustUpdate(msgspec.Struct, frozen=True, array_like=True):
    """The digest of the sender's trust map, and statements of it."""

    digest: _Digest
    statements: Statements = Statements()

    @classmethod
    def decode_untrusted(cls, body: bytes) -> TrustUpdate:
        """Decode one. Raises :class:`RemoteProtocolError`."""
        try:
            return _decode_update(body)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, f"no update of a trust map: {error}") from None

    def encode(self) -> bytes:
        return _encode(self)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Introduction).decode
_decode_update: Final = msgspec.msgpack.Decoder(TrustUpdate).decode
