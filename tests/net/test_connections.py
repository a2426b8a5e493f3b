"""Which of several connections to one process stays."""

from __future__ import annotations

from typing import Any, cast

from meshp2p.net.connections import Connections
from meshp2p.wire.peer_frames import PeerHello

OWN = PeerHello("node", 1)


class FakeConnection:
    """An accepted connection whose other end names itself ``victim``."""

    is_closed = False
    is_usable = True
    address = None

    def __init__(self, machine: bytes, opened_at: float) -> None:
        self.peer = PeerHello("victim", 5)
        self.machine = machine
        self.opened_at = opened_at
        self.is_retired = False

    def retire(self) -> None:
        self.is_retired = True


def retired_after(first: bytes, second: bytes) -> tuple[bool, bool]:
    connections = Connections(OWN, lambda _connection, _node_id: True)
    older, newer = FakeConnection(first, 0.0), FakeConnection(second, 100.0)
    for connection in (older, newer):
        connections.add(cast("Any", connection))
    connections.choose(cast("Any", newer))
    return older.is_retired, newer.is_retired


def test_a_newer_connection_of_the_same_process_replaces_an_old_one() -> None:
    assert retired_after(b"machine", b"machine") == (True, False)


def test_a_connection_of_another_machine_with_the_same_hello_replaces_none() -> None:
    assert retired_after(b"machine", b"another") == (False, False)
