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
    """The part of a delegated task that never blocks."""

    def __init__(self, bridge: Bridge, inner: LocalDelegation) -> None:
        self._bridge = bridge
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def state(self) -> DelegationState:
        """The current state of the task."""
        return self._inner.state

    @property
    def agent(self) -> str | None:
        """The id of the agent that does the task now, or did it."""
        return self._inner.agent

    @property
    def tried(self) -> list[str]:
        """The ids of the agents that got the task, in order."""
        return list(self._inner.tried)

    def fail(self, why: str) -> None:
        """End the task as failed. The agent is told."""
        self._bridge.call(lambda: self._inner.fail(why))

    def cancel(self) -> None:
        """Cancel the task. The agent is told, and its answer is discarded. Does nothing if the task has ended."""
        self._bridge.call(self._inner.cancel)


class Delegation(DelegationView):
    """A task delegated to another agent. It has exactly one outcome: see :class:`~meshp2p.errors.DelegationState`.

    If the agent dies, leaves or declines, the next one gets the task, so several agents may begin it. Late answers of
    agents that lost the task are discarded.
    """

    async def result(self, *, timeout: float | None = None) -> Any:
        """Wait for the end of the task and return the result.

        Raises :class:`~meshp2p.errors.DelegationFailed` if there is no result, :class:`~meshp2p.errors.NodeClosed` if
        the node left before, and :class:`~meshp2p.errors.WaitTimeout` after ``timeout`` seconds; the task then
        continues.
        """
        return decode_payload(await self._bridge.run(self._inner.result_text, timeout, f"{self!r} did not end"))

    def progress(self) -> NodeIterator[Any]:
        """Iterate over the agent's progress reports, the values that its handler yields.

        Progress is best effort: reports may be missing, and at most 64 wait to be read. Each report goes to one reader.
        The iteration ends with the task.
        """
        return NodeIterator(self._bridge.iterate(lambda: self._inner.reports), decode_payload)
