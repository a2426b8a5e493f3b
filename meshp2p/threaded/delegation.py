"""A delegated task, as its delegator sees it."""

from __future__ import annotations

from typing import Any

from meshp2p.errors import DelegationState
from meshp2p.node.delegation import LocalDelegation
from meshp2p.node.payload import decode_payload
from meshp2p.threaded.bridge import Bridge
from meshp2p.threaded.node_iterator import NodeIterator

__all__ = ["Delegation", "DelegationView"]


class DelegationView:
    """The side of a delegated task that waits for nobody."""

    def __init__(self, bridge: Bridge, inner: LocalDelegation) -> None:
        self._bridge = bridge
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def state(self) -> DelegationState:
        """What became of it so far."""
        return self._inner.state

    @property
    def agent(self) -> str | None:
        """The id of the agent that does it now, or did it."""
        return self._inner.agent

    @property
    def tried(self) -> list[str]:
        """The ids of the agents that were asked, in order."""
        return list(self._inner.tried)

    def fail(self, why: str) -> None:
        """Give it up, as failed: the agent is told."""
        self._bridge.call(lambda: self._inner.fail(why))

    def cancel(self) -> None:
        """Give it up: the agent is told, and what it answers is thrown away. Nothing if it has an end."""
        self._bridge.call(self._inner.cancel)


class Delegation(DelegationView):
    """A task that some agent does. It has one end: see :class:`~meshp2p.errors.DelegationState`.

    When the agent dies, leaves or declines, the next is asked, so that a task may be begun more than once; what an
    agent answers that is no longer the one is thrown away.
    """

    async def result(self, *, timeout: float | None = None) -> Any:
        """Wait for the end, and return the result.

        Raises :class:`~meshp2p.errors.DelegationFailed` if there is none, :class:`~meshp2p.errors.NodeClosed` if the
        node left before, and :class:`~meshp2p.errors.WaitTimeout` after ``timeout`` seconds: then the task goes on.
        """
        return decode_payload(await self._bridge.run(self._inner.result_text, timeout, f"{self!r} did not end"))

    def progress(self) -> NodeIterator[Any]:
        """What the agent reports while it does the task: what its handler yields.

        It is best effort: reports may be missing, and at most 64 wait to be read. Each goes to one reader. It ends with
        the task.
        """
        return NodeIterator(self._bridge.iterate(lambda: self._inner.reports), decode_payload)
