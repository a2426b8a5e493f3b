"""A recording may come from a stranger: whatever is in it, only the core is built and run, and errors are clear."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from meshp2p.core.directory.counters import Counters
from meshp2p.core.directory.local_health import LocalHealth
from meshp2p.core.directory.patience import Patience
from meshp2p.core.message import Message
from meshp2p.core.record import State
from meshp2p.errors import ConfigError
from meshp2p.recording import recording as recordings
from meshp2p.recording.inputs import NUMBERS, Fillers, decode_chunk
from meshp2p.recording.outside import ReplayedOutside
from meshp2p.recording.reading import StateReader
from meshp2p.recording.recording import Recording, dump_recording, load_recording, new_recording, unpack
from meshp2p.recording.replaying import Replay
from meshp2p.recording.writing import make_cell, make_closure, make_message
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.version import __version__
from tests.recording.recorded_runs import record_run


class Reduced:
    """Is written as what it is given."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __reduce__(self) -> Any:
        return self._parts


def _nested(depth: int, width: int) -> Any:
    """A tuple of tuples of tuples, of which all in one are the same."""
    made: Any = ("x",)
    for _ in range(depth):
        made = (made,) * width
    return made


def read(value: Any) -> Any:
    return StateReader(pickle.dumps(value, protocol=5), ReplayedOutside(), Fillers()).read()


@pytest.fixture(scope="module")
def recording() -> Recording:
    _, processes = record_run(build_schedule("homes", Options(seed=2, nodes=3, duration=40.0)))
    found = processes[0].take()
    assert found is not None
    return found


def test_what_the_core_has_is_read() -> None:
    assert read([Counters(probes=3), {"a": (1, 2.5, None, b"x")}]) == [Counters(probes=3), {"a": (1, 2.5, None, b"x")}]


@pytest.mark.parametrize(
    "hostile",
    [
        Reduced(os.system, ("true",)),
        Reduced(eval, ("1",)),
        Reduced(getattr, (LocalHealth(3), "__init__")),
        Reduced(getattr, (LocalHealth(3), "nothing")),
        Reduced(getattr, ("text", "upper")),
        Reduced(getattr, (LocalHealth, "change")),
        Reduced(LocalHealth, (3,)),
        Reduced(object.__new__, (LocalHealth,)),
        Reduced(random.Random, (3,)),
        Reduced(make_closure, ("os", "system", 1, ())),
        Reduced(make_closure, ("meshp2p.core.machine", "Machine.start", 1, ())),
        Reduced(make_closure, ("meshp2p.net.driver", "Driver.run", 1, ())),
        Reduced(make_cell, (1, 2)),
        Reduced(make_message, (Message, 1 << 40, *range(8))),
        Reduced(make_message, (dict, 1)),
        Reduced(Counters, (), {"probes": 3}),
        Reduced(type, ("Name", (), {})),
        os.getcwd,
        Recording,
        dict.fromkeys,
        Exception("x"),
        Reduced(State, ((1,),)),
        {_nested(40, 1): 1},
        {_nested(3, 200): 1},
        frozenset((_nested(40, 1),)),
        Counters(probes=_nested(40, 1)),
        1 << 5000,
    ],
    ids=range(27),
)
def test_anything_else_is_refused(hostile: Any) -> None:
    with pytest.raises(ConfigError, match="the recording is damaged"):
        read(hostile)


@pytest.mark.parametrize("name", ["__class__", "__bool__"])
def test_the_class_and_the_methods_of_an_object_cannot_be_changed(name: str) -> None:
    honest = object.__new__(Patience)
    vars(honest)["x" * len(name)] = 3
    written = pickle.dumps(honest, protocol=5)
    assert vars(StateReader(written, ReplayedOutside(), Fillers()).read()) == vars(honest)
    with pytest.raises(ConfigError, match="damaged"):
        StateReader(written.replace(b"x" * len(name), name.encode()), ReplayedOutside(), Fillers()).read()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data[:-1], "damaged"),
        (lambda data: data[:40], "damaged"),
        (lambda data: data + b"x", "damaged"),
        (lambda data: b"", "not a recording"),
        (lambda data: data.replace(b"recording 2", b"recording 1", 1), "not a recording of this version"),
        (lambda data: data + bytes(recordings.FILE_BYTES_MAX), "at most"),
    ],
)
def test_a_file_that_is_no_recording_gets_a_clear_error(
    recording: Recording, change: Callable[[bytes], bytes], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        load_recording(change(dump_recording(recording)))


@pytest.mark.parametrize(
    "content",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\x96" + b"\xdf\xff\xff\xff\xff" * 6,
        random.Random(1).randbytes(1000),
        msgspec.msgpack.encode([__version__, "", "", "", "", []]),
        msgspec.msgpack.encode([__version__, "", "", "", "", [[math.nan, 1, b"", []]]]),
        msgspec.msgpack.encode([__version__, "", "", "", "", [[math.inf, 1, b"", []]]]),
        msgspec.msgpack.encode([__version__, "", "", "", "", [[1.0, 1 << 60, b"", []]]]),
        msgspec.msgpack.encode([[__version__]]),
        msgspec.msgpack.encode({__version__: 1}),
        msgspec.msgpack.encode(7),
    ],
    ids=range(11),
)
def test_content_of_another_form_gets_a_clear_error(content: bytes) -> None:
    magic = dump_recording(new_recording("", "", "", ()))[:20]
    with pytest.raises(ConfigError, match=r"the recording is damaged|the recording is of meshp2p"):
        load_recording(magic + content)


@pytest.mark.parametrize(
    "batch",
    [
        ([[99, 0, 0]], []),
        ([[NUMBERS["leave"], 0, 0]], []),
        ([[NUMBERS["leave"], 0, 0, "soon"]], []),
        ([[NUMBERS["leave"], 0, 0, math.nan]], []),
        ([[NUMBERS["request"], 0, 0, 1, ["SendMessage", "a", "b", "", "", b"9" * 30], 1.0]], []),
        ([[NUMBERS["request"], 0, 0, 1, ["SendMessage", "a", "b", "", "", b"x"], 1.0]], []),
        ([[NUMBERS["receive"], 0, 0, [[1]], ["a", 1], 1.0]], []),
        (b"", []),
    ],
    ids=range(8),
)
def test_inputs_that_no_machine_has_get_a_clear_error(recording: Recording, batch: Any) -> None:
    damaged = load_recording(dump_recording(recording))
    encode = msgspec.msgpack.encode
    for chunk in ([encode(batch)], [encode(batch)[:-1]], [b"\xdd\xff\xff\xff\xff"], batch):
        damaged.segments[0].steps = (zlib.compress(encode(chunk)),)
        with pytest.raises(ConfigError, match="the recording is damaged"):
            list(Replay(damaged).run())


def test_a_recording_of_another_version_names_it(recording: Recording) -> None:
    other = msgspec.structs.replace(recording, version="0.0.1")
    with pytest.raises(ConfigError, match=r"of meshp2p 0\.0\.1.*replay it with that version"):
        load_recording(dump_recording(other))


def _load_many(many: bytes) -> None:
    load_recording(b"meshp2p recording 2\n" + many)


def _decode_many(many: bytes) -> None:
    list(decode_chunk(msgspec.msgpack.encode([b"\x92\x90" + many]), Fillers()))


@pytest.mark.parametrize("load", [_load_many, _decode_many])
def test_many_small_objects_are_refused_before_they_are_made(load: Callable[[bytes], None]) -> None:
    count = 2_000_000
    many = b"\xdd" + count.to_bytes(4, "big") + b"\x90" * count  # lists, which take 70 times their bytes
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="damaged"):
            load(many)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * count


def test_a_part_that_unpacks_to_too_much_is_refused() -> None:
    packer = zlib.compressobj()
    block = bytes(1 << 20)
    data = b"".join(packer.compress(block) for _ in range(recordings.UNPACKED_BYTES_MAX // len(block) + 1))
    with pytest.raises(ConfigError, match="too large"):
        unpack(data + packer.flush())


@pytest.mark.parametrize("seed", range(40))
def test_damaged_parts_give_an_error_or_a_difference_and_nothing_else(recording: Recording, seed: int) -> None:
    draw = random.Random(seed)
    damaged = load_recording(dump_recording(recording))
    segment = damaged.segments[0]
    part = bytearray(unpack(segment.state if seed % 2 else segment.steps[0]))
    for _ in range(draw.randrange(1, 4)):
        part[draw.randrange(len(part))] = draw.randrange(256)
    packed = zlib.compress(bytes(part))
    segment.state, segment.steps = (packed, segment.steps) if seed % 2 else (segment.state, (packed,))
    with contextlib.suppress(ConfigError):
        for _ in Replay(damaged).run():
            pass
