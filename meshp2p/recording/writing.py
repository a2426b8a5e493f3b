"""Writes the state of a machine as bytes, without the payloads of messages and the values of shared maps.

The format is that of :mod:`pickle`, whose writer is fast enough to run in a node. Only :mod:`meshp2p.recording.reading`
reads it, never ``pickle`` itself: a recording may come from a stranger.
"""

from __future__ import annotations

import io
import pickle
from array import array
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any, Final

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import Put
from meshp2p.core.events import MapChanged
from meshp2p.core.map_calls import MapSync
from meshp2p.core.map_entry import MapEntry, Stamp
from meshp2p.core.message import Message
from meshp2p.core.requests import SendMessage
from meshp2p.errors import InternalError
from meshp2p.recording.maps import RecordedMap
from meshp2p.recording.outside import RecordedOutside

__all__ = ["MAKERS", "StateWriter"]


class StateWriter(pickle.Pickler):
    """Writes one object."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        super().__init__(self._buffer, protocol=5)

    def getvalue(self) -> bytes:
        return self._buffer.getvalue()

    def reducer_override(self, obj: Any) -> Any:
        reduce = _REDUCERS.get(type(obj))
        return NotImplemented if reduce is None else reduce(self, obj)

    def _reduce_function(self, function: FunctionType) -> Any:
        if "<locals>" not in function.__qualname__:
            return NotImplemented
        if function.__defaults__ or function.__kwdefaults__:
            raise InternalError(f"{function.__qualname__} is in the state of the machine and has default values")
        name, line = function.__qualname__, function.__code__.co_firstlineno
        return make_closure, (function.__module__, name, line, function.__closure__ or ())

    def _reduce_cell(self, cell: CellType) -> Any:
        try:
            return make_cell, (), (cell.cell_contents,)
        except ValueError:  # it is empty
            return make_cell, ()

    def _reduce_payload(self, message: Message | SendMessage) -> Any:
        values = [getattr(message, name) for name in message.__struct_fields__ if name != "payload"]
        return make_message, (type(message), len(message.payload), *values)

    def _reduce_map(self, replica: RecordedMap) -> Any:
        return make_map, replica.recorded()

    def _reduce_entry(self, entry: MapEntry) -> Any:
        return make_entry, (entry.key, entry.stamp, len(entry.value))

    def _reduce_change(self, change: MapChanged) -> Any:
        return MapChanged, (change.name, change.key, b"")  # nobody reads it again

    def _reduce_sync(self, sync: MapSync) -> Any:
        return MapSync, (sync.name, sync.sender, sync.clock_ms, b"")

    def _reduce_put(self, put: Put) -> Any:
        return Put, (put.table, put.key, b"")  # the machine that writes a message to disk does not read it again

    def _reduce_config(self, config: ProtocolConfig) -> Any:
        return make_config, (msgspec.structs.asdict(config),)

    def _reduce_numbers(self, numbers: array[float] | bytearray) -> Any:
        return make_numbers, (numbers.typecode if isinstance(numbers, array) else "", list(numbers))

    def _reduce_outside(self, _outside: RecordedOutside) -> Any:
        return make_outside, ()


_REDUCERS: Final[dict[type, Callable[[StateWriter, Any], Any]]] = {
    FunctionType: StateWriter._reduce_function,
    CellType: StateWriter._reduce_cell,
    Message: StateWriter._reduce_payload,
    SendMessage: StateWriter._reduce_payload,
    RecordedMap: StateWriter._reduce_map,
    MapEntry: StateWriter._reduce_entry,
    MapChanged: StateWriter._reduce_change,
    MapSync: StateWriter._reduce_sync,
    Put: StateWriter._reduce_put,
    ProtocolConfig: StateWriter._reduce_config,
    array: StateWriter._reduce_numbers,
    bytearray: StateWriter._reduce_numbers,
    RecordedOutside: StateWriter._reduce_outside,
}


# The names of what only the reader can make. In a recording they stand for its methods.


def make_closure(module: str, name: str, line: int, cells: tuple[CellType, ...]) -> FunctionType:
    """A function that was defined inside another one, by its place in the source and what it refers to."""
    raise NotImplementedError


def make_cell() -> CellType:
    """A variable that a function refers to."""
    raise NotImplementedError


def make_message(kind: type, payload_bytes: int, *values: object) -> Message | SendMessage:
    """A message with a payload of so many bytes."""
    raise NotImplementedError


def make_map(name: str, entries: list[tuple[str, Stamp, int]], deleted: list[str]) -> RecordedMap:
    """A replica of a shared map, with the sizes of its values."""
    raise NotImplementedError


def make_entry(key: str, stamp: Stamp, value_bytes: int) -> MapEntry:
    """An entry of a shared map, with a value of so many bytes."""
    raise NotImplementedError


def make_config(values: dict[str, object]) -> ProtocolConfig:
    """The configuration of the protocol."""
    raise NotImplementedError


def make_numbers(typecode: str, values: list[float]) -> array[float] | bytearray:
    """An array of numbers of this type, or a bytearray if the type is empty."""
    raise NotImplementedError


def make_outside() -> RecordedOutside:
    """The surroundings of the machine."""
    raise NotImplementedError


MAKERS: Final = (
    make_closure,
    make_cell,
    make_message,
    make_map,
    make_entry,
    make_config,
    make_numbers,
    make_outside,
)
