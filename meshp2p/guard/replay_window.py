"""Recognizes packets that arrived before, by their counters."""

from __future__ import annotations

from typing import Final

__all__ = ["ReplayWindow"]

WINDOW: Final = 1024
"""How far a packet may be behind the newest one and still be taken. Chosen, not measured."""

_MASK: Final = (1 << WINDOW) - 1


class ReplayWindow:
    """The counters that were seen, of the last ``WINDOW`` ones (RFC 4303 §3.4.3). Older ones count as seen."""

    __slots__ = ("_newest", "_seen")

    def __init__(self) -> None:
        self._newest = -1
        self._seen = 0  # bit n is set if the counter newest - n was seen

    def has_seen(self, counter: int) -> bool:
        behind = self._newest - counter
        return behind >= 0 and (behind >= WINDOW or bool(self._seen >> behind & 1))

    def note(self, counter: int) -> None:
        """Note a counter that was not seen. Call it only for a packet that is authentic."""
        ahead = counter - self._newest
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _MASK if ahead < WINDOW else 1
            self._newest = counter
        else:
            self._seen |= 1 << -ahead
