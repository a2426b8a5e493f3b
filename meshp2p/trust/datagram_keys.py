"""Encryption of datagrams between two nodes: X25519 and ChaCha20-Poly1305.

Each node has a current and a next X25519 key, which its signed record publishes. Two nodes derive two keys of their own
from these, one for each direction. A node sends with its current key to the current key of the other, and opens what
was sent to its current key, to its next one and, for a while, to the one before. So a renewal loses no datagram
although the other node hears of it later, except one that the sender's new record overtakes on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["DatagramKeys", "DatagramSecret", "InvalidTag", "NodeOnKey", "PacketCipher", "PairKeys", "X25519Secret"]

_PURPOSE: Final = b"meshp2p/2 dgram"


class PacketCipher(Protocol):
    """Encrypts and authenticates, as ChaCha20-Poly1305 does. Decryption raises ``InvalidTag``."""

    def encrypt(self, nonce: bytes, data: bytes, header: bytes, /) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, header: bytes, /) -> bytes: ...


class DatagramSecret(Protocol):
    """A private key for datagrams, ``public`` its public part."""

    @property
    def public(self) -> bytes: ...
    def derive(self, public: bytes, mesh_id: bytes, purpose: bytes, /) -> tuple[PacketCipher, PacketCipher]:
        """Return two ciphers that the owner of the key ``public`` derives as well. Raises ``ValueError`` if that is no
        key that can be agreed on."""


class X25519Secret:
    """A :class:`DatagramSecret` on X25519; without a ``key``, a new one from the system's randomness."""

    def __init__(self, key: X25519PrivateKey | None = None) -> None:
        self._key = X25519PrivateKey.generate() if key is None else key
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def derive(self, public: bytes, mesh_id: bytes, purpose: bytes) -> tuple[PacketCipher, PacketCipher]:
        """See :class:`DatagramSecret`."""
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(public))
        derived = HKDF(hashes.SHA256(), 64, salt=mesh_id, info=purpose).derive(shared)
        return ChaCha20Poly1305(derived[:32]), ChaCha20Poly1305(derived[32:])


class DatagramKeys:
    """The keys of one process. Numbers count the keys from 0. ``generate`` makes a new one."""

    def __init__(self, generate: Callable[[], DatagramSecret] = X25519Secret) -> None:
        self.number: int = 0
        """That of the current key."""
        self._generate = generate
        self._keys = {0: generate(), 1: generate()}

    def public_keys(self) -> tuple[int, tuple[bytes, ...]]:
        """Return the number of the current key, and the current and the next public key."""
        return self.number, (self._keys[self.number].public, self._keys[self.number + 1].public)

    def renew(self) -> None:
        """Make the next key the current one. The former stays until :meth:`retire`."""
        self.number += 1
        self._keys[self.number + 1] = self._generate()

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
        low, high = sorted((own.encode(), other.encode()))
        from_low, from_high = self._keys[own.number].derive(public, mesh_id, _PURPOSE + low + high)
        return PairKeys(from_low, from_high) if low == own.encode() else PairKeys(from_high, from_low)


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

    def __init__(self, sending: PacketCipher, receiving: PacketCipher) -> None:
        self._sending = sending
        self._receiving = receiving

    def seal(self, counter: int, body: bytes, header: bytes) -> bytes:
        """Encrypt a body, and authenticate the header with it. The result is 16 bytes longer than the body."""
        return self._sending.encrypt(counter.to_bytes(12, "big"), body, header)

    def open(self, counter: int, sealed: bytes, header: bytes) -> bytes | None:
        """Decrypt a body. Return None if this was not sealed by the other node, with this counter and header."""
        try:
            return self._receiving.decrypt(counter.to_bytes(12, "big"), sealed, header)
        except InvalidTag:
            return None
