"""Values of agents as JSON text, and back: plain values, Structs, dataclasses, and Pydantic models.

A model is known by its methods, so Pydantic need not be installed: ``model_dump`` makes it into plain values, and
``model_validate_json`` makes it of JSON text.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from meshp2p.errors import ConfigError

__all__ = ["Formless", "check_shape", "from_json", "to_json"]

_PLAIN: Final = frozenset({str, int, bool, type(None)})
_BINARY: Final = (bytes, bytearray, memoryview)
_ARRAYS: Final = (list, tuple, set, frozenset)


class Formless(ValueError):
    """A value has no form in JSON. The message says which: ``holds NaN``."""


def _dump(value: Any) -> Any:
    """Return the plain values of a model."""
    dump = getattr(type(value), "model_dump", None)
    if dump is None:
        raise TypeError(f"objects of type {type(value).__qualname__} are not supported")
    return dump(value, mode="json")


def _validate(shape: type[Any], value: Any) -> Any:
    """Return a model of plain values."""
    validate = getattr(shape, "model_validate_json", None)
    if validate is None:
        raise TypeError(f"objects of type {shape.__qualname__} are not supported")
    return validate(msgspec.json.encode(value))


_encode: Final = msgspec.json.Encoder(enc_hook=_dump).encode
_encode_sorted: Final = msgspec.json.Encoder(enc_hook=_dump, order="deterministic").encode


def to_json(value: object, *, is_sorted: bool = False) -> bytes:
    """Return the value as JSON text; with ``is_sorted`` equal values are equal text.

    Raises :class:`Formless` for what JSON has no form for, ``NaN`` and ``bytes`` among it, which msgspec would write as
    ``null`` and as text.
    """
    try:
        text = (_encode_sorted if is_sorted else _encode)(value)
        found = _find_formless(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Formless(f"{error}; expected what JSON has a form for") from None
    if found:
        raise Formless(f"holds {found}, which JSON has no form for")
    return text


def from_json(text: bytes, shape: Any) -> Any:
    """Return the value of this shape that the text stands for. Raises ``ValueError`` if it is another one."""
    return msgspec.json.decode(text, type=shape, dec_hook=_validate)


def check_shape(shape: Any, field: str = "") -> None:
    """Raise :class:`~meshp2p.errors.ConfigError`, which names the ``field``, unless JSON text can be made into this
    shape."""
    import msgspec.inspect  # noqa: PLC0415  # only where it is used

    shown = f"{field} = {shape!r:.200}" if field else f"{shape!r:.200}"
    try:
        waiting: list[Any] = [msgspec.inspect.type_info(shape)]
        msgspec.json.Decoder(shape, dec_hook=_validate)
    except (TypeError, ValueError, NameError, RecursionError) as error:
        raise ConfigError(f"{shown} is no shape of a payload: {error}") from None
    seen: dict[int, Any] = {}
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if isinstance(one, msgspec.inspect.CustomType) and not hasattr(one.cls, "model_validate_json"):
            where = f"{field}: " if field else ""
            raise ConfigError(
                f"{where}{one.cls!r:.200} is no shape of a payload: expected a Struct, dataclass, TypedDict,"
                " Pydantic model, or plain types"
            )
        if isinstance(one, msgspec.Struct):
            waiting += [getattr(one, name) for name in one.__struct_fields__]
        elif isinstance(one, tuple):
            waiting += one


def _find_formless(value: object) -> str:
    """Return the part of the value that has no form in JSON; empty if all of it has one. The value has no cycles."""
    kind = type(value)
    if kind is dict:  # the common kinds first: a payload may hold many
        return _find_in(value) or _find_in(value.values())  # type: ignore[attr-defined, arg-type]  # a dict
    if kind is list:
        return _find_in(value)  # type: ignore[arg-type]  # a list
    if isinstance(value, float):
        return "" if math.isfinite(value) else "NaN" if math.isnan(value) else "an infinity"
    if isinstance(value, _BINARY):
        return type(value).__name__
    if isinstance(value, Mapping):
        return _find_in(value) or _find_in(value.values())
    if isinstance(value, _ARRAYS):
        return _find_in(value)
    if isinstance(value, enum.Enum):
        return _find_formless(value.value)
    return _find_in(_fields(value))


def _find_in(values: Iterable[object]) -> str:
    if _PLAIN.issuperset(map(type, values)):
        return ""
    for one in values:
        if type(one) not in _PLAIN and (found := _find_formless(one)):
            return found
    return ""


def _fields(value: Any) -> list[Any]:
    """Return the fields of a Struct, a dataclass or a model."""
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if hasattr(type(value), "model_dump"):
        return [_dump(value)]
    if hasattr(type(value), "__attrs_attrs__"):
        return [getattr(value, one.name, None) for one in type(value).__attrs_attrs__]
    return []
