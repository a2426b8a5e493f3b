"""State that the connections of one server share: its limits, its counters, and the answers that clients have not
read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import trio

from meshp2p.http.limits import HttpLimits, HttpRefusal, HttpStats

__all__ = ["YOUNG_SECONDS", "RequestRejected", "ServerState"]

YOUNG_SECONDS: Final = 0.05
"""How long a client may always take for its next step, however many connections there are. Chosen, not measured."""

_SMALL_BYTES: Final = 64 * 1024  # of an answer that is never refused for what others wait for: chosen, not measured


class RequestRejected(Exception):
    """The server ends this request itself. ``status`` is the answer, if one can still be sent."""

    def __init__(self, status: int, reason: HttpRefusal, message: str) -> None:
        super().__init__(message)
        self.status: int = status
        self.reason: HttpRefusal = reason


class Reader(Protocol):
    """A connection to which an answer is sent."""

    @property
    def waits_since(self) -> float | None:
        """Since when it waits for its client; None if it does not."""

    def cut(self) -> None:
        """End it at once."""


class _HeldResponse:
    def __init__(self, parts: Sequence[bytes], reader: Reader) -> None:
        self.parts: Sequence[bytes] = parts
        self.reader: Reader = reader


class ServerState:
    """The state of one server. ``turn`` is held by the request whose large body is being checked."""

    def __init__(self, limits: HttpLimits) -> None:
        self.limits: HttpLimits = limits
        self.stats: HttpStats = HttpStats()
        self.turn: trio.Lock = trio.Lock()
        self._held: dict[_HeldResponse, None] = {}
        self._users: dict[int, int] = {}  # of each part, by its identity: it lives while it is here

    @contextmanager
    def hold(self, parts: Sequence[bytes], reader: Reader) -> Iterator[None]:
        """Count an answer until the block ends. Bytes that several answers share count once. If the total is too large,
        the answers that were not read for longest are cut. Raises :class:`RequestRejected` (503) if there are none."""
        held = _HeldResponse(parts, reader)
        while (new := self._new_bytes(parts)) > _SMALL_BYTES and (
            self.stats.answers_bytes + new > self.limits.answers_bytes_max
        ):
            self._cut_longest()
        for part in parts:
            users = self._users.get(id(part), 0)
            self._users[id(part)] = users + 1
            if not users:
                self.stats.answers_bytes += len(part)
        self._held[held] = None
        try:
            yield
        finally:
            self._release(held)

    def _new_bytes(self, parts: Sequence[bytes]) -> int:
        return sum(len(part) for part in parts if id(part) not in self._users)

    def _cut_longest(self) -> None:
        young = trio.current_time() - YOUNG_SECONDS
        waiting = [
            (held.reader.waits_since, held)
            for held in self._held
            if held.reader.waits_since is not None and sum(map(len, held.parts)) > _SMALL_BYTES
        ]
        since, held = min(waiting, key=lambda pair: pair[0], default=(young, None))
        if held is None or since >= young:
            message = "too many large answers at a time: try again later"
            raise RequestRejected(503, HttpRefusal.ANSWERS_TOO_LARGE, message)
        self.stats.count(HttpRefusal.CROWDED_OUT)
        self._release(held)
        held.reader.cut()

    def _release(self, held: _HeldResponse) -> None:
        if held not in self._held:
            return
        del self._held[held]
        for part in held.parts:
            self._users[id(part)] -= 1
            if not self._users[id(part)]:
                del self._users[id(part)]
                self.stats.answers_bytes -= len(part)
