"""A delegated task, as its delegator outside of the node's thread sees it."""

from __future__ import annotations

from meshp2p.errors import DelegationState
from meshp2p.node.delegation import Delegation
from meshp2p.node.outside import Feed
from meshp2p.node.thread import NodeThread, Operation

__all__ = ["OutsideDelegation"]


class OutsideDelegation:
    """A :class:`~meshp2p.node.delegation.Delegation`, from any thread."""

    def __init__(self, thread: NodeThread, inner: Delegation) -> None:
        self._thread = thread
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def state(self) -> DelegationState:
        """What became of it so far."""
        return self._inner.state

    @property
    def agent(self) -> str | None:
        """Who does it now, or did it."""
        return self._inner.agent

    @property
    def tried(self) -> list[str]:
        """The ids of the agents that were asked, in order."""
        return list(self._inner.tried)

    def fail(self, why: str) -> None:
        """Give it up, as failed: the agent is told."""
        self._thread.call(lambda: self._inner.fail(why))

    def cancel(self) -> None:
        """Give it up: the agent is told, and what it answers is thrown away. Nothing where it has an end."""
        self._thread.call(self._inner.cancel)

    def _result(self) -> Operation[bytes]:
        return self._thread.submit(self._inner.result_text)

    def _progress(self) -> Feed[bytes]:
        return Feed(self._thread, lambda: (self._inner.reports, lambda: None))
