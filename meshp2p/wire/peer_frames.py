"""The frames of a connection between two nodes.

::

    preamble   magic d7 6d 32, version, mesh tag (8 bytes): what each side sends first, once
    frame      length (4 bytes, big-endian), then so many bytes of MessagePack: one of the arrays below

The preamble's first byte begins neither TLS (16) nor HTTP (ASCII), so one port serves all three.
"""

import enum
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.frame import VERSION

__all__ = [
    "CHUNK_BYTES_MAX",
    "FRAME_BYTES_MAX",
    "LAST",
    "PART_END",
    "PEER_MAGIC",
    "PREAMBLE_BYTES",
    "CallKind",
    "DataFrame",
    "FrameReader",
    "GoodbyeFrame",
    "KeepAliveFrame",
    "OpenFrame",
    "PeerFrame",
    "PeerHello",
    "ResetFrame",
    "ResetReason",
    "WindowFrame",
    "decode_frame_untrusted",
    "encode_frame",
    "open_preamble_untrusted",
    "preamble",
]

PEER_MAGIC: Final = b"\xd7m2"
PREAMBLE_BYTES: Final = 12

CHUNK_BYTES_MAX: Final = 64 * 1024
"""The maximum number of bytes of one call in one frame. Bytes behind a large message wait for one chunk of it."""

FRAME_BYTES_MAX: Final = CHUNK_BYTES_MAX + 1024
"""The largest frame: a chunk, two ids and the numbers beside them."""

PART_END: Final = 1
"""Flag: the part ends with this chunk."""
LAST: Final = 2
"""Flag: nothing follows in this direction of the call."""

_Word = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Flags = Annotated[int, msgspec.Meta(ge=0, le=PART_END | LAST)]
_Chunk = Annotated[bytes, msgspec.Meta(max_length=CHUNK_BYTES_MAX)]
_Name = Annotated[str, msgspec.Meta(max_length=ID_BYTES_MAX)]


class CallKind(enum.IntEnum):
    """The content of a call."""

    MESSAGE = 0
    """The body and the only part of the reply are frames of :class:`~meshp2p.wire.codec.Codec`."""
    WATCH = 1
    """The body is a Probe, and the first part of the reply is a Pong. The reply ends when the node has left."""
    QUERY = 2
    """Opaque bytes, answered in any number of parts."""
    DIAL_BACK = 3
    """The body is a port number (2 bytes, big-endian). The receiver connects to that port at the address that this
    connection comes from, and sends a datagram there. The reply is one part: empty if it could connect, else the reason
    in UTF-8."""
    TRUST = 4
    """In a secured mesh, the body and the only part of the reply are updates of the trust map."""


class ResetReason(enum.IntEnum):
    """The reason why one side ended a call early. For values below 16 the target has not seen the call."""

    NOT_TAKEN = 1
    """The connection is closing: open the call on another one."""
    BUSY = 2
    """A limit of the receiver is reached."""
    NO_PATH = 3
    """The relay has no connection to the target and could not open one."""
    CANCELLED = 16
    """The asker no longer waits."""
    REFUSED = 17
    """The receiver could not decode the body."""
    FAILED = 18
    """Serving the call failed."""
    LOST = 19
    """The relay's connection to the target broke."""

    @property
    def is_unseen(self) -> bool:
        """Return whether the target has certainly not seen the call."""
        return self < ResetReason.CANCELLED


class PeerHello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The first frame of each side: the id of its node, and the boot of its process. An empty id means that it is no
    node."""

    id: _Name
    boot: _Word


class OpenFrame(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A new call, with the first chunk of its body. The dialler numbers its calls 1, 3, 5 ..., the other side 2, 4, 6.

    ``seconds`` is how long the asker waits for the reply, 0 if unknown. If there is a ``target``, the receiver relays
    the call to that node. A relayed call names the asker as ``source``.
    """

    call: _Word
    kind: CallKind
    flags: _Flags
    data: _Chunk
    seconds: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0
    target: _Name = ""
    source: _Name = ""


class DataFrame(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Another chunk of a body, or a chunk of a reply."""

    call: _Word
    flags: _Flags
    data: _Chunk


class WindowFrame(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The receiver of a call's bytes accepts this many more."""

    call: _Word
    count: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]


class ResetFrame(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The call is over, in both directions."""

    call: _Word
    reason: ResetReason
    message: Annotated[str, msgspec.Meta(max_length=1024)] = ""


class KeepAliveFrame(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A question whether the other side is alive, or its answer."""

    is_answer: bool


class GoodbyeFrame(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The sender opens no more calls on this connection and accepts none. When no call is left, both sides close it."""


PeerFrame = PeerHello | OpenFrame | DataFrame | WindowFrame | ResetFrame | KeepAliveFrame | GoodbyeFrame

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(PeerFrame).decode


def preamble(tag: bytes) -> bytes:
    """Return the first bytes of each connection of the mesh with this tag."""
    return PEER_MAGIC + bytes((VERSION,)) + tag


def open_preamble_untrusted(data: bytes, tag: bytes) -> None:
    """Check the first ``PREAMBLE_BYTES`` of a connection. Raises :class:`RemoteProtocolError`."""
    if not data.startswith(PEER_MAGIC):
        raise RemoteProtocolError(Refusal.BAD_MAGIC, f"begins with {data[:3]!r}: expected {PEER_MAGIC!r}")
    if data[3] != VERSION:
        raise RemoteProtocolError(Refusal.BAD_VERSION, f"version {data[3]}: expected {VERSION}")
    if data[4:] != tag:
        raise RemoteProtocolError(Refusal.OTHER_MESH, f"mesh tag {data[4:].hex()}: expected {tag.hex()}")


def encode_frame(frame: PeerFrame) -> bytes:
    """Encode a frame with its length."""
    body = _encode(frame)
    return len(body).to_bytes(4, "big") + body


def decode_frame_untrusted(body: bytes) -> PeerFrame:
    """Decode a frame without its length. Raises only :class:`RemoteProtocolError`."""
    try:
        frame: PeerFrame = _decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
        raise RemoteProtocolError(Refusal.BAD_SHAPE, f"no frame of a peer: {error}") from None
    match frame:
        case PeerHello(id=name) | OpenFrame(target=name, source="") | OpenFrame(target="", source=name):
            if len(name) * 4 > ID_BYTES_MAX and len(name.encode()) > ID_BYTES_MAX:
                raise RemoteProtocolError(Refusal.BAD_VALUE, f"an id is longer than {ID_BYTES_MAX} bytes")
        case OpenFrame():
            raise RemoteProtocolError(Refusal.BAD_VALUE, "a call that was passed on is not passed on again")
        case _:
            pass
    return frame


class FrameReader:
    """Decodes the preamble and the frames of a connection of the mesh with this tag, from bytes in any pieces."""

    def __init__(self, tag: bytes) -> None:
        self._tag = tag
        self._incoming = b""
        self._has_preamble = False

    def read_untrusted(self, data: bytes | bytearray) -> Iterator[PeerFrame]:
        """Yield the frames that these bytes complete. Raises only :class:`RemoteProtocolError`."""
        incoming = self._incoming + data if self._incoming else bytes(data)
        at = 0
        if not self._has_preamble and len(incoming) >= PREAMBLE_BYTES:
            open_preamble_untrusted(incoming[:PREAMBLE_BYTES], self._tag)
            self._has_preamble = True
            at = PREAMBLE_BYTES
        while self._has_preamble and len(incoming) - at >= 4:
            size = int.from_bytes(incoming[at : at + 4], "big")
            if size > FRAME_BYTES_MAX:
                raise RemoteProtocolError(Refusal.TOO_LARGE, f"a frame of {size} bytes: at most {FRAME_BYTES_MAX}")
            if len(incoming) - at - 4 < size:
                break
            yield decode_frame_untrusted(incoming[at + 4 : at + 4 + size])
            at += 4 + size
        self._incoming = incoming[at:]
