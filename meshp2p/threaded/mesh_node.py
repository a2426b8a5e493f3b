"""The node, as seen by the agent that embeds it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import msgspec

from meshp2p.core.message import IfAbsent, check_if_absent
from meshp2p.errors import LocalProtocolError, UnknownMessage
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
    """A node of the mesh, created by :func:`meshp2p.open_node`.

    It runs during its ``async with`` block, or from :meth:`start` to :meth:`close`. Await its methods only in the loop
    that opened it; elsewhere they raise :class:`~meshp2p.errors.WrongLoop`. Reads without ``await`` return the node's
    current view. You may use them in any thread, and they never block. After the node has left, every call raises
    :class:`~meshp2p.errors.NodeClosed`, or the error with which the node failed. Every ``timeout`` is in seconds; when
    it expires, the call raises :class:`~meshp2p.errors.WaitTimeout`, a ``TimeoutError``.
    """

    def __init__(self, opening: Opening | None, life: Life | None = None) -> None:
        super().__init__(life)
        self._opening = opening
        self._block: contextlib.AbstractAsyncContextManager[Life] | None = None
        self._handlers: Mapping[str, HandlerFunction] = {}
        self._maps: dict[str, SharedMap] = {}

    # Start and end

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
        """Join the mesh without a block; :meth:`close` ends it.

        It returns when the node serves requests and has confirmed that its id is unique. If the node fails later,
        nothing of yours is cancelled: the next call raises the error, and so does :meth:`close`. Raises the same errors
        as entering the block.
        """
        self._begin(await self._pop_opening().start())
        return self

    async def close(self) -> None:
        """Leave the mesh and stop.

        Raises the error with which the node failed, if any. Does nothing if the node was never started or is closed.
        """
        if self._life is not None:
            await self._life.end()

    def _pop_opening(self) -> Opening:
        opening, self._opening = self._opening, None
        if opening is None:
            raise LocalProtocolError("a node can be opened only once: call open_node() again")
        self._handlers = opening.handlers
        return opening

    def _begin(self, life: Life) -> None:
        self._life = life
        for kind, function in self._handlers.items():
            self.handler(kind)(function)

    # Events and status

    def events(self) -> NodeIterator[NodeEvent]:
        """Iterate over events: first ``MemberJoined`` and ``LeaderChanged`` for the current view, then every change,
        without a gap.

        A reader that is too slow gets ``EventsLost``. It never slows the node down.
        """
        return NodeIterator(self._bridge.iterate(self._node.events), lambda event: event)

    async def wait_for_members(self, count: int, *, timeout: float | None = None) -> list[Instance]:
        """Wait until at least ``count`` instances are live, including this one, and return them."""
        check_count("count", count)
        what = f"there were fewer than {count} members"
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
        """Wait until at least ``count`` live instances match the capability and the profile, and return all that
        match."""
        _check_wanted(capability, profile)
        check_count("count", count)
        pairs = (("capability", capability), ("profile", profile))
        wanted = " and".join(f" with {kind} {name!r}" for kind, name in pairs if name is not None)
        what = f"there {'was no instance' if count == 1 else f'were fewer than {count} instances'}{wanted}"
        listed = await self._bridge.run(lambda: self._node.wait_for(count, capability, profile), timeout, what)
        return list(map(instance_of, listed))

    async def wait_for_leader(self, *, timeout: float | None = None) -> Instance:
        """Wait until there is a leader, and return it. If it is this node, wait until its claim is on disk."""
        return instance_of(await self._bridge.run(self._node.wait_for_leader, timeout, "there was no leader"))

    async def set_status(
        self, status: str, metrics: dict[str, Any] | None = None, *, until: float | None = None
    ) -> None:
        """Report status to all nodes. If it changes several times in a second, only the last one is published.

        ``status`` has at most 1,024 characters. ``metrics`` become a JSON object of at most ``metrics_bytes_max``
        bytes. After ``until`` seconds the status is reset to empty unless it was set again, so that an agent that hangs
        does not stay busy for ever. Agents with the status ``"busy"`` are the last to be delegated a task.

        Raises :class:`~meshp2p.errors.ConfigError` for invalid values; then nothing changed.
        """
        check_name("status", status)
        text = encode_metrics(metrics).decode()
        if until is not None:
            check_seconds("until", until)
        await self._bridge.run(lambda: self._node.set_status(status, text, until))

    # Shared maps

    def shared(self, name: str, *, merge: MergeFunction | None = None) -> SharedMap:
        """Open a shared map. The same name always returns the same object. See the page on shared maps.

        ``merge(one, other)`` merges two concurrent values of a key. It must be commutative, associative and idempotent,
        and the same on all nodes. It runs in the node's thread, so it must be fast and must not use the node. Without
        it, the later write wins.

        Raises :class:`~meshp2p.errors.ConfigError`, :class:`~meshp2p.errors.LimitExceeded`, and
        :class:`~meshp2p.errors.LocalProtocolError` if the map is open with another ``merge``.
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
        """Send a message and return its id.

        When this returns, the message is stored and will be delivered: see the page on messages. ``kind`` is a standard
        kind (``"Query"``, ``"Notification"``, ...) or any string. ``payload`` is anything with a JSON form, of at most
        2 MiB. With ``if_absent="queue"``, a message for an instance that is dead is kept until it is back, or until the
        message expires.

        Raises :class:`~meshp2p.errors.UnknownInstance` if ``target`` is not listed (with ``"queue"``: nor remembered as
        dead), :class:`~meshp2p.errors.MailboxFull`, :class:`~meshp2p.errors.StoreFull`,
        :class:`~meshp2p.errors.LimitExceeded`, and :class:`~meshp2p.errors.ConfigError` for an invalid payload or kind.
        Then nothing was stored. After a cancellation or a timeout, it is unknown whether the message was accepted.
        """
        check_name("target", target)
        check_if_absent(if_absent)
        split_kind(kind)
        check_optional_name("correlation_id", correlation_id)
        text = encode_payload(payload)
        with self._node.tracing.sending("send", kind, len(text), target, correlation_id) as span:
            message_id = await self._bridge.run(
                lambda: self._node.send(target, text, kind, correlation_id, if_absent, span.trace),
                timeout,
                f"the message to {target!r} was not accepted",
            )
            span.note_id(message_id)
        return message_id

    async def broadcast(self, payload: object, *, kind: str = "Notification", timeout: float | None = None) -> str:
        """Send a message to every other live instance and return its id. Raises the same errors as :meth:`send`."""
        split_kind(kind)
        text = encode_payload(payload)
        with self._node.tracing.sending("send", kind, len(text)) as span:
            message_id = await self._bridge.run(
                lambda: self._node.send(None, text, kind, None, trace=span.trace),
                timeout,
                "the message was not accepted",
            )
            span.note_id(message_id)
        return message_id

    async def message_status(self, message_id: str, *, timeout: float | None = None) -> tuple[Receipt, ...]:
        """Return the status of each copy of a message, whichever node accepted it.

        Raises :class:`~meshp2p.errors.UnknownMessage` if no node knows the message, and
        :class:`~meshp2p.errors.Unreachable`.
        """
        check_name("message_id", message_id)
        receipts = await self._bridge.run(lambda: self._node.message_status(message_id), timeout, "nobody answered")
        if not receipts:
            raise UnknownMessage(f"message {message_id!r}: no node knows it, or remembers it any longer")
        return tuple(map(receipt_of, receipts))

    def inbox(self) -> NodeIterator[ReceivedMessage]:
        """Iterate over the messages that no handler takes, from the oldest unacknowledged one.

        Acknowledge each message when its work is done; otherwise the next inbox delivers it again. Several open inboxes
        share the messages: each message goes to one of them.
        """
        bridge = self._bridge
        return NodeIterator(bridge.iterate(self._node.inbox), bridge.received)

    def handler(
        self, kind: str, *, concurrency: int = CONCURRENCY, timeout: float | None = None
    ) -> Callable[[_Handler], _Handler]:
        """Register an async function for messages of one kind: a decorator. The function runs in the agent's loop.

        It takes ``(message)``, ``(payload: TYPE)`` or ``(payload: TYPE, message)``. The type can be a Struct,
        dataclass, TypedDict, Pydantic model or any type that msgspec converts to. The return value is the answer to a
        Query (a Response) or a TaskDelegation (a TaskResult); for other kinds, a return value other than None is sent
        back. An async generator answers in parts, the values that it yields. Then the message is acknowledged. An
        exception is logged and sent back as an error. Up to ``concurrency`` messages are handled at the same time.

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
        """Ask another agent a question and return its answer. The query is one call and is not stored.

        With ``reply`` the answer is converted to that type: a Struct, dataclass, TypedDict, Pydantic model, or any type
        that msgspec converts to. The query is sent at most once. If this call is cancelled or times out, the handler
        that answers is cancelled. If the handler yields several values, the last one is the answer. An agent that
        speaks only HTTP finds the query in its mailbox until the timeout, and its Response is the answer.

        Raises :class:`~meshp2p.errors.QueryTimeout` after ``timeout`` seconds; :class:`~meshp2p.errors.ConnectionLost`
        if the agent died or left, or the connection broke, before it answered; :class:`~meshp2p.errors.NoHandler` if it
        has no handler for queries (in the first second after it opened, the query waits for one);
        :class:`~meshp2p.errors.RemoteError` if it answers with an error; :class:`~meshp2p.errors.Unreachable` if no
        connection can be made; :class:`~meshp2p.errors.PayloadMismatch` if the answer does not fit ``reply``; and the
        same errors as :meth:`send` for an invalid payload.
        """
        check_name("target", target)
        check_seconds("timeout", timeout)
        if reply is not None:
            check_shape(reply, "reply")
        text = encode_payload(payload)
        with self._node.tracing.sending("query", "", len(text), target) as span:
            answer = await self._bridge.run(lambda: self._node.queries.query(target, text, timeout, span.trace))
        return decode_payload(answer, reply, f"answer of {target!r}")

    def ask(self, target: str, payload: object, *, timeout: float = 30.0) -> NodeIterator[Any]:
        """Ask another agent a question and iterate over the parts of its answer: ``async for part in node.ask(...)``.

        A handler that is an async generator answers in parts, the values that it yields. The last part is the answer.
        The answer of any other handler is its only part. ``timeout`` applies to each part. The next part is requested
        when the previous one was taken, apart from a limited buffer, so a slow reader slows the handler down. The
        handler is cancelled when the iterator is closed or garbage-collected.

        The iterator raises the same errors as :meth:`query`, after the parts that arrived before the error.
        """
        check_name("target", target)
        check_seconds("timeout", timeout)
        text = encode_payload(payload)
        span = self._node.tracing.sending("query", "", len(text), target)
        feed = self._bridge.iterate(lambda: self._node.queries.ask(target, text, timeout, span), ends_with_node=False)
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
        """Let a live agent do a task, and return its result: see :meth:`delegation`.

        Raises :class:`~meshp2p.errors.DelegationFailed`, whose ``state`` tells how the task ended, or its subclass
        :class:`~meshp2p.errors.DelegationTimeout` after ``timeout`` seconds. Cancelling this call cancels the task.
        """
        task = _make_task(payload, capability, profile, wait, include_self)
        if timeout is not None:
            check_seconds("timeout", timeout)
        with self._traced(task) as traced:
            answer = await self._bridge.run(lambda: self._node.delegating.run(traced, timeout))
        return decode_payload(answer)

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
        """Let a live agent with the given capability and profile do a task, for the duration of a block.

        The task goes to an agent that is not busy and has the fewest tasks from this node. If that agent dies, leaves
        or declines (by raising :class:`~meshp2p.Declined`), it goes to the next one. If no agent is left, the task has
        failed; with ``wait`` it waits for a new one. The task never goes to this node itself, unless ``include_self``.
        The end of the block cancels the task if it has not ended.
        """
        task = _make_task(payload, capability, profile, wait, include_self)
        with self._traced(task) as traced:
            async with self._bridge.hold(lambda: self._node.delegating.open(traced)) as inner:
                yield Delegation(self._bridge, inner)

    @contextlib.contextmanager
    def _traced(self, task: Task) -> Iterator[Task]:
        what = task.capability or task.profile or ""
        with self._node.tracing.sending("delegate", what, len(task.text)) as span:
            yield msgspec.structs.replace(task, trace=span.trace)

    @contextlib.asynccontextmanager
    async def leadership(self, *, timeout: float | None = None) -> AsyncIterator[Lease]:
        """Wait until this node leads, and run the block while it does.

        When the leadership ends, the block is cancelled and then exits without an error, with ``lease.was_lost``. Send
        ``lease.token`` with every write, as a fencing token.

        Raises :class:`~meshp2p.errors.WaitTimeout` if the node does not lead within ``timeout`` seconds.
        """
        check_timeout(timeout)
        async with self._bridge.hold(lambda: self._node.leadership(timeout), is_cut=True) as inner:
            yield Lease(self._bridge, inner)

    async def leave(self) -> None:
        """Announce that this node leaves the mesh. The end of the block and :meth:`close` do this."""
        await self._bridge.run(self._node.leave)


def _check_wanted(capability: object, profile: object) -> None:
    check_optional_name("capability", capability)
    check_optional_name("profile", profile)


def _make_task(payload: object, capability: str | None, profile: str | None, wait: bool, include_self: bool) -> Task:
    _check_wanted(capability, profile)
    check_flag("wait", wait)
    check_flag("include_self", include_self)
    return Task(encode_payload(payload), capability, profile, wait, include_self)
