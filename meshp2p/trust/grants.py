"""The rights of callers of the HTTP API, and patterns of ids. This module needs no cryptography."""

from __future__ import annotations

from typing import Protocol

import msgspec

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import ConfigError

__all__ = ["CallerAccess", "Grant", "check_pattern", "covers", "matches"]


class Grant(msgspec.Struct, frozen=True):
    """What a caller may do. ``owner`` tells callers apart: what one registers, another may not replace. It is the
    fingerprint of the caller's machine in hexadecimal, a slash, and the caller on that machine.

    It may act as the ids that one of ``ids`` and all of ``limits`` cover.
    """

    owner: str
    ids: tuple[str, ...]
    limits: tuple[str, ...] = ()
    may_read: bool = True
    is_admin: bool = False

    def may_act_as(self, instance_id: str) -> bool:
        """Whether the caller may register, send, read and acknowledge as this instance."""
        return any(matches(one, instance_id) for one in self.ids) and all(
            matches(one, instance_id) for one in self.limits
        )


class CallerAccess(Protocol):
    """What the callers of one node may do."""

    @property
    def local(self) -> Grant:
        """What programs on this machine may do without a token."""

    def by_token(self, token: str, now: float) -> Grant:
        """Return what the bearer of a token may do at this time, in Unix seconds. Raises
        :class:`~meshp2p.errors.RemoteProtocolError`."""


def matches(pattern: str, instance_id: str) -> bool:
    """Whether an id is covered by a pattern with at most one ``*``, which stands for any text."""
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == instance_id
    is_long_enough = len(instance_id) >= len(before) + len(after)
    return is_long_enough and instance_id.startswith(before) and instance_id.endswith(after)


def covers(pattern: str, other: str) -> bool:
    """Whether ``pattern`` covers every id that the pattern ``other`` covers."""
    before, star, after = pattern.partition("*")
    other_before, other_star, other_after = other.partition("*")
    if not star or not other_star:
        return pattern == other or (not other_star and matches(pattern, other))
    return other_before.startswith(before) and other_after.endswith(after)


def check_pattern(pattern: str) -> None:
    """Raise :class:`ConfigError` unless :func:`matches` can read this."""
    if not 1 <= len(pattern.encode("utf-8", "surrogatepass")) <= ID_BYTES_MAX or pattern.count("*") > 1:
        raise ConfigError(f"id pattern {pattern!r}: expected 1 to {ID_BYTES_MAX} bytes with at most one '*'")
