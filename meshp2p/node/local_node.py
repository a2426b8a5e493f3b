"""One life of a node in its own trio loop. Agents see it through :mod:`meshp2p.threaded`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable

import trio

from meshp2p.core.address import Address
from meshp2p.core.events import Event, InstanceDied, InstanceJoined, InstanceLeft, LeadershipChanged
from meshp2p.core.instance import ListedInstance
from meshp2p.core.mail.uuid7 import MessageIds
from meshp2p.core.message import IfAbsent
from meshp2p.core.randomness import Randomness
from meshp2p.core.record import tag_of
from meshp2p.errors import ConfigError, NodeClosed, check
from meshp2p.http.request import Write
from meshp2p.net.driver import Driver
from meshp2p.net.open_calls import CallOpener
from meshp2p.node.answering import QueryServer
from meshp2p.node.backend import NodeBackend
from meshp2p.node.config import NodeConfig
from meshp2p.node.correspondence import Correspondence
from meshp2p.node.delegation import Delegating
from meshp2p.node.event_log import EventLog
from meshp2p.node.events import LeaderChanged, MemberJoined, NetworkProblemFound, NodeEvent, event_of
from meshp2p.node.handlers import HandlerFunction, Handlers
from meshp2p.node.inbox import Inbox
from meshp2p.node.instance import instance_of
from meshp2p.node.leadership import HeldLease, hold_leadership
from meshp2p.node.local_map import LocalMap, LocalMaps, MergeFunction
from meshp2p.node.queries import Queries
from meshp2p.node.received import REPLY_KINDS, RESPONSE, ReceivedMessage, split_kind
from meshp2p.node.request_client import RequestClient
from meshp2p.node.subscriptions import Feed, Subscriptions
from meshp2p.node.tracing import Tracing

__all__ = ["LocalNode"]


class LocalNode(NodeBackend):
    """A running node, to be used in its own loop; what only reads its view may be asked from any thread."""

    def __init__(
        self,
        config: NodeConfig,
        driver: Driver,
        subscriptions: Subscriptions,
        maps: LocalMaps,
        addresses: tuple[Address, ...],
        random: Randomness,
        wall_ms: Callable[[], int],
        opener: CallOpener,
        tracing: Tracing,
    ) -> None:
        super().__init__(driver, addresses)
        self.config = config
        self.tracing: Tracing = tracing
        self._subscriptions = subscriptions
        self._maps = maps
        ids = MessageIds(tag_of(self.id), random)
        self._requests = RequestClient(self._send_text, self._wait_gone, lambda: ids.next(wall_ms()))
        self._correspondence = Correspondence(
            lambda after, limit, wait: self.fetch(self.id, limit, after, wait),
            lambda message_id: driver.machine.has_mail(driver.machine.id, message_id),
            lambda message_ids: self.acknowledge(self.id, message_ids),
            self._reply,
            self._tell_progress,
            self._requests,
            tracing,
        )
        self.handlers: Handlers = self._correspondence.handlers
        self.answering: QueryServer = QueryServer(self.id, self.handlers, self._requests.handle_progress, wall_ms)
        """Serves the calls of other nodes that carry queries."""
        self.queries: Queries = Queries(
            self.id, opener, self.answering.serve, driver.machine.has_node, self._query_by_mail, ids, wall_ms
        )
        self.delegating: Delegating = Delegating(
            self.id, self._requests, self.find, self._subscriptions.wait_until, self._correspondence.want, random
        )
        self._event_log = EventLog(driver.machine, subscriptions, wall_ms)
        self._status_changed = trio.Event()
        self._status_deadline = math.inf

    def __repr__(self) -> str:
        return f"<LocalNode {self.id!r} of mesh {self.config.mesh!r} at {self.url}>"

    @property
    def is_leading(self) -> bool:
        """Whether this node leads now."""
        return self._machine.is_leading

    def find(self, capability: str | None, profile: str | None) -> list[ListedInstance]:
        """Return the live instances that have the capability and the profile, each if given."""
        ids = [
            record.id
            for record in self._machine.records().copy().values()
            if (capability is None or capability in record.capabilities)
            and (profile is None or profile in record.profiles)
        ]
        found = (self.member(instance_id) for instance_id in sorted(ids, key=str.encode))
        return [instance for instance in found if instance is not None]  # one may have gone meanwhile

    # Events and status

    def core_events(self) -> Feed[Event | NetworkProblemFound]:
        """As :meth:`events`, with the core's own events."""
        snapshot: list[Event] = [InstanceJoined(record) for _, record in sorted(self._machine.records().items())]
        if self._machine.leader_id is not None:
            snapshot.append(LeadershipChanged(self._machine.leader_id, None, self._machine.leader_epoch))
        return self._subscriptions.open(snapshot)

    def events(self) -> Feed[NodeEvent]:
        """Iterate over the current view, as ``MemberJoined`` and ``LeaderChanged``, then over each change, without a
        gap."""
        snapshot: list[NodeEvent] = [MemberJoined(instance_of(listed)) for listed in self.members()]
        leader = self.leader
        if leader is not None:
            snapshot.append(LeaderChanged(instance_of(leader), None))
        return self._subscriptions.open(
            snapshot, lambda event: event_of(event, self._machine, self._clock.current_time())
        )

    def open_events(self, last_id: str | None, *, has_past: bool) -> Callable[[Write], Awaitable[None]]:
        """See :meth:`~meshp2p.node.event_log.EventLog.open`."""
        return self._event_log.open(last_id, has_past=has_past)

    async def wait_for_members(self, count: int) -> list[ListedInstance]:
        await self._subscriptions.wait_until(lambda: len(self._machine.records()) >= count)
        return self.members()

    async def wait_for(self, count: int, capability: str | None, profile: str | None) -> list[ListedInstance]:
        """Wait until at least so many instances have the capability and the profile."""
        await self._subscriptions.wait_until(lambda: len(self.find(capability, profile)) >= count)
        return self.find(capability, profile)

    async def wait_for_leader(self) -> ListedInstance:
        """Wait until there is a leader; if it is this node, until its claim is on disk."""

        def is_led() -> bool:
            leader = self.leader
            return leader is not None and (leader.epoch > 0 or leader.id != self.id)

        await self._subscriptions.wait_until(is_led)
        leader = self.leader
        check(leader is not None, "a leader was named and is not listed")
        return leader  # type: ignore[return-value]  # checked

    async def set_status(self, status: str, metrics: str, until: float | None) -> None:
        """Report a status; ``metrics`` is a JSON object as text, empty for none."""
        size, allowed = len(metrics.encode()), self._machine.config.metrics_bytes_max
        if size > allowed:
            raise ConfigError(f"metrics of {size} bytes: expected at most {allowed}")
        self._driver.perform(self._machine.report(status, metrics, trio.current_time()))
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

    def shared(self, name: str, merge: MergeFunction | None) -> LocalMap:
        return self._maps.open(name, merge, self._driver)

    # Messages: payloads are JSON text that was checked

    async def send(
        self,
        target: str | None,
        payload: bytes,
        kind: str,
        correlation_id: str | None,
        if_absent: IfAbsent = "refuse",
        trace: str | None = None,
    ) -> str:
        """Accept a message for one instance, or for every other one if ``target`` is None. Return its id."""
        name, own = split_kind(kind)
        reply = await self.send_message(
            self.id, target, name, own, payload, correlation_id, if_absent=if_absent, trace=trace
        )
        return reply.message_id

    def inbox(self) -> Inbox:
        return self._correspondence.open_inbox()

    def handle(self, kind: str, function: HandlerFunction, concurrency: int, timeout: float | None) -> None:
        self._correspondence.handle(kind, function, concurrency, timeout)

    def leadership(self, timeout: float | None) -> contextlib.AbstractAsyncContextManager[HeldLease]:
        """Wait until this node leads; the block is cancelled when the leadership ends."""
        return hold_leadership(self._own_leader, self._subscriptions.wait_until, lambda: self.is_leading, timeout)

    def _own_leader(self) -> ListedInstance | None:
        leader = self.leader
        return leader if leader is not None and leader.id == self.id else None

    async def _tell_progress(self, delegator: str, correlation_id: str, payload: bytes) -> None:
        await self.queries.tell_progress(delegator, correlation_id, payload)

    async def _query_by_mail(self, target: str, payload: bytes, timeout: float, trace: str | None) -> bytes:
        self._correspondence.want()
        return await self._requests.query(target, payload, timeout, trace)

    async def _send_text(
        self, target: str, payload: bytes, kind: str, correlation_id: str, timeout: float, trace: str | None
    ) -> str:
        name, own = split_kind(kind)
        seconds = None if timeout == math.inf else timeout
        reply = await self.send_message(
            self.id, target, name, own, payload, correlation_id, timeout=seconds, trace=trace
        )
        return reply.message_id

    async def _reply(self, message: ReceivedMessage, payload: bytes, is_error: bool) -> str:
        kind, own = split_kind(REPLY_KINDS.get(message.kind, RESPONSE))
        correlation_id = message.correlation_id or message.id
        reply = await self.send_message(
            self.id, message.source, kind, own, payload, correlation_id, is_error, trace=message._message.trace
        )
        return reply.message_id

    async def _wait_gone(self, instance_id: str) -> None:
        await self._subscriptions.wait_until(lambda: instance_id not in self._machine.records())

    async def _notice_losses(self) -> None:
        """End queries to instances that died or left, and handlers that work for instances that died."""
        async for event in self._subscriptions.open(()):
            if isinstance(event, InstanceDied | InstanceLeft):
                self.queries.lose(event.id)
            if isinstance(event, InstanceDied):
                self.answering.lose(event.id)

    async def run_agent(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the parts that serve the agent, beside the protocol. Started by the runner."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_statuses)
            nursery.start_soon(self._notice_losses)
            await nursery.start(self.queries.run)
            await nursery.start(self._correspondence.run)
            task_status.started()

    # Its end

    async def leave(self) -> None:
        """Announce that this node leaves the mesh, and wait until enough nodes know, for at most ``leave_timeout``.

        The end of the node's block does it.
        """
        self._is_leaving = True
        self._event_log.end()
        with trio.CancelScope(shield=True):
            self._driver.perform(self._machine.leave(trio.current_time()))
            with trio.move_on_after(self._machine.config.leave_timeout):
                await self._driver.wait_until(lambda: self._machine.has_left)
        self._subscriptions.end()
        self._maps.end()
        self._correspondence.end()
        self.queries.end()
