"""The response bodies that clients have not read yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from meshp2p.http.channel import Refused
from meshp2p.http.limits import HttpLimits, HttpRefusal, HttpStats

__all__ = ["Outgoing"]

_SMALL_BYTES: Final = 64 * 1024  # of a body that is never refused for what others wait for: chosen, not measured


class Outgoing:
    """All of one server. Bytes that several responses share count once."""

    def __init__(self, limits: HttpLimits, stats: HttpStats) -> None:
        self._bytes_max = limits.answers_bytes_max
        self._stats = stats
        self._users: dict[int, int] = {}  # by the identity of a part, which lives while it is here

    @contextmanager
    def hold(self, parts: Sequence[bytes]) -> Iterator[None]:
        """Count ``parts`` until the block ends. Raises :class:`Refused` (503) if that would be too much."""
        new = sum(len(part) for part in parts if id(part) not in self._users)
        if new > _SMALL_BYTES and self._stats.answers_bytes + new > self._bytes_max:
            message = "too many large answers at a time: try again later"
            raise Refused(503, HttpRefusal.ANSWERS_TOO_LARGE, message)
        for part in parts:
            users = self._users.get(id(part), 0)
            self._users[id(part)] = users + 1
            if not users:
                self._stats.answers_bytes += len(part)
        try:
            yield
        finally:
            for part in parts:
                self._users[id(part)] -= 1
                if not self._users[id(part)]:
                    del self._users[id(part)]
                    self._stats.answers_bytes -= len(part)
