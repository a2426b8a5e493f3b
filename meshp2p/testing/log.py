"""The log of a virtual mesh: a trace, and a digest that shows whether two runs were the same."""

from __future__ import annotations

import hashlib
from typing import Any

import trio

from meshp2p.testing.courier import Courier
from meshp2p.virtual.describe import lines_of
from meshp2p.virtual.trace import Trace, What

__all__ = ["Log"]


class Log:
    """The one place where all parts of a virtual mesh report what they did.

    ``trace`` contains nodes' events, faults, starts and ends; with ``keeps_packets`` also datagrams. The digest counts
    every packet in any case.
    """

    def __init__(self, courier: Courier, *, keeps_packets: bool) -> None:
        self.trace: Trace = Trace()
        self.keeps_packets = keeps_packets
        self.courier = courier
        self._clock = trio.lowlevel.current_clock()  # also read when trio has ended
        self.began: float = self._clock.current_time()
        self._hash = hashlib.blake2b(digest_size=16)

    @property
    def now(self) -> float:
        """Virtual seconds since the mesh began."""
        return self._clock.current_time() - self.began

    def mark(self, node: str, what: str, peer: str, data: bytes) -> None:
        """Add something to the digest."""
        self._hash.update(f"{self.now!r} {node} {what} {peer} {len(data)} ".encode())
        self._hash.update(data)

    def add(self, node: str, what: What, peer: str = "", detail: Any = None, cause: int = 0) -> int:
        """Add an entry to the trace and the digest, and return its number."""
        told = f"{detail!r}" if isinstance(detail, str | float | int) else type(detail).__name__
        self.mark(node, what, peer, told.encode())
        return self.trace.add(self.now, node, what, peer, detail, cause)

    def packet(self, node: str, what: What, peer: str, detail: Any, cause: int = 0) -> int:
        """Add a packet's fate to the trace, if packets are kept. The caller has added it to the digest."""
        if not self.keeps_packets:
            return 0
        return self.trace.add(self.now, node, what, peer, detail, cause)

    def digest(self) -> str:
        return self._hash.copy().hexdigest()

    def story(self, last: int | None = None) -> str:
        """Return the trace without packets as text, one line per entry: ``time node what``."""
        told = [entry for entry in self.trace if entry.what not in _PACKETS]
        shown = told if last is None else told[-last:]
        lines = list(lines_of(shown))
        if len(shown) < len(told):
            lines.insert(0, f"({len(told) - len(shown)} earlier lines)")
        return "\n".join(lines)


_PACKETS = (What.SEND, What.RECEIVE, What.DROP)
