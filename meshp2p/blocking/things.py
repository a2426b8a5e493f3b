"""What a plain thread gets from its node: messages, iterators, delegations, leases."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Generic, Self, TypeVar

from meshp2p.errors import NodeClosed, WaitTimeout
from meshp2p.node.leadership import FencingToken
from meshp2p.node.leadership import Lease as InnerLease
from meshp2p.node.outside import Feed
from meshp2p.node.outside_delegation import OutsideDelegation
from meshp2p.node.payload import EncodedPayload, decode_payload
from meshp2p.node.received import MessageView
from meshp2p.node.received import ReceivedMessage as InnerMessage
from meshp2p.node.thread import Hold, NodeThread, Waitable

__all__ = ["Delegation", "Lease", "NodeIterator", "ReceivedMessage", "wait"]

_T = TypeVar("_T")


def wait(operation: Waitable[_T], timeout: float | None, what: str) -> _T:
    """Wait for its end. Where the time is over, or the wait is interrupted, cancel it and wait for its end."""
    try:
        return operation.future.result(timeout)
    except TimeoutError:
        if operation.future.done():  # it is the operation's own
            return operation.future.result()
    except BaseException:
        if not operation.future.done():  # Ctrl-C
            operation.cancel()
            with contextlib.suppress(Exception):
                operation.future.result()
        raise
    operation.cancel()
    try:
        return operation.future.result()
    except CancelledError:
        raise WaitTimeout(f"{what} within {timeout:g} s") from None


class ReceivedMessage(MessageView):
    """One message. It is handed out again, after a restart too, until it is acknowledged."""

    __slots__ = ("_inner", "_thread")

    def __init__(self, thread: NodeThread, inner: InnerMessage) -> None:
        super().__init__(inner.message)
        self._thread = thread
        self._inner = inner

    def acknowledge(self, *, timeout: float | None = None) -> None:
        """It is done with: it is never handed out again. Raises :class:`~meshp2p.errors.StoreFull`."""
        wait(self._thread.submit(self._inner.acknowledge), timeout, f"{self!r} was not acknowledged")

    def reply(self, payload: object, *, timeout: float | None = None) -> str:
        """Answer its source, with a Response, or a TaskResult for a TaskDelegation; the answer's message id.

        Does not acknowledge. Raises what :meth:`MeshNode.send` raises.
        """
        text = EncodedPayload(payload)
        return wait(self._thread.submit(lambda: self._inner.reply(text)), timeout, "the reply was not accepted")


class _Over(NodeClosed):
    """There is nothing more to iterate over."""


class NodeIterator(Generic[_T]):
    """An iterator of a node's events or messages, for any number of threads: each item goes to one of them.

    It ends when the node has left; :meth:`close` it, leave its ``with``, or forget it, when it is no longer read.
    """

    def __init__(self, feed: Feed[Any], wrap: Callable[[Any], _T]) -> None:
        self._feed = feed
        self._wrap = wrap

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _T:
        try:
            return self.get()
        except _Over:
            raise StopIteration from None
        except NodeClosed:
            if not self._feed.is_over:
                raise
            raise StopIteration from None

    def get(self, *, timeout: float | None = None) -> _T:
        """The next item.

        Raises :class:`~meshp2p.errors.WaitTimeout` where none came in time, and then none is lost, and
        :class:`~meshp2p.errors.NodeClosed` where none will come any more.
        """
        while True:
            try:
                return self._wrap(self._feed.waiting.popleft())
            except IndexError:
                pass
            if not wait(self._feed.fill(), timeout, "nothing came"):
                raise _Over("nothing further comes")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing further comes here. A message that was not acknowledged is for the next inbox or handler."""
        self._feed.close()


class Delegation(OutsideDelegation):
    """A task that some agent does: see :class:`~meshp2p.node.delegation.Delegation`."""

    def result(self, *, timeout: float | None = None) -> Any:
        """Wait for the end, and return the result. Raises :class:`~meshp2p.errors.DelegationFailed` where there is
        none."""
        return decode_payload(wait(self._result(), timeout, f"{self!r} did not end"))

    def progress(self) -> NodeIterator[Any]:
        """What the agent reports while it does the task: what its handler yields. Each report goes to one reader."""
        return NodeIterator(self._progress(), decode_payload)


class Lease:
    """The time for which this node leads. Nobody can interrupt a thread: look at ``was_lost`` before each step, and let
    ``token`` fence what the step writes."""

    def __init__(self, inner: InnerLease, hold: Hold[InnerLease]) -> None:
        self._inner = inner
        self._hold = hold

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def token(self) -> FencingToken:
        """What fences the writes of this leader against those of an earlier one."""
        return self._inner.token

    @property
    def was_lost(self) -> bool:
        """It ended before the block did."""
        return self._inner.was_lost

    def wait_until_lost(self, *, timeout: float | None = None) -> bool:
        """Wait until it ends, so many seconds at most; whether it has."""
        with contextlib.suppress(Exception):
            self._hold.block.future.result(timeout)
        return self._inner.was_lost
