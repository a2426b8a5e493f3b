"""The node, as the agent that embeds it sees it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from meshp2p.core.message import IfAbsent, check_if_absent
from meshp2p.errors import LocalProtocolError
from meshp2p.node.arguments import (
    check_callable,
    check_count,
    check_flag,
    check_optional_name,
    check_seconds,
    encode_metrics,
)
from meshp2p.node.config import check_name
from meshp2p.node.delegation import Task
from meshp2p.node.events import NodeEvent
from meshp2p.node.handlers import CONCURRENCY, HandlerFunction
from meshp2p.node.instance import Instance, Receipt, instance_of, receipt_of
from meshp2p.node.local_map import MergeFunction
from meshp2p.node.payload import decode_payload, encode_payload
from meshp2p.node.received import ReceivedMessage, split_kind
from meshp2p.node.values import check_shape
from meshp2p.node.within import check_timeout
from meshp2p.threaded.delegation import Delegation
from meshp2p.threaded.lease import Lease
from meshp2p.threaded.life import Life, Opening
from meshp2p.threaded.node_iterator import NodeIterator
from meshp2p.threaded.node_view import NodeView
from meshp2p.threaded.shared_map import SharedMap

__all__ = ["MeshNode"]

_Handler = TypeVar("_Handler", bound=HandlerFunction)
_Reply = TypeVar("_Reply")


class MeshNode(NodeView):
    """A node. Made by :func:`meshp2p.open_node`; it runs in its ``async with`` block, or from :meth:`start` to
    :meth:`close`.

    It is to be awaited in the loop that it was opened in, or :class:`~meshp2p.errors.WrongLoop` is raised. What is
    asked without ``await`` reads the node's present view, in any thread, and waits for nobody. Every call raises
    :class:`~meshp2p.errors.NodeClosed` once the node has left, and what it failed with if it failed. ``timeout`` is in
    seconds everywhere; what did not happen in time raises :class:`~meshp2p.errors.WaitTimeout`, a ``TimeoutError``.
    """

    def __init__(self, opening: Opening | None, life: Life | None = None) -> None:
        super().__init__(life)
        self._opening = opening
        self._block: contextlib.AbstractAsyncContextManager[Life] | None = None
        self._handlers: Mapping[str, HandlerFunction] = {}
        self._maps: dict[str, SharedMap] = {}

    # Its life

    async def __aenter__(self) -> Self:
        self._block = self._pop_opening().open()
        life = await self._block.__aenter__()
        try:
            self._begin(life)
        except BaseException as error:
            await self._block.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return None if self._block is None else await self._block.__aexit__(kind, error, traceback)

    async def start(self) -> Self:
        """Join the mesh, without a block; :meth:`close` it. It returns when the node serves and its id is its own.

        Nothing of the agent's is cancelled if the node fails: the next call raises what it failed with, and so does
        :meth:`close`. Raises what opening it in a block raises.
        """
        self._begin(await self._pop_opening().start())
        return self

    async def close(self) -> None:
        """Leave the mesh, and stop. Raises what the node failed with. Nothing happens if it was never started or is
        closed."""
        if self._life is not None:
            await self._life.end()

    def _pop_opening(self) -> Opening:
        opening, self._opening = self._opening, None
        if opening is None:
            raise LocalProtocolError("the node was opened before: open_node() makes a new one")
        self._handlers = opening.handlers
        return opening

    def _begin(self, life: Life) -> None:
        self._life = life
        for kind, function in self._handlers.items():
            self.handler(kind)(function)

    # What happens

    def events(self) -> NodeIterator[NodeEvent]:
        """The present view, as ``MemberJoined`` and ``LeaderChanged``, then each change, with no gap.

        A reader that is slower than the mesh gets ``EventsLost``. It never slows the node.
        """
        return NodeIterator(self._bridge.iterate(self._node.events), lambda event: event)

    async def wait_for_members(self, count: int, *, timeout: float | None = None) -> list[Instance]:
        """Wait until at least so many instances are live, this one among them, and return them."""
        check_count("count", count)
        what = f"there were not {count} members"
        listed = await self._bridge.run(lambda: self._node.wait_for_members(count), timeout, what)
        return list(map(instance_of, listed))

    async def wait_for(
        self,
        *,
        capability: str | None = None,
        profile: str | None = None,
        count: int = 1,
        timeout: float | None = None,
    ) -> list[Instance]:
        """Wait until at least so many live instances have the capability and the profile, and return all that have
        them."""
        _check_wanted(capability, profile)
        check_count("count", count)
        what = f"there were not {count} instances with capability {capability!r} and profile {profile!r}"
        listed = await self._bridge.run(lambda: self._node.wait_for(count, capability, profile), timeout, what)
        return list(map(instance_of, listed))

    async def wait_for_leader(self, *, timeout: float | None = None) -> Instance:
        """Wait until there is a leader, and return it: if it is this node, once its claim is on disk."""
        return instance_of(await self._bridge.run(self._node.wait_for_leader, timeout, "there was no leader"))

    async def set_status(
        self, status: str, metrics: dict[str, Any] | None = None, *, until: float | None = None
    ) -> None:
        """Report status. Rate-limited: of several in a second only the last is told.

        ``status`` has at most 1,024 characters; ``metrics`` become a JSON object of at most ``metrics_bytes_max``
        bytes. After ``until`` seconds the status is empty again, unless it was set anew, so an agent that hangs does
        not stay busy for ever. Agents whose status is ``"busy"`` are delegated a task last.

        Raises :class:`~meshp2p.errors.ConfigError` for other values; then nothing changed.
        """
        check_name("status", status)
        text = encode_metrics(metrics).decode()
        if until is not None:
            check_seconds("until", until)
        await self._bridge.run(lambda: self._node.set_status(status, text, until))

    # What is shared

    def shared(self, name: str, *, merge: MergeFunction | None = None) -> SharedMap:
        """The map of this name, which all nodes that open it have in common: see the page on shared maps. The same one
        for the same name.

        ``merge(one, other)`` joins two values of a key that were written without knowing of one another; it must be
        commutative, associative and idempotent, and the same on all nodes. It runs where the node does, so it must be
        quick and not use the node. Without it the later write prevails.

        Raises :class:`~meshp2p.errors.ConfigError`, :class:`~meshp2p.errors.LimitExceeded`, and
        :class:`~meshp2p.errors.LocalProtocolError` if it is open with another ``merge``.
        """
        if merge is not None:
            check_callable("merge", merge)
        inner = self._bridge.call(lambda: self._node.shared(name, merge))
        return self._maps.setdefault(name, SharedMap(self._bridge, inner))

    # Messages

    async def send(
        self,
        target: str,
        payload: object,
        *,
        kind: str = "Notification",
        correlation_id: str | None = None,
        if_absent: IfAbsent = "refuse",
        timeout: float | None = None,
    ) -> str:
        """Send a message; its id. When this returns it is kept, and will be delivered: see the page on messages.

        ``kind`` is one of the contract's (``"Query"``, ``"Notification"``, ...) or any text of your own; ``payload`` is
        whatever JSON has a form for, at most 2 MiB of it. With ``if_absent="queue"`` a message for an instance that the
        mesh remembers as dead is kept until it is back, or until the message expires.

        Raises :class:`~meshp2p.errors.UnknownInstance` if ``target`` is not listed, nor remembered so,
        :class:`~meshp2p.errors.MailboxFull`, :class:`~meshp2p.errors.StoreFull`,
        :class:`~meshp2p.errors.LimitExceeded`, and :class:`~meshp2p.errors.ConfigError` for a payload or kind that
        cannot be sent; then nothing was kept. If this is cancelled, or after ``timeout``, it is unknown whether the
        message was accepted.
        """
        check_name("target", target)
        check_if_absent(if_absent)
        split_kind(kind)
        check_optional_name("correlation_id", correlation_id)
        text = encode_payload(payload)
        return await self._bridge.run(
            lambda: self._node.send(target, text, kind, correlation_id, if_absent),
            timeout,
            f"the message to {target!r} was not accepted",
        )

    async def broadcast(self, payload: object, *, kind: str = "Notification", timeout: float | None = None) -> str:
        """Send a message to every other live instance; its id. Raises what :meth:`send` raises."""
        split_kind(kind)
        text = encode_payload(payload)
        return await self._bridge.run(
            lambda: self._node.send(None, text, kind, None), timeout, "the message was not accepted"
        )

    async def message_status(self, message_id: str, *, timeout: float | None = None) -> tuple[Receipt, ...]:
        """The status of each copy of a message, whichever node accepted it; empty if no node knows it.

        Raises :class:`~meshp2p.errors.Unreachable`.
        """
        check_name("message_id", message_id)
        receipts = await self._bridge.run(lambda: self._node.message_status(message_id), timeout, "nobody answered")
        return tuple(map(receipt_of, receipts))

    def inbox(self) -> NodeIterator[ReceivedMessage]:
        """The messages that no handler takes, from the oldest that is not acknowledged.

        Acknowledge each when it is done with: otherwise it is handed out again by the next inbox. Several open inboxes
        share the messages: each goes to the one that is read next.
        """
        bridge = self._bridge
        return NodeIterator(bridge.iterate(self._node.inbox), bridge.received)

    def handler(
        self, kind: str, *, concurrency: int = CONCURRENCY, timeout: float | None = None
    ) -> Callable[[_Handler], _Handler]:
        """Handle the messages of this kind: a decorator of an async function. It runs in the agent's loop.

        It takes ``(message)``, ``(payload: SHAPE)`` or ``(payload: SHAPE, message)``, where the shape is a Struct,
        dataclass, TypedDict, Pydantic model or anything msgspec converts to. What it returns is the answer to a Query
        (a Response) or a TaskDelegation (a TaskResult); for other kinds only what is not None is sent. An async
        generator answers in parts: what it yields. Then the message is acknowledged. An exception is answered as an
        error, and logged. ``concurrency`` messages are handled at a time.

        Raises :class:`~meshp2p.errors.HandlerConflict` and :class:`~meshp2p.errors.ConfigError`.
        """
        split_kind(kind)

        def add(function: _Handler) -> _Handler:
            forward = self._bridge.forward(kind, function)
            self._bridge.call(lambda: self._node.handle(kind, forward, concurrency, timeout))
            return function

        return add

    @overload
    async def query(self, target: str, payload: object, *, reply: type[_Reply], timeout: float = 30.0) -> _Reply: ...
    @overload
    async def query(self, target: str, payload: object, *, reply: Any = None, timeout: float = 30.0) -> Any: ...
    async def query(self, target: str, payload: object, *, reply: Any = None, timeout: float = 30.0) -> Any:
        """Ask another agent, and return its answer: one call, and nothing is kept of it.

        With ``reply`` the answer is made into that: a Struct, dataclass, TypedDict, Pydantic model, or anything msgspec
        converts to. At most once: nothing is asked again. If this is cancelled or its time is over, the handler that
        answers is cancelled. The last of what a handler yields is its answer. An agent that speaks only HTTP finds the
        question in its mailbox until the time is over, and its Response is the answer.

        Raises :class:`~meshp2p.errors.QueryTimeout` after so many seconds, :class:`~meshp2p.errors.ConnectionLost`
        if the agent died or left, or the connection broke, before it answered, :class:`~meshp2p.errors.NoHandler` if it
        has no handler for queries (in the second after it was opened one is waited for),
        :class:`~meshp2p.errors.RemoteError` if it answers with an error, :class:`~meshp2p.errors.Unreachable` if no
        connection can be made, :class:`~meshp2p.errors.PayloadMismatch` if the answer is no ``reply``, and for a
        payload what :meth:`send` raises.
        """
        check_name("target", target)
        check_seconds("timeout", timeout)
        if reply is not None:
            check_shape(reply, "reply")
        text = encode_payload(payload)
        answer = await self._bridge.run(lambda: self._node.queries.query(target, text, timeout))
        return decode_payload(answer, reply, f"answer of {target!r}")

    def ask(self, target: str, payload: object, *, timeout: float = 30.0) -> NodeIterator[Any]:
        """Ask another agent, and iterate over the parts of its answer: ``async for part in node.ask(...)``.

        A handler that is an async generator answers in parts: what it yields. The last part is the answer; of another
        handler it is the only one. ``timeout`` is for each part. A part is fetched when the one before was taken, up to
        what is on its way; so a slow reader slows the handler. The handler is cancelled when the iterator is closed or
        forgotten.

        The iterator raises what :meth:`query` raises; the parts before an error were given.
        """
        check_name("target", target)
        check_seconds("timeout", timeout)
        text = encode_payload(payload)
        feed = self._bridge.iterate(lambda: self._node.queries.ask(target, text, timeout), ends_with_node=False)
        return NodeIterator(feed, decode_payload)

    async def delegate(
        self,
        payload: object,
        *,
        capability: str | None = None,
        profile: str | None = None,
        wait: bool = False,
        include_self: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Let some live agent do a task, and return its result: see :meth:`delegation`.

        Raises :class:`~meshp2p.errors.DelegationFailed`, whose ``state`` tells how it ended; after ``timeout`` seconds
        it is a :class:`~meshp2p.errors.DelegationTimeout`. Cancelling this cancels the task.
        """
        task = _make_task(payload, capability, profile, wait, include_self)
        if timeout is not None:
            check_seconds("timeout", timeout)
        return decode_payload(await self._bridge.run(lambda: self._node.delegating.run(task, timeout)))

    @contextlib.asynccontextmanager
    async def delegation(
        self,
        payload: object,
        *,
        capability: str | None = None,
        profile: str | None = None,
        wait: bool = False,
        include_self: bool = False,
    ) -> AsyncIterator[Delegation]:
        """Let some live agent that has the capability and the profile do a task, for the time of a block.

        It goes to one that is not busy and has the fewest tasks of this node's, and to the next one if that dies,
        leaves or declines (by raising :class:`~meshp2p.Declined`). If nobody is left it has failed; with ``wait`` it
        waits for the next one that comes. It never goes to this node itself, unless ``include_self``. At the end of the
        block it is cancelled unless it has ended.
        """
        task = _make_task(payload, capability, profile, wait, include_self)
        async with self._bridge.hold(lambda: self._node.delegating.open(task)) as inner:
            yield Delegation(self._bridge, inner)

    @contextlib.asynccontextmanager
    async def leadership(self, *, timeout: float | None = None) -> AsyncIterator[Lease]:
        """Wait until this node leads, and run the block while it does: it is cancelled when the leadership ends, and
        then ends quietly, with ``lease.was_lost``. ``lease.token`` fences what it writes.

        Raises :class:`~meshp2p.errors.WaitTimeout` if it did not lead within ``timeout`` seconds.
        """
        check_timeout(timeout)
        async with self._bridge.hold(lambda: self._node.leadership(timeout), is_cut=True) as inner:
            yield Lease(self._bridge, inner)

    async def leave(self) -> None:
        """Tell the mesh that this node goes. The end of the block and :meth:`close` do it."""
        await self._bridge.run(self._node.leave)


def _check_wanted(capability: object, profile: object) -> None:
    check_optional_name("capability", capability)
    check_optional_name("profile", profile)


def _make_task(payload: object, capability: str | None, profile: str | None, wait: bool, include_self: bool) -> Task:
    _check_wanted(capability, profile)
    check_flag("wait", wait)
    check_flag("include_self", include_self)
    return Task(encode_payload(payload), capability, profile, wait, include_self)
