"""The frame around every datagram and every call between nodes.

::

    offset  bytes
    0       2      magic "m2"
    2       1      version, 2
    3       1      flags, 0 (bit 0 is kept for a sealed body)
    4       8      mesh tag: BLAKE2b-64 of the mesh's name; two meshes on one LAN never mix
    12      ...    body: MessagePack

Version and flags are append-only: what a receiver does not know it refuses, and counts.
"""

from __future__ import annotations

import hashlib
from typing import Final

from meshp2p.errors import Refusal, RemoteProtocolError

__all__ = ["FRAME_BYTES", "VERSION", "frame_header", "mesh_tag", "open_frame_untrusted"]

FRAME_BYTES: Final = 12
VERSION: Final = 2
_MAGIC: Final = b"m2"


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
