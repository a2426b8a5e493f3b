"""The frame around every datagram and every call between nodes, and that of a sealed datagram.

::

    offset  bytes
    0       2      magic "m2"
    2       1      version, 2
    3       1      flags, 0
    4       8      mesh tag: BLAKE2b-64 of the mesh's name; two meshes on one LAN never mix
    12      ...    body: MessagePack

A sealed datagram has flag 1, the tag of its sender combined with the mesh tag, and then::

    4       8      mesh tag XOR tag of the sender
    12      1      number of the key of the sender, modulo 256
    13      1      number of the key of the receiver, modulo 256
    14      6      counter
    20      ...    body, encrypted
    ...     16     authentication tag of the body and of the 20 bytes before it

Version and flags are append-only. A receiver refuses and counts a frame whose version or flags it does not know.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from meshp2p.errors import Refusal, RemoteProtocolError

__all__ = [
    "COUNTER_BYTES",
    "FRAME_BYTES",
    "PREFIX_BYTES",
    "SEALED_BYTES",
    "VERSION",
    "SealedHeader",
    "frame_header",
    "mesh_tag",
    "open_frame_untrusted",
]

FRAME_BYTES: Final = 12
SEALED_BYTES: Final = 20
"""The header of a sealed datagram."""
COUNTER_BYTES: Final = 6
PREFIX_BYTES: Final = SEALED_BYTES - COUNTER_BYTES
"""The first bytes of a sealed datagram, which are the same in all from one node to another until a key changes."""
VERSION: Final = 2
_MAGIC: Final = b"m2"
_SEALED: Final = _MAGIC + bytes((VERSION, 1))
_SEAL_BYTES: Final = 16


def mesh_tag(mesh: str) -> bytes:
    """Return the 8 bytes that identify the name of a mesh."""
    return hashlib.blake2b(mesh.encode(), digest_size=8).digest()


def frame_header(tag: bytes) -> bytes:
    """Return the 12 bytes in front of a body."""
    return _MAGIC + bytes((VERSION, 0)) + tag


def open_frame_untrusted(data: bytes, header: bytes) -> memoryview:
    """Return the body of a frame of the mesh whose frames begin with ``header``.

    Raises :class:`RemoteProtocolError` on anything else.
    """
    if data.startswith(header):
        return memoryview(data)[FRAME_BYTES:]
    if len(data) < FRAME_BYTES:
        raise RemoteProtocolError(Refusal.TOO_SHORT, f"{len(data)} bytes: a frame has at least {FRAME_BYTES}")
    if not data.startswith(_MAGIC):
        raise RemoteProtocolError(Refusal.BAD_MAGIC, f"begins with {data[:2]!r}: expected {_MAGIC!r}")
    if data[2] != VERSION:
        raise RemoteProtocolError(Refusal.BAD_VERSION, f"version {data[2]}: expected {VERSION}")
    if data[3] != 0:
        raise RemoteProtocolError(Refusal.BAD_FLAGS, f"flags {data[3]:#04x}: none is known")
    raise RemoteProtocolError(Refusal.OTHER_MESH, f"mesh tag {data[4:12].hex()}: expected {header[4:12].hex()}")


class SealedHeader(NamedTuple):
    """The header of a sealed datagram."""

    sender: int
    """The tag of the sender."""
    sender_key: int
    receiver_key: int
    """The lowest 8 bits of the numbers of both keys."""
    counter: int

    def encode(self, tag: bytes) -> bytes:
        """Encode the header of a datagram in the mesh with this tag."""
        sender = self.sender ^ int.from_bytes(tag, "big")
        return (
            _SEALED
            + sender.to_bytes(8, "big")
            + bytes((self.sender_key, self.receiver_key))
            + self.counter.to_bytes(COUNTER_BYTES, "big")
        )

    @classmethod
    def decode_untrusted(cls, data: bytes, tag: bytes) -> SealedHeader:
        """Decode the header of a datagram in the mesh with this tag. Raises only :class:`RemoteProtocolError`."""
        if not data.startswith(_SEALED):
            open_frame_untrusted(data, frame_header(tag))
            raise RemoteProtocolError(Refusal.NOT_SEALED, "a plain datagram: expected a sealed one")
        if len(data) < SEALED_BYTES + _SEAL_BYTES:
            raise RemoteProtocolError(Refusal.TOO_SHORT, f"{len(data)} bytes: a sealed datagram has more")
        sender = int.from_bytes(data[4:FRAME_BYTES], "big") ^ int.from_bytes(tag, "big")
        return cls(sender, data[12], data[13], int.from_bytes(data[14:SEALED_BYTES], "big"))
