"""Compares two objects of the core with everything that they refer to."""

from __future__ import annotations

import collections
import enum
import math
from array import array
from types import CellType, FunctionType, MethodType
from typing import Any, Final

import msgspec

from meshp2p.core.effects import Put
from meshp2p.core.events import MapChanged
from meshp2p.core.map_calls import MapSync
from meshp2p.core.map_entry import MapEntry
from meshp2p.core.maps.replicated_map import ReplicatedMap
from meshp2p.core.message import Message
from meshp2p.core.requests import SendMessage
from meshp2p.recording.outside import Outside

__all__ = ["first_difference"]

_PLAIN: Final = (int, float, str, bytes, bytearray, array, bool, type(None), enum.Enum, type)

_CACHED: Final = frozenset(("_heap", "_unix_zero"))
"""Attributes that depend on when the machine was read. The heaps hold deadlines that are set elsewhere too."""


def first_difference(one: Any, other: Any) -> str:
    """Return where two objects first differ, empty if they are equal. Equal dictionaries have the same order. Payloads
    and values of maps are compared by their size only."""
    waiting: list[tuple[str, Any, Any]] = [("", one, other)]
    seen: set[tuple[int, int]] = set()
    while waiting:
        path, one, other = waiting.pop()
        if isinstance(one, Outside) and isinstance(other, Outside):
            continue
        if type(one) is not type(other):
            return f"{path}: {type(one).__name__} is not {type(other).__name__}"
        if isinstance(one, _PLAIN):
            if one != other and not (isinstance(one, float) and math.isnan(one) and math.isnan(other)):
                return f"{path}: {one!r:.80} is not {other!r:.80}"
            continue
        if (id(one), id(other)) in seen:
            continue
        seen.add((id(one), id(other)))
        parts, others = _parts(one), _parts(other)
        if len(parts) != len(others) or any(mine[0] != theirs[0] for mine, theirs in zip(parts, others, strict=True)):
            return f"{path}: {_names(parts)} is not {_names(others)}"
        pairs = [(f"{path}.{mine[0]}", mine[1], theirs[1]) for mine, theirs in zip(parts, others, strict=True)]
        waiting += reversed(pairs)
    return ""


def _names(parts: list[tuple[Any, Any]]) -> str:
    return repr([name for name, _ in parts])[:200]


def _parts(whole: Any) -> list[tuple[Any, Any]]:
    """Return the parts of an object with their names."""
    match whole:
        case dict():
            items: list[tuple[Any, Any]] = [(key, (key, value)) for key, value in whole.items()]
            return items + ([("", vars(whole))] if hasattr(whole, "__dict__") else [])
        case list() | tuple() | collections.deque():
            return list(enumerate(whole))
        case set() | frozenset():
            return [(item, item) for item in sorted(whole, key=repr)]
        case ReplicatedMap():
            return [("name", whole.name), ("entries", list(whole.entries())), ("deleted", list(whole._deleted))]
        case MapEntry():
            return [("key", whole.key), ("stamp", whole.stamp), ("value", len(whole.value))]
        case MapChanged():
            return [("name", whole.name), ("key", whole.key)]
        case MapSync():
            return [("name", whole.name), ("sender", whole.sender), ("clock_ms", whole.clock_ms)]
        case Put():
            return [("key", whole.key)]  # its value is not recorded
        case Message() | SendMessage():
            values = msgspec.structs.asdict(whole)
            return list((values | {"payload": len(whole.payload)}).items())
        case msgspec.Struct():
            return [(name, getattr(whole, name)) for name in whole.__struct_fields__]
        case MethodType():
            return [(whole.__name__, whole.__self__)]
        case FunctionType():
            return [(whole.__qualname__, whole.__closure__ or ())]
        case CellType():
            return [("value", _content(whole))]
        case _:
            return [(name, getattr(whole, name)) for name in _attributes(whole) if name not in _CACHED]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "empty"


def _attributes(whole: Any) -> list[str]:
    slots = [name for kind in type(whole).__mro__ for name in getattr(kind, "__slots__", ())]
    return sorted(name for name in (*slots, *getattr(whole, "__dict__", ())) if hasattr(whole, name))
