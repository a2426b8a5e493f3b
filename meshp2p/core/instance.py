"""One instance as a node shows it to its agent and to callers over HTTP."""

from __future__ import annotations

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.record import State

__all__ = ["Instance", "Leader"]


class Instance(msgspec.Struct, frozen=True):
    """A live instance, as one node knows it.

    ``home`` is the id of the node that answers for it, its own where it embeds a node; ``address`` is where that node
    was reached last, None for a hosted instance. ``status`` and ``metrics`` (a JSON object as text) are what it
    reported last, empty where it never did. ``created_at`` and ``last_heartbeat`` are Unix milliseconds.
    """

    id: str
    hostname: str
    port: int
    capabilities: tuple[str, ...]
    profiles: tuple[str, ...]
    state: State
    home: str
    address: Address | None
    incarnation: int
    is_leader: bool
    status: str
    metrics: str
    created_at: int
    last_heartbeat: int

    @property
    def is_hosted(self) -> bool:
        """Whether it is an agent that speaks only HTTP."""
        return self.home != self.id


class Leader(msgspec.Struct, frozen=True):
    """Who leads, in one node's view: (epoch, id) is the fencing token.

    ``epoch`` is 0 and ``since`` (Unix milliseconds) None until the leader's claim has arrived. ``is_self`` is whether
    it is this node.
    """

    id: str
    epoch: int
    since: int | None
    is_self: bool
