"""A recording and its file."""

from __future__ import annotations

import platform
import zlib
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from meshp2p.core.machine import Machine
from meshp2p.errors import ConfigError
from meshp2p.version import __version__

__all__ = [
    "FILE_BYTES_MAX",
    "INPUTS",
    "Recording",
    "Segment",
    "dump_recording",
    "is_recording",
    "load_recording",
    "unpack",
]

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest file that is read. A node writes at most a third of it."""

UNPACKED_BYTES_MAX: Final = 256 * 1024 * 1024
"""The most bytes that one compressed part may have. Chosen, not measured."""

_MAGIC: Final = b"meshp2p recording 1\n"

INPUTS: Final = {
    "abandon": -1,
    "expel": 1,
    "first_route": 1,
    "handle_timeouts": 0,
    "leave": 0,
    "note_route": 3,
    "offer": 3,
    "open_map": 2,
    "readdress": 1,
    "rebuild": 0,
    "receive": 2,
    "receive_call": 1,
    "receive_persisted": 1,
    "receive_reply": 2,
    "receive_stored": 2,
    "receive_watch": 2,
    "register": 1,
    "report": 2,
    "republish": 0,
    "request": 2,
    "routes": 1,
    "start": 0,
    "write_map": 3,
}
"""The methods of a machine that change it, and the place of ``now`` among their arguments, -1 if they have none."""

MACHINE_STATE: Final = ("_state", "_relay_selector", "_swim", "_mail", "_maps", "_lease_clock", "_age")
"""The attributes of a machine."""


class Segment(msgspec.Struct, array_like=True):
    """The state of the machine at a time ``now`` of its clock and ``wall_ms`` of the wall clock, and the inputs after
    it. All parts are compressed."""

    now: float
    wall_ms: int
    state: bytes
    steps: tuple[bytes, ...] = ()


class Recording(msgspec.Struct, array_like=True):
    """What a machine went through. The last segment has no inputs: it is the state at the end.

    ``node_id`` is the id of the node, ``mesh`` the name of its mesh, and ``reason`` why the recording was written.
    """

    version: str
    python: str
    node_id: str
    mesh: str
    reason: str
    segments: Annotated[tuple[Segment, ...], msgspec.Meta(min_length=1)]


def new_recording(node_id: str, mesh: str, reason: str, segments: Iterable[Segment]) -> Recording:
    """Return a recording of this version."""
    return Recording(__version__, platform.python_version(), node_id, mesh, reason, tuple(segments))


def dump_recording(recording: Recording) -> bytes:
    """Return the content of a file."""
    return _MAGIC + msgspec.msgpack.encode(recording)


def is_recording(data: bytes) -> bool:
    """Return whether this is the beginning of a recording of any version."""
    return data.startswith(_MAGIC[:18])


def load_recording(data: bytes) -> Recording:
    """Parse the content of a file. Raises :class:`ConfigError` if it is damaged, or of another version of meshp2p."""
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"the recording has {len(data):,} bytes: at most {FILE_BYTES_MAX:,} are read")
    if not data.startswith(_MAGIC):
        raise ConfigError("not a recording of this version of meshp2p")
    content = memoryview(data)[len(_MAGIC) :]
    try:
        version, *_ = msgspec.msgpack.decode(content)
        if version != __version__:
            raise ConfigError(
                f"the recording is of meshp2p {version!s:.40}, and this is {__version__}: replay it with that version"
            )
        return msgspec.msgpack.decode(content, type=Recording)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the recording is damaged: {error}") from None


def pack(data: bytes) -> bytes:
    """Compress a part."""
    return zlib.compress(data, 1)


def unpack(data: bytes) -> bytes:
    """Return a part. Raises :class:`ConfigError` if it is damaged or too large."""
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(data, UNPACKED_BYTES_MAX)
    except zlib.error as error:
        raise ConfigError(f"the recording is damaged: {error}") from None
    if not stream.eof:
        raise ConfigError("the recording is damaged: a part is cut off, or too large")
    return unpacked


def attributes_of(machine: Machine) -> dict[str, object]:
    """Return the state of a machine."""
    return {name: getattr(machine, name) for name in MACHINE_STATE}
