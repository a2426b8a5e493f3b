"""Stand-ins for cryptography: they need no secrets, and give the same bytes in each run.

A signature is a hash of the public key and of what is signed, and a sealed datagram is plain with such a hash at its
end. Anybody could compute them. No attacker of the simulator does: it has only the keys that it is given.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any, Final, cast

import msgspec

from meshp2p.trust.certificates import AgentRole, Certificate, MachineRole, RootRole
from meshp2p.trust.datagram_keys import InvalidTag
from meshp2p.trust.keys import InvalidSignature, PrivateKey, PublicKey

__all__ = ["NominalCertificate", "NominalSecret", "make_key"]

_SIGNATURE_BYTES: Final = 71
"""The usual length of a signature by ECDSA on P-256 in DER."""


def _hash(*parts: bytes, size: int = 64) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=size).digest()


class _Verifier:
    """Stands for ``EllipticCurvePublicKey``."""

    def __init__(self, spki: bytes) -> None:
        self._spki = spki

    def public_bytes(self, _encoding: object, _format: object) -> bytes:
        return self._spki

    def signature_of(self, data: bytes) -> bytes:
        return _hash(self._spki, data).ljust(_SIGNATURE_BYTES, b"=")

    def verify(self, signature: bytes, data: bytes, _algorithm: object) -> None:
        if signature != self.signature_of(data):
            raise InvalidSignature


class _Signer:
    """Stands for ``EllipticCurvePrivateKey``."""

    def __init__(self, spki: bytes) -> None:
        self._public = _Verifier(spki)

    def public_key(self) -> _Verifier:
        return self._public

    def sign(self, data: bytes, _algorithm: object) -> bytes:
        return self._public.signature_of(data)


def make_key(name: str) -> PrivateKey:
    """Return the key with this name."""
    return PrivateKey(cast("Any", _Signer(b"key " + name.encode())))


_Role = RootRole | MachineRole | AgentRole


class _Content(msgspec.Struct, frozen=True, array_like=True):
    spki: bytes
    issuer: bytes
    role: _Role
    signature: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Content).decode


class NominalCertificate(Certificate):
    """A certificate that is not X.509."""

    _content: _Content

    @classmethod
    def issue(cls, public: PublicKey, issuer: PrivateKey, role: _Role) -> Certificate:
        """Return a certificate that this key has signed, whether it has the right to that or not."""
        content = _Content(public.spki, issuer.fingerprint, role, b"")
        signed = msgspec.structs.replace(content, signature=issuer.key.sign(_encode(content), cast("Any", None)))
        return cls.decode_untrusted(_encode(signed))

    @classmethod
    def renamed(cls, certificate: Certificate, issuer: bytes) -> Certificate:
        """Return the certificate with another issuer's name, which has not signed it."""
        content = _decode(certificate.der)
        return cls.decode_untrusted(_encode(msgspec.structs.replace(content, issuer=issuer)))

    @classmethod
    def _read(cls, der: bytes) -> Certificate:
        content = _decode(der)
        public = PublicKey(cast("Any", _Verifier(content.spki)))
        certificate = cls(der, public, content.issuer, content.role, cast("Any", None))
        certificate._content = content
        return certificate

    def _verify_signature(self, issuer: PublicKey) -> None:
        unsigned = msgspec.structs.replace(self._content, signature=b"")
        issuer.verify_raw(_encode(unsigned), self._content.signature, "certificate")


class _PlainCipher:
    """Stands for ``ChaCha20Poly1305``."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        return data + _hash(self._key, nonce, header, data, size=16)

    def decrypt(self, nonce: bytes, data: bytes, header: bytes) -> bytes:
        plain = data[:-16]
        if self.encrypt(nonce, plain, header) != data:
            raise InvalidTag
        return plain


class NominalSecret:
    """A key for datagrams; a :class:`~meshp2p.trust.datagram_keys.DatagramSecret`."""

    def __init__(self, draw: random.Random) -> None:
        self.public: bytes = draw.randbytes(32)

    def derive(self, public: bytes, mesh_id: bytes, purpose: bytes) -> tuple[_PlainCipher, _PlainCipher]:
        """Return the ciphers for both directions."""
        shared = _hash(*sorted((self.public, public)), mesh_id, purpose)
        return _PlainCipher(shared[:32]), _PlainCipher(shared[32:])
