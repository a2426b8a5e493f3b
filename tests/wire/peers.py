"""Two sides of a connection, and what carries bytes between them."""

from __future__ import annotations

from meshp2p.wire.call_bytes import Budget
from meshp2p.wire.peer_events import PeerEvent
from meshp2p.wire.peer_frames import PeerHello
from meshp2p.wire.peer_protocol import PeerProtocol

TAG = bytes(range(8))


class Pair:
    """``dialler`` and ``acceptor``; what they say is delivered by hand. ``events`` are those of each."""

    def __init__(self, *, has_hellos: bool = True, budget: Budget | None = None) -> None:
        self.budget = budget or Budget(64 << 20)
        self.dialler = PeerProtocol(TAG, PeerHello("a", 1), is_dialler=True, budget=self.budget)
        self.acceptor = PeerProtocol(TAG, PeerHello("b", 2), is_dialler=False, budget=self.budget)
        self.events: dict[PeerProtocol, list[PeerEvent]] = {self.dialler: [], self.acceptor: []}
        if has_hellos:
            self.settle()
            self.take(self.dialler)
            self.take(self.acceptor)

    def other(self, side: PeerProtocol) -> PeerProtocol:
        return self.acceptor if side is self.dialler else self.dialler

    def carry(self, side: PeerProtocol) -> int:
        """Deliver what this side sends next, once; how many bytes that were."""
        data = side.data_to_send()
        other = self.other(side)
        self.events[other] += other.receive_data(data)
        return len(data)

    def settle(self) -> None:
        """Deliver until neither side has anything to send."""
        while self.carry(self.dialler) + self.carry(self.acceptor):
            pass

    def take(self, side: PeerProtocol) -> list[PeerEvent]:
        """The events of a side since the last time."""
        events, self.events[side] = self.events[side], []
        return events
