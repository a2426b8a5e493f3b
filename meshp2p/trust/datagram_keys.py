"""Encryption of datagrams between two nodes: X25519 and ChaCha20-Poly1305.

Each node has a current and a next X25519 key, which its signed record publishes. Two nodes derive two keys of their own
from these, one for each direction. A node sends with its current key to the current key of the other, and opens what
was sent to its current key, to its next one and, for a while, to the one before. So a renewal loses no datagram,
although the other node hears of it later.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["DatagramKeys", "NodeOnKey", "PairKeys"]

_PURPOSE: Final = b"meshp2p/2 dgram"


class DatagramKeys:
    """The X25519 keys of one process. Numbers count the keys from 0."""

    def __init__(self) -> None:
        self.number: int = 0
        """That of the current key."""
        self._keys = {0: X25519PrivateKey.generate(), 1: X25519PrivateKey.generate()}

    def public_keys(self) -> tuple[int, tuple[bytes, ...]]:
        """The number of the current key, and the current and the next public key."""
        return self.number, tuple(
            self._keys[number].public_key().public_bytes_raw() for number in (self.number, self.number + 1)
        )

    def renew(self) -> None:
        """Make the next key the current one. The former stays until :meth:`retire`."""
        self.number += 1
        self._keys[self.number + 1] = X25519PrivateKey.generate()

    def retire(self) -> None:
        """Forget all former keys."""
        for number in [number for number in self._keys if number < self.number]:
            del self._keys[number]

    def has(self, number: int) -> bool:
        """Whether the key with this number is open."""
        return number in self._keys

    def agree(self, mesh_id: bytes, own: NodeOnKey, other: NodeOnKey, public: bytes) -> PairKeys:
        """Derive the keys that two nodes share: ``public`` is the key of the other, ``own.number`` that of an open key.
        Raises ``ValueError`` if ``public`` is no key that can be agreed on."""
        shared = self._keys[own.number].exchange(X25519PublicKey.from_public_bytes(public))
        low, high = sorted((own.encode(), other.encode()))
        derived = HKDF(hashes.SHA256(), 64, salt=mesh_id, info=_PURPOSE + low + high).derive(shared)
        is_low = low == own.encode()
        return PairKeys(derived[:32], derived[32:]) if is_low else PairKeys(derived[32:], derived[:32])


class NodeOnKey:
    """One side of a pair: the tag and the boot of a node, and the number of a key of its."""

    __slots__ = ("boot", "number", "tag")

    def __init__(self, tag: int, boot: int, number: int) -> None:
        self.tag: int = tag
        self.boot: int = boot
        self.number: int = number

    def encode(self) -> bytes:
        return b"".join(word.to_bytes(8, "big") for word in (self.tag, self.boot, self.number))


class PairKeys:
    """Encrypts with one key and decrypts with the other. The caller never uses a counter twice for encryption."""

    __slots__ = ("_receiving", "_sending")

    def __init__(self, sending: bytes, receiving: bytes) -> None:
        self._sending = ChaCha20Poly1305(sending)
        self._receiving = ChaCha20Poly1305(receiving)

    def seal(self, counter: int, body: bytes, header: bytes) -> bytes:
        """Encrypt, and authenticate the header with it. The result is 16 bytes longer than the body."""
        return self._sending.encrypt(counter.to_bytes(12, "big"), body, header)

    def open(self, counter: int, sealed: bytes, header: bytes) -> bytes | None:
        """Decrypt. None if this was not sealed by the other node, with this counter and header."""
        try:
            return self._receiving.decrypt(counter.to_bytes(12, "big"), sealed, header)
        except InvalidTag:
            return None
