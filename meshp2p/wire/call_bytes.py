"""Limits for the buffered bytes of calls: of one connection between two nodes, and of all connections of a node."""

from __future__ import annotations

import sys
from typing import Final

from meshp2p.wire.exchange import Exchange
from meshp2p.wire.peer_frames import ResetReason

__all__ = ["CONNECTION_BYTES_MAX", "Budget", "CallBytes"]

CONNECTION_BYTES_MAX: Final = 16 << 20
"""How many bytes are kept for the calls of one connection: received and not yet consumed, or of calls being served. A
call that exceeds it is reset as BUSY. Chosen, not measured."""


class Budget:
    """How many bytes may be buffered for all connections of a node together. ``resets`` counts the calls that this node
    ended early, by reason."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max: int = bytes_max
        self.bytes_taken: int = 0
        self.resets: dict[ResetReason, int] = dict.fromkeys(ResetReason, 0)

    def reserve(self, count: int) -> bool:
        """Reserve this many bytes. Return whether there was room."""
        if self.bytes_taken + count > self.bytes_max:
            return False
        self.bytes_taken += count
        return True

    def give_back(self, count: int) -> None:
        self.bytes_taken -= count


class CallBytes:
    """The bytes that one connection keeps for its calls. Bytes of a relayed call count only for the node: the other
    half of the call releases them when it has sent them."""

    def __init__(self, budget: Budget | None) -> None:
        self.budget: Budget = budget or Budget(sys.maxsize)
        self._kept = 0

    def charge(self, exchange: Exchange, count: int) -> str:
        """Keep this many more bytes for a call. Return the reason if there is no room for them, or an empty text."""
        if not exchange.is_passed_on and self._kept + count > CONNECTION_BYTES_MAX:
            return f"{CONNECTION_BYTES_MAX} bytes are buffered on this connection"
        if not self.budget.reserve(count):
            return f"{self.budget.bytes_max} bytes are buffered on this node"
        if not exchange.is_passed_on:
            self._kept += count
            exchange.buffered += count
        return ""

    def release(self, exchange: Exchange, count: int) -> None:
        """Release this many bytes of a call."""
        self.budget.give_back(count)
        if not exchange.is_passed_on:
            self._kept -= count
            exchange.buffered -= count

    def drop(self, count: int) -> None:
        """Release bytes of a relayed call that were received and are dropped."""
        self.budget.give_back(count)
