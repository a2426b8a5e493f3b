"""Reads what :mod:`meshp2p.recording.writing` wrote, and trusts nothing in it.

It interprets the format of :mod:`pickle` itself, because ``pickle`` calls any function that the data names. Here only
objects of the core are built: instances of its classes, without running their constructors, its immutable structs and
enumerations, plain containers, and functions whose code is in the source of the core. The core has no I/O, so the
machine that is read can do nothing but compute. A hostile recording can make that slow, or fail.
"""

from __future__ import annotations

import collections
import enum
import functools
import importlib
import inspect
import io
import pickletools
import sys
from array import array
from collections.abc import Callable, Iterable
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, Final, TypeVar

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.map_entry import MapEntry, Stamp
from meshp2p.core.message import Message
from meshp2p.core.requests import SendMessage
from meshp2p.errors import ConfigError
from meshp2p.recording import writing
from meshp2p.recording.inputs import Fillers
from meshp2p.recording.maps import ReplayedMap
from meshp2p.recording.outside import ReplayedOutside

__all__ = ["StateReader"]

CODES_MAX: Final = 10_000_000
"""The most codes that are read. The state of a node with 20,000 members has 2,000,000."""

PARTS_MAX: Final = 1_000_000
DEPTH_MAX: Final = 32
"""How many parts an immutable object may have, and how deep they may be nested. It could refer to one part many times,
and to compare or hash it would take for ever, or overflow the stack."""

_T = TypeVar("_T")

_CORE: Final = "meshp2p.core."
_MARK: Final = object()
_CONSTANTS: Final[dict[str, Any]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS: Final = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_TEXTS: Final = (
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "SHORT_BINBYTES",
    "BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
)
_LITERALS: Final = frozenset((*_NUMBERS, *_TEXTS))
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONTAINERS: Final[dict[str, type]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}


class _Invalid(Exception):
    """The data is not what the writer writes."""


class StateReader:
    """Reads the object that a :class:`~meshp2p.recording.writing.StateWriter` wrote. ``outside`` becomes the
    surroundings of the machine that is read."""

    def __init__(self, data: bytes, outside: ReplayedOutside, fillers: Fillers) -> None:
        self._stream = io.BytesIO(data)
        self._outside = outside
        self._memo: list[Any] = []
        self._stack: list[Any] = []
        self._fillers = fillers
        self._immutable: dict[int, tuple[Any, int, int]] = {}
        """Immutable objects by their identity, with the number of their parts and their depth."""
        self._makers: dict[Any, Callable[..., Any]] = {
            getattr: self._make_method,
            writing.make_closure: self._make_closure,
            writing.make_cell: CellType,
            writing.make_message: self._make_message,
            writing.make_map: self._make_map,
            writing.make_entry: self._make_entry,
            writing.make_config: lambda values: ProtocolConfig(**values),
            writing.make_numbers: self._make_numbers,
            writing.make_outside: lambda: outside,
            collections.deque: collections.deque,
        }

    def read(self) -> Any:
        """Return the object. Raises :class:`ConfigError` if the data is damaged."""
        try:
            for count, (code, argument, _) in enumerate(pickletools.genops(self._stream)):
                if count > CODES_MAX:
                    raise _Invalid("the state is too large")
                self._step(code.name, argument)
            return self._pop()
        except Exception as error:  # whatever the data makes of it
            raise ConfigError(f"the recording is damaged: {error!s:.200}") from error

    # The format

    def _step(self, code: str, argument: Any) -> None:
        stack = self._stack
        if code in _LITERALS:
            stack.append(argument)
        elif code in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif code == "MEMOIZE":
            self._memo.append(stack[-1])
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _TUPLES:
            items = [self._pop() for _ in range(_TUPLES[code])][::-1]
            stack.append(self._weighed(tuple(items), items))
        elif code in _CONTAINERS:
            stack.append(_CONTAINERS[code]())
        elif code == "MARK":
            stack.append(_MARK)
        elif code not in ("PROTO", "FRAME", "STOP"):
            self._build(code)

    def _build(self, code: str) -> None:
        stack = self._stack
        match code:
            case "TUPLE":
                items = self._pop_to_mark()
                stack.append(self._weighed(tuple(items), items))
            case "FROZENSET":
                items = self._pop_to_mark()
                stack.append(self._weighed(frozenset(items), items))
            case "APPEND" | "APPENDS":
                items = [self._pop()] if code == "APPEND" else self._pop_to_mark()
                self._top(list, collections.deque).extend(items)
            case "ADDITEMS":
                items = self._pop_to_mark()
                self._top(set).update(items)
            case "SETITEM" | "SETITEMS":
                items = [self._pop(), self._pop()][::-1] if code == "SETITEM" else self._pop_to_mark()
                dict.update(self._top(dict), zip(items[::2], items[1::2], strict=True))
            case "STACK_GLOBAL":
                name, module = self._pop(), self._pop()
                stack.append(_find(module, name))
            case "REDUCE":
                arguments, function = self._pop(), self._pop()
                stack.append(self._call(function, arguments))
            case "NEWOBJ":
                arguments, kind = self._pop(), self._pop()
                if arguments or not _is_plain_class(kind):
                    raise _Invalid("no object of this class can be made")
                stack.append((dict if issubclass(kind, dict) else object).__new__(kind))
            case "BUILD":
                state = self._pop()
                _set_state(stack[-1], state)
            case "POP":
                self._pop()
            case _:
                raise _Invalid(f"unexpected code {code}")

    def _weighed(self, made: _T, parts: Iterable[Any]) -> _T:
        """Return an immutable object. Raises :class:`_Invalid` if it has too many parts."""
        count, depth = 1, 1
        for part in parts:
            _, more, deep = self._immutable.get(id(part), (None, 1, 0))
            count, depth = count + more, max(depth, deep + 1)
        if count > PARTS_MAX or depth > DEPTH_MAX:
            raise _Invalid("an object has too many parts")
        self._immutable[id(made)] = made, count, depth  # alive, so that the identity stays its own
        return made

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise _Invalid("a value is missing")
        return value

    def _pop_to_mark(self) -> list[Any]:
        stack = self._stack
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise _Invalid("a mark is missing")
        items = stack[place + 1 :]
        del stack[place:]
        return items

    def _top(self, *kinds: type) -> Any:
        top = self._stack[-1]
        if type(top) not in kinds and not (isinstance(top, kinds) and _is_plain_class(type(top))):
            raise _Invalid(f"unexpected {type(top).__name__}")
        return top

    # What may be made

    def _call(self, function: Any, arguments: Any) -> Any:
        if type(arguments) is not tuple:
            raise _Invalid("no arguments")
        if not isinstance(function, (type, FunctionType)) and function is not getattr:
            raise _Invalid("no function of the core")
        maker = self._makers.get(function)
        if maker is not None:
            return maker(*arguments)
        if isinstance(function, type) and issubclass(function, msgspec.Struct):
            return self._weighed(function(*arguments), arguments)
        if isinstance(function, type) and issubclass(function, enum.Enum) and isinstance(arguments[0], (int, str)):
            return function(arguments[0])
        raise _Invalid(f"{function.__name__} may not be called")

    def _make_method(self, owner: Any, name: str) -> MethodType:
        kind, name = type(owner), _text(name)
        function = inspect.getattr_static(kind, name)
        is_known = owner is self._outside or _is_plain_class(kind)
        if not is_known or name.startswith("__") or not isinstance(function, FunctionType):
            raise _Invalid(f"{name!r} is no method of the core")
        return MethodType(function, owner)

    def _make_closure(self, module: str, name: str, line: int, cells: tuple[CellType, ...]) -> FunctionType:
        code = _codes(_import(module).__name__).get((_text(name), int(line)))
        if code is None:
            raise _Invalid(f"{module} has no function {name} at line {line}: it is another version")
        if len(cells) != len(code.co_freevars) or not all(type(cell) is CellType for cell in cells):
            raise _Invalid(f"{name} refers to something else")
        return FunctionType(code, vars(sys.modules[module]), name.rpartition(".")[2], None, cells)

    def _make_message(self, kind: type, payload_bytes: int, *values: Any) -> Message | SendMessage:
        if kind not in (Message, SendMessage):
            raise _Invalid("no message")
        filler = self._fillers.of(payload_bytes)
        names = [name for name in kind.__struct_fields__ if name != "payload"]
        message: Message | SendMessage = kind(payload=filler, **dict(zip(names, values, strict=True)))
        return self._weighed(message, values)

    def _make_map(self, name: str, entries: list[Any], deleted: list[str]) -> ReplayedMap:
        replica = ReplayedMap(name, None, self._outside, self._fillers)
        replica.load(entries, deleted)
        return replica

    def _make_numbers(self, typecode: str, values: list[Any]) -> Any:
        if type(values) is not list:  # bytearray would take a number for a size
            raise _Invalid("no numbers")
        return array(typecode, values) if typecode else bytearray(values)

    def _make_entry(self, key: str, stamp: Stamp, value_bytes: int) -> MapEntry:
        return self._weighed(MapEntry(key, stamp, self._fillers.of(value_bytes)), (key, stamp))


def _text(name: Any) -> str:
    if type(name) is not str:
        raise _Invalid("a name is missing")
    return name


def _find(module: Any, name: Any) -> Any:
    """Return what a recording may name: the makers, and classes and functions of the core."""
    name = _text(name)
    if (module, name) == ("builtins", "getattr"):
        return getattr
    if (module, name) == ("collections", "deque"):
        return collections.deque
    if module == writing.__name__:
        return {maker.__name__: maker for maker in writing.MAKERS}[name]
    found = vars(_import(module)).get(name)
    if not isinstance(found, (type, FunctionType)) or found.__module__ != module:
        raise _Invalid(f"{module}.{name!s:.80} is no class and no function of the core")
    return found


def _import(module: Any) -> Any:
    if not _text(module).startswith(_CORE):
        raise _Invalid(f"{module!r:.80} is not in the core")
    return importlib.import_module(module)


def _is_plain_class(kind: Any) -> bool:
    """Whether this is a class of the core whose instances have changeable attributes."""
    return (
        isinstance(kind, type)
        and kind.__module__.startswith(_CORE)
        and not issubclass(kind, (msgspec.Struct, enum.Enum, BaseException, tuple))
    )


def _set_state(target: Any, state: Any) -> None:
    if type(target) is CellType:
        (target.cell_contents,) = state
        return
    if not _is_plain_class(type(target)):
        raise _Invalid(f"unexpected state of {type(target).__name__}")
    for part in state if type(state) is tuple else (state,):
        for name, value in (part or {}).items():
            if name.startswith("__"):
                raise _Invalid(f"{name:.80} is no attribute of the state")
            object.__setattr__(target, name, value)


@functools.cache
def _codes(module: str) -> dict[tuple[str, int], CodeType]:
    """Return the code of the functions that are defined inside functions of this module, by name and line."""
    found: dict[tuple[str, int], CodeType] = {}
    waiting = [one for one in vars(sys.modules[module]).values() if getattr(one, "__module__", "") == module]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type):
            waiting += vars(one).values()
        elif isinstance(one, CodeType):
            found[one.co_qualname, one.co_firstlineno] = one
            waiting += one.co_consts
        else:
            function = getattr(one, "__func__", None) or getattr(one, "fget", None) or one
            waiting += [] if not isinstance(function, FunctionType) else function.__code__.co_consts
    return found
