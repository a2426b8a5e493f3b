"""What describes a run is checked when it is made, so that a wrong value is an error and no finding of the run."""

from __future__ import annotations

import functools
import math
from typing import Any

import msgspec

from meshp2p.errors import ConfigError

__all__ = ["Checked"]

SHOWN_MAX = 80
"""How many characters of a wrong value an error shows, and of what is wrong with it. Chosen, not measured."""


class Checked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of faults and plans. Raises :class:`ConfigError` if a field does not have its type, or holds a number or
    text that a replay file cannot hold. Lists become tuples."""

    def __post_init__(self) -> None:
        for field in _fields_of(type(self)):
            value = getattr(self, field.name)
            try:
                typed = msgspec.convert(value, field.type)
                why = _why_unwritable(typed)
            except (msgspec.ValidationError, UnicodeEncodeError) as error:
                typed, why = value, str(error)[:SHOWN_MAX]
            if why:
                shown = ascii(value)[:SHOWN_MAX]
                raise ConfigError(f"{type(self).__name__}: {field.name} = {shown}: {why}")
            if typed is not value:
                msgspec.structs.force_setattr(self, field.name, typed)
        self._check()

    def _check(self) -> None:
        """Check the values, which have their types. Raises :class:`ConfigError`."""


@functools.cache
def _fields_of(kind: type[Checked]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _why_unwritable(value: Any) -> str:
    match value:
        case float() if not math.isfinite(value):
            return "expected a finite number"
        case int() if not -(1 << 63) <= value < 1 << 63:
            return "expected a number of 64 bits"
        case str() if any("\ud800" <= char <= "\udfff" for char in value):
            return "expected text without surrogates"
        case tuple():
            return next(filter(None, map(_why_unwritable, value)), "")
        case dict():
            return _why_unwritable((*value, *value.values()))
        case _:
            return ""
