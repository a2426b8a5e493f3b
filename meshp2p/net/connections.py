"""The connections of a node: choosing one for a call, choosing between two to one process, and closing unused ones."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.net.peer_connection import PeerConnection
from meshp2p.wire.peer_frames import PeerHello

__all__ = ["IDLE_SECONDS", "Connections"]

IDLE_SECONDS: Final = 60.0
"""How long a connection without a call stays open. Chosen, not measured."""

HELLO_SECONDS: Final = 10.0
"""How long the other side of a new connection may take to send its hello. Chosen, not measured."""

GOODBYE_SECONDS: Final = 5.0
"""How long a goodbye may stay without an answer. Chosen, not measured."""

YOUNG_SECONDS: Final = 5.0
"""If two connections exist and the older one is younger than this, both sides dialled at once. Chosen, not measured."""

ACCEPTED_MAX: Final = 256
"""The maximum number of connections that others dialled. One more replaces another. Chosen, not measured."""

DIALLED_MAX: Final = 64
"""The maximum number of connections without a call that this node dialled. Beyond it the least recently used one is
retired. Chosen, not measured."""


class Connections:
    """The open connections, the oldest first. ``own`` is the hello of this node. ``may_answer(connection, node_id)``
    says whether calls for that node may go to whoever is at the other end."""

    def __init__(self, own: PeerHello, may_answer: Callable[[PeerConnection, str], bool]) -> None:
        self._own = own
        self._may_answer = may_answer
        self._all: dict[PeerConnection, None] = {}

    def __iter__(self) -> Iterator[PeerConnection]:
        return iter(list(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: PeerConnection) -> None:
        self._all[connection] = None

    def remove(self, connection: PeerConnection) -> None:
        self._all.pop(connection, None)

    def find(self, node_id: str, boot: int, addresses: tuple[Address, ...] = ()) -> PeerConnection | None:
        """Return the connection for a call to this process: the newest one to the process, or else one that was dialled
        at one of the addresses, whichever node answered there. ``boot`` 0 means any process."""
        found: PeerConnection | None = None
        at_address: PeerConnection | None = None
        for connection in self._all:
            peer = connection.peer
            if peer is None or not connection.is_usable or not self._may_answer(connection, node_id):
                continue
            if node_id and peer.id == node_id and (not boot or peer.boot == boot):
                found = connection
            elif connection.address in addresses:
                at_address = connection
        return found or at_address

    def choose(self, newer: PeerConnection) -> None:
        """Retire one of two connections to one process. Both sides choose the same, or retire both."""
        peer, own = newer.peer, self._own
        if peer is None or not peer.id or peer.id == own.id:
            return
        for older in self:
            if older is newer or older.peer != peer or older.is_retired or older.is_closed:
                continue
            if older.machine != newer.machine:
                continue  # one of them is no connection to the process that it names
            both_dialled = (older.address is None) != (newer.address is None)
            is_young = older.opened_at + YOUNG_SECONDS > newer.opened_at
            if not is_young or not older.is_usable:
                older.retire()
            elif both_dialled:
                own_is_lower = own.id.encode() < peer.id.encode()
                loser = older if (older.address is not None) != own_is_lower else newer
                loser.retire()
            elif newer.address is not None:
                newer.retire()

    def make_room(self, host: str) -> bool:
        """Return whether one more connection from this machine may be served. If there are too many, cut one of the
        machine that has the most, an idle one first, so that no machine keeps others out."""
        accepted = [connection for connection in self._all if connection.address is None]
        if len(accepted) < ACCEPTED_MAX:
            return True
        counts = collections.Counter(connection.host for connection in accepted)
        crowd, most = counts.most_common(1)[0]
        if most <= counts[host] + 1:
            return False
        crowded = [connection for connection in accepted if connection.host == crowd]
        idle = next((connection for connection in crowded if not connection.protocol.calls), crowded[0])
        idle.close("another machine needs its place")
        self.remove(idle)
        return True

    def sweep(self) -> None:
        """Close unused connections, and check those that have a query under way. Call this once a second."""
        now = trio.current_time()
        idle: list[PeerConnection] = []
        for connection in self:
            if connection.protocol.calls:
                connection.used_at = now
                connection.check_alive()
                continue
            if connection.peer is None and connection.opened_at + HELLO_SECONDS <= now:
                connection.close("it did not say who it is")
            elif connection.is_retired and connection.used_at + GOODBYE_SECONDS <= now:
                connection.close("it did not answer a goodbye")
            elif not connection.is_retired and connection.used_at + IDLE_SECONDS <= now:
                connection.retire()
            elif connection.address is not None and not connection.is_retired:
                idle.append(connection)
        for connection in sorted(idle, key=lambda one: one.used_at)[: max(0, len(idle) - DIALLED_MAX)]:
            connection.retire()
