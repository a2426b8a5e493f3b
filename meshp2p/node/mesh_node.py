"""The node, as the agent that embeds it sees it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import trio

from meshp2p.core.address import Address
from meshp2p.core.directory.state import Randomness
from meshp2p.core.events import Event, LeaderChanged, MemberDied, MemberJoined, MemberLeft
from meshp2p.core.instance import Instance, Leader
from meshp2p.core.mail.uuid7 import MessageIds
from meshp2p.core.record import tag_of
from meshp2p.errors import ConfigError, NodeClosed, check
from meshp2p.net.driver import Driver
from meshp2p.net.open_calls import CallOpener
from meshp2p.node.answering import QueryServer
from meshp2p.node.asking import Asking
from meshp2p.node.backend import NodeBackend
from meshp2p.node.config import NodeConfig, check_name
from meshp2p.node.correspondence import Correspondence
from meshp2p.node.delegation import Delegating, Delegation
from meshp2p.node.handlers import CONCURRENCY, HandlerFunction
from meshp2p.node.inbox import Inbox
from meshp2p.node.leadership import Lease, hold_leadership
from meshp2p.node.payload import decode_payload, encode_payload
from meshp2p.node.queries import Queries
from meshp2p.node.received import REPLY_KINDS, RESPONSE, ReceivedMessage, split_kind
from meshp2p.node.reply_parts import ReplyParts
from meshp2p.node.shared import MergeFunction, SharedMap, SharedMaps
from meshp2p.node.subscriptions import Subscription, Subscriptions

__all__ = ["MeshNode"]

_Handler = TypeVar("_Handler", bound=HandlerFunction)


class MeshNode(NodeBackend):
    """A running node. Made by :func:`~meshp2p.node.opening.open_node`."""

    def __init__(
        self,
        config: NodeConfig,
        driver: Driver,
        subscriptions: Subscriptions,
        maps: SharedMaps,
        addresses: tuple[Address, ...],
        random: Randomness,
        wall_ms: Callable[[], int],
        opener: CallOpener,
    ) -> None:
        super().__init__(driver, addresses)
        self.config = config
        self._subscriptions = subscriptions
        self._maps = maps
        ids = MessageIds(tag_of(self.id), random)
        self._asking = Asking(self._send_text, self._wait_gone, lambda: ids.next(wall_ms()))
        self._correspondence = Correspondence(
            lambda after, limit, wait: self.fetch(self.id, limit, after, wait),
            lambda message_id: driver.machine.has_mail(driver.machine.id, message_id),
            lambda message_ids: self.acknowledge(self.id, message_ids),
            self._reply,
            self._tell_progress,
            self._asking,
        )
        handlers = self._correspondence.handlers
        self.answering: QueryServer = QueryServer(self.id, handlers, self._asking.take_progress, wall_ms)
        """Serves the calls of other nodes that carry queries."""
        self.queries: Queries = Queries(
            self.id, opener, self.answering.serve, driver.machine.has_node, self._query_by_mail, ids, wall_ms
        )
        self.delegating: Delegating = Delegating(self._asking, self._others, self._correspondence.want, random)
        self._status_changed = trio.Event()
        self._status_deadline = math.inf

    def __repr__(self) -> str:
        return f"<MeshNode {self.id!r} of mesh {self.config.mesh!r} at {self.url}>"

    def find(self, *, capability: str | None = None, profile: str | None = None) -> list[Instance]:
        """The live instances that have the capability and the profile, each where it is given."""
        return [
            instance
            for instance in self.members()
            if (capability is None or capability in instance.capabilities)
            and (profile is None or profile in instance.profiles)
        ]

    # What happens

    def events(self) -> Subscription:
        """What is so now, as ``MemberJoined`` and ``LeaderChanged``, then each change, with no gap.

        A reader that is slower than the mesh is told so by ``EventsLost``, and never slows the node. It ends when the
        node has left.
        """
        snapshot: list[Event] = [MemberJoined(record) for _, record in sorted(self._machine.records().items())]
        if self._machine.leader_id is not None:
            snapshot.append(LeaderChanged(self._machine.leader_id, None, self._machine.leader_epoch))
        return self._subscriptions.open(snapshot)

    async def wait_for_members(self, count: int) -> list[Instance]:
        """Wait until at least so many instances are live, this one among them, and return them.

        Raises :class:`~meshp2p.errors.NodeClosed` when the node leaves before. Put a ``trio.fail_after`` around it to
        wait no longer than that.
        """
        await self._subscriptions.wait_until(lambda: len(self._machine.records()) >= count)
        return self.members()

    async def wait_for_leader(self) -> Leader:
        """Wait until there is a leader, and return it: where it is this node, once its claim is on disk. Raises
        :class:`~meshp2p.errors.NodeClosed` when the node leaves before."""

        def is_led() -> bool:
            leader = self.leader
            return leader is not None and (leader.epoch > 0 or not leader.is_self)

        await self._subscriptions.wait_until(is_led)
        leader = self.leader
        check(leader is not None, "a leader was named and is not listed")
        return leader  # type: ignore[return-value]  # checked

    async def set_status(
        self, status: str, metrics: dict[str, Any] | None = None, *, until: float | None = None
    ) -> None:
        """Tell the mesh how this agent is doing. Rate-limited: of several in a second the last one is told.

        ``status`` has at most 1,024 characters; ``metrics`` become a JSON object of at most ``metrics_bytes_max``
        bytes. After ``until`` seconds the status is empty again, unless it was set anew: an agent that hangs does not
        stay busy for ever. Who is ``"busy"`` is delegated a task last.

        Raises :class:`~meshp2p.errors.ConfigError` for others, and :class:`~meshp2p.errors.NodeClosed` once the
        node has left; then nothing changed.
        """
        check_name("status", status)
        try:
            text = "" if metrics is None else msgspec.json.encode(dict(metrics)).decode()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"metrics: {error}; expected what JSON has a form for") from None
        size, allowed = len(text.encode()), self._machine.config.metrics_bytes_max
        if size > allowed:
            raise ConfigError(f"metrics of {size} bytes: expected at most {allowed}")
        if until is not None and not until > 0:
            raise ConfigError(f"until = {until!r}: expected seconds above 0, or None")
        self._driver.perform(self._machine.report(status, text, trio.current_time()))
        self._status_deadline = math.inf if until is None else trio.current_time() + until
        self._status_changed.set()
        await trio.lowlevel.checkpoint()

    async def _end_statuses(self) -> None:
        """Take back each status whose time is over."""
        while True:
            self._status_changed = trio.Event()
            with trio.move_on_at(self._status_deadline):
                await self._status_changed.wait()
                continue
            self._status_deadline = math.inf
            with contextlib.suppress(NodeClosed):
                self._driver.perform(self._machine.report("", "", trio.current_time()))

    # What is shared

    def shared(self, name: str, *, merge: MergeFunction | None = None) -> SharedMap:
        """The map of this name, which all nodes that open it have in common: see the page on shared maps.

        ``merge(one, other)`` joins two values of a key that were written without knowing of one another; it must be
        commutative, associative and idempotent, and the same on all nodes. Without it the later write prevails.

        Raises :class:`~meshp2p.errors.ConfigError`, :class:`~meshp2p.errors.LimitExceeded`,
        :class:`~meshp2p.errors.LocalProtocolError` where it is open with another ``merge``, and
        :class:`~meshp2p.errors.NodeClosed`.
        """
        return self._maps.open(name, merge, self._driver)

    # Messages

    async def send(
        self, target: str, payload: object, *, kind: str = "Notification", correlation_id: str | None = None
    ) -> str:
        """Send a message; its id. When this returns it is kept, and will be delivered: see the page on messages.

        ``kind`` is one of the contract's (``"Query"``, ``"Notification"``, ...) or any text of your own; ``payload`` is
        whatever JSON has a form for, at most 2 MiB of it.

        Raises :class:`~meshp2p.errors.UnknownInstance` where ``target`` is not listed,
        :class:`~meshp2p.errors.MailboxFull`, :class:`~meshp2p.errors.StoreFull`,
        :class:`~meshp2p.errors.LimitExceeded`, :class:`~meshp2p.errors.ConfigError` for a payload or kind that cannot
        be sent, and :class:`~meshp2p.errors.NodeClosed`; then nothing was kept. Cancel-safe: whether it was accepted is
        then unknown.
        """
        check_name("target", target)
        name, own = split_kind(kind)
        reply = await self.send_message(self.id, target, name, own, encode_payload(payload), correlation_id)
        return reply.message_id

    async def broadcast(self, payload: object, *, kind: str = "Notification") -> str:
        """Send a message to every other live instance; its id. Raises what :meth:`send` raises."""
        name, own = split_kind(kind)
        return (await self.send_message(self.id, None, name, own, encode_payload(payload), None)).message_id

    def inbox(self) -> Inbox:
        """The messages that no handler takes. Acknowledge each when it is done with: it is handed out again
        otherwise."""
        return self._correspondence.open_inbox()

    def handler(
        self, kind: str, *, concurrency: int = CONCURRENCY, timeout: float | None = None
    ) -> Callable[[_Handler], _Handler]:
        """Handle the messages of this kind: a decorator of an async function.

        It takes ``(message)``, ``(payload: SHAPE)`` or ``(payload: SHAPE, message)``, where the shape is a Struct,
        dataclass, TypedDict or anything msgspec converts to. What it returns is the answer to a Query (a Response) or a
        TaskDelegation (a TaskResult); for other kinds only what is not None is sent. Then the message is acknowledged.
        An exception is answered as an error, and logged where nobody is answered. ``timeout`` is in seconds.

        Raises :class:`~meshp2p.errors.HandlerConflict` and :class:`~meshp2p.errors.ConfigError`.
        """
        split_kind(kind)

        def add(function: _Handler) -> _Handler:
            self._correspondence.handle(kind, function, concurrency, timeout)
            return function

        return add

    async def query(self, target: str, payload: object, *, timeout: float = 30.0) -> Any:
        """Ask another agent, and return its answer: one call, and nothing is kept of it.

        At most once: nothing is asked again. Where this is cancelled or its time is over, the handler that answers is
        cancelled. The last of what a handler yields is its answer. An agent that speaks only HTTP finds the question in
        its mailbox until the time is over, and its Response is the answer.

        Raises :class:`~meshp2p.errors.QueryTimeout` after so many seconds, :class:`~meshp2p.errors.ConnectionLost`
        where the agent died or left, or the connection broke, before it answered,
        :class:`~meshp2p.errors.NoHandler` where it has no handler for queries (in the second after it was opened it is
        waited for one), :class:`~meshp2p.errors.RemoteError` where it answers with an error,
        :class:`~meshp2p.errors.Unreachable` where no connection can be made, and for a payload what :meth:`send`
        raises.
        """
        return decode_payload(await self.queries.query(target, encode_payload(payload), timeout))

    def ask(self, target: str, payload: object, *, timeout: float = 30.0) -> ReplyParts:
        """Ask another agent, and iterate over the parts of its answer: ``async for part in node.ask(...)``.

        A handler that is an async generator answers in parts: what it yields. The last part is the answer; of another
        handler it is the only one. ``timeout`` is in seconds for each part. A part is fetched when the one before was
        taken, up to what is on its way; so a slow reader slows the handler. The handler is cancelled when the iterator
        is closed or forgotten.

        The iterator raises what :meth:`query` raises; the parts before an error were given.
        """
        return self.queries.ask(ReplyParts, target, encode_payload(payload), timeout)

    async def delegate(
        self,
        payload: object,
        *,
        capability: str | None = None,
        profile: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Let some live agent do a task, and return its result: see :meth:`delegation`.

        Raises :class:`~meshp2p.errors.DelegationFailed`, whose ``state`` tells how it ended; after ``timeout`` seconds
        it has failed. Cancelled, it cancels the task.
        """
        return decode_payload(await self.delegating.run(encode_payload(payload), capability, profile, timeout))

    def delegation(
        self, payload: object, *, capability: str | None = None, profile: str | None = None
    ) -> contextlib.AbstractAsyncContextManager[Delegation]:
        """Let some live agent that has the capability and the profile do a task, for the time of a block.

        It goes to one that is not busy and has the fewest tasks of this node's, and to the next one where that dies,
        leaves or declines (by raising :class:`~meshp2p.node.handlers.Declined`). At the end of the block it is
        cancelled unless it has ended.
        """
        return self.delegating.open(encode_payload(payload), capability, profile)

    def leadership(self) -> contextlib.AbstractAsyncContextManager[Lease]:
        """Wait until this node leads, and run the block while it does: it is cancelled when the leadership ends, and
        then ends quietly, with ``lease.was_lost``. ``lease.token`` fences what it writes.

        Raises :class:`~meshp2p.errors.NodeClosed` where the node leaves before it led.
        """
        return hold_leadership(self._own_leader, self._subscriptions.wait_until, self._is_leading)

    def _is_leading(self) -> bool:
        return self._machine.is_leading

    def _own_leader(self) -> Leader | None:
        leader = self.leader
        return leader if leader is not None and leader.is_self else None

    async def _tell_progress(self, delegator: str, correlation_id: str, payload: bytes) -> None:
        await self.queries.tell_progress(delegator, correlation_id, payload)

    def _others(self) -> list[Instance]:
        return [instance for instance in self.members() if instance.id != self.id]

    async def _query_by_mail(self, target: str, payload: bytes, timeout: float) -> bytes:
        self._correspondence.want()
        return await self._asking.query(target, payload, timeout)

    async def _send_text(self, target: str, payload: bytes, kind: str, correlation_id: str, timeout: float) -> str:
        name, own = split_kind(kind)
        reply = await self.send_message(
            self.id, target, name, own, payload, correlation_id, timeout=None if timeout == math.inf else timeout
        )
        return reply.message_id

    async def _reply(self, message: ReceivedMessage, payload: bytes, is_error: bool) -> str:
        kind, own = split_kind(REPLY_KINDS.get(message.kind, RESPONSE))
        correlation_id = message.correlation_id or message.id
        reply = await self.send_message(self.id, message.source, kind, own, payload, correlation_id, is_error)
        return reply.message_id

    async def _wait_gone(self, instance_id: str) -> None:
        await self._subscriptions.wait_until(lambda: instance_id not in self._machine.records())

    async def _notice_losses(self) -> None:
        """Queries to whom is gone end, and the handlers of whoever died."""
        async for event in self._subscriptions.open(()):
            if isinstance(event, MemberDied | MemberLeft):
                self.queries.lose(event.id)
            if isinstance(event, MemberDied):
                self.answering.lose(event.id)

    async def run_agent(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """What runs beside the protocol for the agent's sake. Started by the runner."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_statuses)
            nursery.start_soon(self._notice_losses)
            await nursery.start(self.queries.run)
            await nursery.start(self._correspondence.run)
            task_status.started()

    # Its end

    async def leave(self) -> None:
        """Tell the mesh that this node goes, and wait until enough have heard, ``leave_timeout`` at the most.

        :func:`~meshp2p.node.opening.open_node` does it at the end of its block.
        """
        self._is_leaving = True
        with trio.CancelScope(shield=True):
            self._driver.perform(self._machine.leave(trio.current_time()))
            with trio.move_on_after(self._machine.config.leave_timeout):
                await self._driver.wait_until(lambda: self._machine.has_left)
        self._subscriptions.end()
        self._maps.end()
        self._correspondence.end()
        self.queries.end()
