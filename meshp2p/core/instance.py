"""A live instance, as a node lists it."""

from __future__ import annotations

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.record import State

__all__ = ["ListedInstance"]


class ListedInstance(msgspec.Struct, frozen=True):
    """A live instance, as one node knows it. Agents get an :class:`~meshp2p.Instance` made from it.

    ``addresses`` are those of a node, first the one at which it answered last; a hosted instance has none. ``metrics``
    is a JSON object as text; ``status`` and ``metrics`` are empty if it never reported any. ``epoch`` is the leader's,
    0 for all others and until the leader's claim has arrived; ``led_since`` is None then. Times are in Unix
    milliseconds.
    """

    id: str
    hostname: str
    port: int
    capabilities: tuple[str, ...]
    profiles: tuple[str, ...]
    state: State
    home: str
    addresses: tuple[Address, ...]
    incarnation: int
    is_leader: bool
    status: str
    metrics: str
    created_at: int
    last_heartbeat: int
    epoch: int = 0
    led_since: int | None = None
