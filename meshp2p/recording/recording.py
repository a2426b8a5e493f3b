"""A recording and its file."""

from __future__ import annotations

import math
import platform
import zlib
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from meshp2p.core.machine import Machine
from meshp2p.core.validity import TIME_MAX
from meshp2p.errors import ConfigError
from meshp2p.version import __version__

__all__ = [
    "FILE_BYTES_MAX",
    "Recording",
    "Segment",
    "dump_recording",
    "is_recording",
    "load_recording",
    "unpack",
]

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest file that is read. A node writes at most a third of it."""

UNPACKED_BYTES_MAX: Final = 64 * 1024 * 1024
"""The most bytes that one compressed part may have. The state of a node with 20,000 members has 8 MB."""

_MAGIC: Final = b"meshp2p recording 2\n"

MACHINE_STATE: Final = ("_state", "_relay_selector", "_swim", "_mail", "_maps", "_lease_clock", "_age")
"""The attributes of a machine."""


class Segment(msgspec.Struct, array_like=True):
    """The state of the machine at a time ``now`` of its clock and ``wall_ms`` of the wall clock, and the inputs after
    it. All parts are compressed."""

    now: float
    wall_ms: Annotated[int, msgspec.Meta(ge=0, le=TIME_MAX)]
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


class _AnyVersion(msgspec.Struct, array_like=True):
    """The beginning of a recording of any version."""

    version: str


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
        msgspec.msgpack.decode(content, type=msgspec.Raw)  # a decoder makes room for what an array announces
        version = msgspec.msgpack.decode(content, type=_AnyVersion).version
        if version != __version__:
            raise ConfigError(
                f"the recording is of meshp2p {version:.40}, and this is {__version__}: replay it with that version"
            )
        recording = msgspec.msgpack.decode(content, type=Recording)
    except ConfigError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"the recording is damaged: {error}") from None
    if not all(math.isfinite(segment.now) for segment in recording.segments):
        raise ConfigError("the recording is damaged: a time is no number")
    return recording


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
