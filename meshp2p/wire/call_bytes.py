"""How many bytes of calls are buffered: by one connection between two nodes, and by all of a node's together."""

from __future__ import annotations

import sys
from typing import Final

from meshp2p.wire.exchange import Exchange

__all__ = ["CONNECTION_BYTES_MAX", "Budget", "CallBytes"]

CONNECTION_BYTES_MAX: Final = 16 << 20
"""Bytes of calls that are kept for one connection: received and not consumed, or of calls being served. A call that
goes past it is reset as BUSY. Chosen, not measured."""


class Budget:
    """How many bytes may be buffered in all connections of a node together."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max: int = bytes_max
        self.bytes_taken: int = 0

    def reserve(self, count: int) -> bool:
        """Whether there was room."""
        if self.bytes_taken + count > self.bytes_max:
            return False
        self.bytes_taken += count
        return True

    def give_back(self, count: int) -> None:
        self.bytes_taken -= count


class CallBytes:
    """The bytes that one connection keeps for its calls. Those of a call that is passed on are the node's alone: the
    other half of the call gives them back when it has sent them."""

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget or Budget(sys.maxsize)
        self._kept = 0

    def charge(self, exchange: Exchange, count: int) -> str:
        """Keep so many more bytes for a call. Returns why there is no room for them, empty if there is."""
        if not exchange.is_passed_on and self._kept + count > CONNECTION_BYTES_MAX:
            return f"{CONNECTION_BYTES_MAX} bytes are buffered on this connection"
        if not self._budget.reserve(count):
            return f"{self._budget.bytes_max} bytes are buffered on this node"
        if not exchange.is_passed_on:
            self._kept += count
            exchange.buffered += count
        return ""

    def release(self, exchange: Exchange, count: int) -> None:
        """So many bytes of a call are kept no longer."""
        self._budget.give_back(count)
        if not exchange.is_passed_on:
            self._kept -= count
            exchange.buffered -= count

    def drop(self, count: int) -> None:
        """So many bytes of a call that is passed on were received, and go nowhere."""
        self._budget.give_back(count)
