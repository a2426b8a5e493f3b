"""Leadership as a scope: a block that runs while this node leads."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import trio

from meshp2p.core.instance import ListedInstance
from meshp2p.errors import NodeClosed
from meshp2p.node.plain_nursery import open_plain_nursery
from meshp2p.node.within import within

__all__ = ["FencingToken", "HeldLease", "hold_leadership"]


class FencingToken(msgspec.Struct, frozen=True, order=True):
    """A token that a leader sends with each write, so that the receiver can refuse a former leader. A later leader has
    a greater token."""

    epoch: int
    leader_id: str

    def __str__(self) -> str:
        return f"{self.epoch}:{self.leader_id}"


class HeldLease:
    """The leadership of this node. ``is_leading`` tells whether the node leads now."""

    def __init__(self, token: FencingToken, is_leading: Callable[[], bool]) -> None:
        self.token = token
        self._is_leading = is_leading
        self._was_lost = False
        self._is_over = False
        self.over: trio.Event = trio.Event()
        """Set when the leadership, or the block, has ended."""

    @property
    def was_lost(self) -> bool:
        """Whether the leadership ended before the block did. Under a quorum the clock is read each time: the lease may
        have expired."""
        if not self._is_over and not self._is_leading():
            self._was_lost = True
        return self._was_lost

    def end(self, *, was_lost: bool = False) -> None:
        """Mark the end of the leadership, or of the block."""
        self._was_lost = self._was_lost or was_lost
        self._is_over = True
        self.over.set()

    def __repr__(self) -> str:
        return f"<Lease {self.token}{' lost' if self.was_lost else ''}>"


@contextlib.asynccontextmanager
async def hold_leadership(
    own_leader: Callable[[], ListedInstance | None],
    wait_until: Callable[[Callable[[], bool]], Awaitable[None]],
    is_leading: Callable[[], bool],
    timeout: float | None = None,
) -> AsyncIterator[HeldLease]:
    """Wait until this node leads, run the block, and cancel it when the leadership ends.

    The block then exits without an error, with ``lease.was_lost``. ``own_leader`` returns the leader if that is this
    node.
    """

    def leads() -> bool:
        leader = own_leader()
        return leader is not None and leader.epoch > 0

    async def wait_until_leading() -> ListedInstance:
        while (leader := own_leader()) is None or not leader.epoch:
            await wait_until(leads)
        return leader

    leader = await within(wait_until_leading, timeout, "this node did not lead")
    lease = HeldLease(FencingToken(leader.epoch, leader.id), is_leading)

    def is_over() -> bool:
        present = own_leader()
        return present is None or present.epoch != lease.token.epoch

    async def watch(scope: trio.CancelScope) -> None:
        with contextlib.suppress(NodeClosed):
            await wait_until(is_over)
        lease.end(was_lost=True)
        scope.cancel()

    async with open_plain_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        try:
            yield lease
        finally:
            lease.end(was_lost=lease.was_lost)
        nursery.cancel_scope.cancel()
