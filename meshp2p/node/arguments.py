"""Checks of what agents hand in. Each raises :class:`~meshp2p.errors.ConfigError`, which names the argument, its value
and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from meshp2p.errors import ConfigError
from meshp2p.node.config import check_name
from meshp2p.node.values import Formless, to_json

__all__ = ["check_callable", "check_count", "check_flag", "check_optional_name", "check_seconds", "encode_metrics"]


def check_optional_name(field: str, name: object) -> None:
    """Check that a name is None or text that a record can contain. Raises :class:`~meshp2p.errors.ConfigError`."""
    if name is not None:
        check_name(field, name)


def check_count(field: str, count: object, least: int = 0) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < least:
        raise ConfigError(f"{field} = {count!r:.80}: expected a whole number from {least}")


def check_flag(field: str, flag: object) -> None:
    if not isinstance(flag, bool):
        raise ConfigError(f"{field} = {flag!r:.80}: expected True or False")


def check_callable(field: str, function: object) -> None:
    if not callable(function):
        raise ConfigError(f"{field} = {function!r:.80}: expected a function")


def encode_metrics(metrics: object) -> bytes:
    """Return metrics as JSON text, empty if there are none."""
    if metrics is None:
        return b""
    if not isinstance(metrics, Mapping):
        raise ConfigError(f"metrics = {metrics!r:.80}: expected a mapping of text to values")
    try:
        return to_json(dict(metrics))
    except Formless as error:
        raise ConfigError(f"metrics: {error}") from None


def check_seconds(field: str, seconds: object) -> None:
    """Check that this is a finite number of seconds above 0. Raises :class:`~meshp2p.errors.ConfigError`."""
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds < float("inf"):  # type: ignore[operator]  # a number
        raise ConfigError(f"{field} = {seconds!r:.80}: expected seconds above 0")
