"""The leadership of a node, as its agent sees it."""

from __future__ import annotations

import contextlib

from meshp2p.errors import MeshError
from meshp2p.node.leadership import FencingToken, HeldLease
from meshp2p.threaded.bridge import Bridge

__all__ = ["Lease", "LeaseView"]


class LeaseView:
    """The part of a lease that never blocks."""

    def __init__(self, bridge: Bridge, inner: HeldLease) -> None:
        self._bridge = bridge
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def token(self) -> FencingToken:
        """The fencing token, which protects writes of this leader against those of a former one."""
        return self._inner.token

    @property
    def was_lost(self) -> bool:
        """Whether the leadership ended before the block did. Under a quorum the clock is read each time, as the lease
        may have expired."""
        return self._inner.was_lost


class Lease(LeaseView):
    """The leadership of this node. Send ``token`` with every write of the leader."""

    async def wait_until_lost(self, *, timeout: float | None = None) -> bool:
        """Wait until the leadership ends, for at most ``timeout`` seconds. Return whether it has ended."""
        with contextlib.suppress(MeshError):  # the timeout expired, or the node is closed
            await self._bridge.run(self._inner.over.wait, timeout, "it was not lost")
        return self._inner.was_lost
