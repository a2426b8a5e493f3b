"""The time for which a node leads, as its agent sees it."""

from __future__ import annotations

import contextlib

from meshp2p.errors import MeshError
from meshp2p.node.leadership import FencingToken, HeldLease
from meshp2p.threaded.bridge import Bridge

__all__ = ["Lease", "LeaseView"]


class LeaseView:
    """The side of a lease that waits for nobody."""

    def __init__(self, bridge: Bridge, inner: HeldLease) -> None:
        self._bridge = bridge
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def token(self) -> FencingToken:
        """What fences the writes of this leader against those of an earlier one."""
        return self._inner.token

    @property
    def was_lost(self) -> bool:
        """Whether it ended before the block did. Under a quorum the clock is read each time, as the lease may have
        expired."""
        return self._inner.was_lost


class Lease(LeaseView):
    """The time for which this node leads. ``token`` fences what the leader writes."""

    async def wait_until_lost(self, *, timeout: float | None = None) -> bool:
        """Wait until it ends, ``timeout`` seconds at most; whether it has."""
        with contextlib.suppress(MeshError):  # the time is over, or the node is closed
            await self._bridge.run(self._inner.over.wait, timeout, "it was not lost")
        return self._inner.was_lost
