"""Keys: ECDSA on P-256, named by the SHA-256 of their public part.

There is one suite. Every signed statement begins with its purpose, so that its signature is not valid for another
purpose.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from meshp2p.errors import Refusal, RemoteProtocolError

__all__ = ["FINGERPRINT_BYTES", "MESH_ID_BYTES", "InvalidSignature", "PrivateKey", "PublicKey", "mesh_id_of"]

FINGERPRINT_BYTES: Final = 32
MESH_ID_BYTES: Final = 16
PUBLIC_KEY_BYTES_MAX: Final = 128
"""The longest encoding of a public key that is read. One of P-256 has 91 bytes."""

_COORDINATE_BYTES: Final = 32
_ALGORITHM: Final = ec.ECDSA(hashes.SHA256())


class PublicKey:
    """A public key. ``spki`` is its SubjectPublicKeyInfo in DER, ``fingerprint`` the SHA-256 of that."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self.key: ec.EllipticCurvePublicKey = key
        self.spki: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.fingerprint: bytes = hashlib.sha256(self.spki).digest()

    @classmethod
    def decode_untrusted(cls, spki: bytes) -> PublicKey:
        """Read a SubjectPublicKeyInfo. Raises :class:`RemoteProtocolError` on anything but a key on P-256 in the one
        encoding that it has here."""
        if len(spki) > PUBLIC_KEY_BYTES_MAX:
            raise RemoteProtocolError(
                Refusal.TOO_LARGE, f"a key of {len(spki)} bytes: expected at most {PUBLIC_KEY_BYTES_MAX}"
            )
        try:
            public = cls.of(serialization.load_der_public_key(spki))
            if public.spki != spki:
                raise ValueError("it is encoded in another way than ours")
            return public
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _refused(f"no public key: {error}") from error

    @classmethod
    def of(cls, key: object) -> PublicKey:
        """Return the public part of a key of the cryptography library. Raises ``ValueError`` if it is not on P-256."""
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("expected a key on P-256")
        return cls(key)

    def verify(self, purpose: bytes, statement: bytes, signature: bytes) -> None:
        """Check a signature of :meth:`PrivateKey.sign`. Raises :class:`RemoteProtocolError`."""
        self.verify_raw(_signed_bytes(purpose, statement), signature, purpose.decode())

    def verify_jws(self, signed: bytes, signature: bytes) -> None:
        """Check a signature of :meth:`PrivateKey.sign_jws`. Raises :class:`RemoteProtocolError`."""
        if len(signature) != 2 * _COORDINATE_BYTES:
            raise _refused(f"a signature of {len(signature)} bytes: expected {2 * _COORDINATE_BYTES}")
        halves = signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:]
        self.verify_raw(signed, encode_dss_signature(*(int.from_bytes(half, "big") for half in halves)), "token")

    def verify_raw(self, signed: bytes, signature: bytes, what: str) -> None:
        """Check the signature of a certificate or a token, which states no purpose. Raises
        :class:`RemoteProtocolError`."""
        try:
            self.key.verify(signature, signed, _ALGORITHM)
        except InvalidSignature:
            raise _refused(f"the signature ({what}) is not by {self.fingerprint.hex()}") from None


class PrivateKey:
    """A private key and its ``public`` part."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.key: ec.EllipticCurvePrivateKey = key
        self.public: PublicKey = PublicKey(key.public_key())

    def __repr__(self) -> str:
        return f"<PrivateKey {self.fingerprint.hex()[:16]}>"

    @classmethod
    def generate(cls) -> PrivateKey:
        """Make a new key from the system's randomness."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> PrivateKey:
        """Read what :meth:`to_pem` wrote. Raises ``ValueError`` on anything else."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (TypeError, ValueError) as error:  # TypeError: it is encrypted
            raise ValueError(f"no private key in PEM: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("expected a private key on P-256")
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the key as unencrypted PKCS #8 in PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def fingerprint(self) -> bytes:
        return self.public.fingerprint

    def sign(self, purpose: bytes, statement: bytes) -> bytes:
        """Sign a statement for one purpose, a short text without a null byte."""
        return self.key.sign(_signed_bytes(purpose, statement), _ALGORITHM)

    def sign_jws(self, signed: bytes) -> bytes:
        """Sign a token, which begins in another way than all statements. The signature is ES256's (RFC 7518 §3.4)."""
        halves = decode_dss_signature(self.key.sign(signed, _ALGORITHM))
        return b"".join(half.to_bytes(_COORDINATE_BYTES, "big") for half in halves)


def mesh_id_of(root: PublicKey) -> bytes:
    """Return the id of the mesh that has this root."""
    return root.fingerprint[:MESH_ID_BYTES]


def _signed_bytes(purpose: bytes, statement: bytes) -> bytes:
    return b"meshp2p/2 " + purpose + b"\0" + statement


def _refused(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(Refusal.UNTRUSTED, why)
