"""The operations of a node that its agent and HTTP callers share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from meshp2p.core.address import Address
from meshp2p.core.calls import (
    CallReply,
    DeregisterReply,
    Done,
    FetchReply,
    HeartbeatReply,
    InstanceReply,
    Pong,
    Probe,
    Refused,
    SendReply,
    StatusReply,
    Why,
)
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.instance import ListedInstance
from meshp2p.core.mail.uuid7 import is_uuid7
from meshp2p.core.message import CopyReceipt, IfAbsent, Message
from meshp2p.core.record import tag_of
from meshp2p.core.requests import Acknowledge, AskStatus, Deregister, Fetch, Heartbeat, ReadInstance, SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import InternalError, MailboxFull, MeshError, StoreFull, Unreachable
from meshp2p.net.driver import Driver
from meshp2p.node.administration import Administration
from meshp2p.wire.contract import PingResponse

__all__ = ["NodeBackend"]

_T = TypeVar("_T")

PING_TIMEOUT: Final = 2.0
"""Seconds for a ping over all routes; half of it for one of them. Chosen, not measured."""

_ERRORS: Final[dict[Why, type[MeshError]]] = {
    Why.STORE_FULL: StoreFull,
    Why.MAILBOX_FULL: MailboxFull,
    Why.UNREACHABLE: Unreachable,
    Why.NOT_HOME: Unreachable,
}


class NodeBackend:
    """A running node as the HTTP endpoints use it: their ``Backend``."""

    def __init__(self, driver: Driver, addresses: tuple[Address, ...]) -> None:
        self.addresses = addresses
        """The addresses at which others reach this node, the best first. They change when the machine's addresses
        do."""
        self.loss: str | None = None
        """A description of what was lost on disk before the start, or None."""
        self.metrics: Callable[[], bytes] = bytes
        """Returns all metrics in Prometheus' text format; set by the runner, which has all parts."""
        self.recording: Callable[[], bytes] = bytes
        """Returns the flight recording; set by the runner as well."""
        self.make_status: Callable[[bool, tuple[str, ...]], Awaitable[tuple[bytes, ...]]]
        """Returns the status of the mesh as JSON, with series or without; set by the runner as well."""
        self.admin: Administration | None = None
        """Invites and revokes machines; set by the runner as well, in a secured mesh."""
        self._driver = driver
        self._machine = driver.machine
        self._clock = trio.lowlevel.current_clock()
        self._started = self._clock.current_time()
        self._is_leaving = False

    @property
    def id(self) -> str:
        """This node's id in the mesh."""
        return self._machine.id

    @property
    def url(self) -> str:
        """The base URL of this node's HTTP endpoints, for agents on this machine, or on the LAN if it is bound to
        that."""
        return f"http://{self.addresses[0]}"

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self._clock.current_time() - self._started

    # The mesh now

    @property
    def leader(self) -> ListedInstance | None:
        """The leader; None while there is none: the node has just begun, or its side of a partition has no quorum."""
        return self._machine.leader(self._clock.current_time())

    @property
    def leader_id(self) -> str | None:
        """The id of the leader, or None."""
        return self._machine.leader_id

    def members(self) -> list[ListedInstance]:
        """Return all live instances, this one among them, ordered by the bytes of their ids."""
        return self._machine.instances(self._clock.current_time())

    @property
    def listed_version(self) -> tuple[int, str | None]:
        """Differs whenever what :meth:`members` lists has changed, but for the times of the last heartbeats."""
        return self._machine.listed_version

    def member(self, instance_id: str) -> ListedInstance | None:
        """Return the live instance of this id; None if there is none."""
        return self._machine.instance(instance_id, self._clock.current_time())

    async def look_up(self, instance_id: str) -> ListedInstance | None:
        """Return the live instance of this id as its home knows it, or as this node does if the home does not answer
        within 250 ms; None if there is none."""
        if self._is_leaving:
            return self.member(instance_id)
        record = _expect(InstanceReply, await self._driver.request(ReadInstance(instance_id))).record
        return None if record is None else self._machine.show(record, trio.current_time())

    async def ping(self, instance_id: str) -> PingResponse | None:
        """Call the home of a live instance, directly or through a node that reaches it; None if there is no such
        instance. Raises :class:`~meshp2p.errors.Unreachable` if the home does not answer within ``PING_TIMEOUT``."""
        instance = self.member(instance_id)
        if instance is None:
            return None
        home = instance.home
        if home == self.id:
            return PingResponse(instance_id, home, None, 0.0)
        failures: list[str] = []
        with trio.move_on_after(PING_TIMEOUT):
            for route in self._driver.routes(home):
                call = Call(
                    0, route.addresses, Probe(tag_of(home)), PING_TIMEOUT / 2, route.node_id, route.boot, route.target
                )
                began = self._clock.current_time()
                reply = await self._driver.call(call)
                if isinstance(reply, Pong) and reply.id == home:
                    seconds = self._clock.current_time() - began
                    return PingResponse(instance_id, home, route.via or None, seconds)
                failures.append(
                    reply.reason if isinstance(reply, CallFailed) else f"{route.node_id}: another node answers"
                )
        raise Unreachable(f"node {home!r} does not answer: {'; '.join(failures) or 'no route is known'}")

    # What the HTTP endpoints ask: the Backend protocol

    def why_not_ready(self) -> str | None:
        """Return why this node should not be asked now; None if it may be."""
        if self._is_leaving:
            return "the node is leaving"
        if self._machine.hears_nobody:
            return "no other node is heard: the network may be cut, and the node checks which others live"
        if not self._machine.is_settled:
            return "the node is settling: it has just started, was suspended, or lost many nodes at once"
        failure = self._machine.storage_failure
        return None if failure is None else f"nothing is kept on disk now: {failure}"

    async def status(self, *, has_series: bool, actions: tuple[str, ...] = ()) -> tuple[bytes, ...]:
        """Return the parts of the status of the mesh as JSON, with the series or without. ``actions`` are those of the
        caller."""
        return await self.make_status(has_series, actions)

    async def catch_up(self) -> None:
        """Take in what other nodes have already sent."""
        await self._driver.catch_up()

    async def owner_of(self, instance_id: str) -> str:
        """Return the caller that a live instance belongs to, empty if there is none. Raises
        :class:`~meshp2p.errors.Unreachable` if the home of the instance does not answer."""
        reply = _expect(InstanceReply, await self._driver.request(ReadInstance(instance_id)))
        if not reply.is_home:
            raise Unreachable(f"the home of instance {instance_id!r} does not answer: try again")
        return reply.owner

    async def register(self, profile: Profile, owner: str = "") -> None:
        """Host an instance that speaks only HTTP; when this returns others were told. It belongs to ``owner`` then.

        Raises :class:`~meshp2p.errors.InstanceConflict` and :class:`~meshp2p.errors.LimitExceeded`; then nothing
        changed.
        """
        self._driver.perform(self._machine.register(profile, trio.current_time(), owner))

    async def heartbeat(self, instance_id: str, status: str, metrics: str, owner: str = "") -> HeartbeatReply:
        """Take a heartbeat of any instance, wherever its home is. If this node adopts the instance, it belongs to
        ``owner``."""
        return _expect(HeartbeatReply, await self._driver.request(Heartbeat(instance_id, status, metrics, owner)))

    async def deregister(self, instance_id: str) -> bool:
        """Take a hosted instance off the list; whether there was one. Raises
        :class:`~meshp2p.errors.InstanceConflict`."""
        reply = await self._driver.request(Deregister(instance_id))
        return isinstance(reply, DeregisterReply) and reply.was_found

    async def send_message(
        self,
        source: str,
        target: str | None,
        kind: str,
        name: str,
        payload: bytes,
        correlation_id: str | None,
        is_error: bool = False,
        timeout: float | None = None,
        if_absent: IfAbsent = "refuse",
        trace: str | None = None,
    ) -> SendReply:
        """Accept a message from ``source`` for ``target``, or for every other live instance if that is None.

        When this returns, the message is stored, for ``timeout`` seconds or as long as any message. ``payload`` is JSON
        text that has been checked; ``is_error`` marks an answer that is an error. With ``if_absent="queue"``,
        ``target`` may be an instance that the mesh remembers as dead. ``trace`` is the sender's trace context.

        Raises :class:`~meshp2p.errors.UnknownInstance`, :class:`~meshp2p.errors.MailboxFull`,
        :class:`~meshp2p.errors.StoreFull`, :class:`~meshp2p.errors.LimitExceeded` and
        :class:`~meshp2p.errors.NodeClosed`; then nothing was kept.
        """
        request = SendMessage(source, target, kind, name, payload, correlation_id, is_error, timeout, if_absent, trace)
        return _expect(SendReply, await self._driver.request(request))

    async def fetch(self, recipient: str, limit: int, after: str = "", wait: float = 0.0) -> tuple[Message, ...]:
        """Return up to ``limit`` messages from the mailbox of ``recipient``, the oldest first, wherever its home is.

        ``after`` is the id of a message, to get only later ones. If there is none, wait ``wait`` seconds for one.

        Raises :class:`~meshp2p.errors.Unreachable`. Cancel-safe: reading takes nothing out.
        """
        return _expect(FetchReply, await self._driver.request(Fetch(recipient, limit, after, wait))).messages

    async def acknowledge(self, recipient: str, message_ids: tuple[str, ...]) -> None:
        """Remove messages from the mailbox of ``recipient``, wherever its home is. Ids that are not in it are ignored.

        Raises :class:`~meshp2p.errors.Unreachable` and :class:`~meshp2p.errors.StoreFull`.
        """
        known = tuple(dict.fromkeys(message_id for message_id in message_ids if is_uuid7(message_id)))
        if known:
            _expect(Done, await self._driver.request(Acknowledge(recipient, known)))

    async def message_status(self, message_id: str) -> tuple[CopyReceipt, ...]:
        """Return the status of each copy of a message, whichever node accepted it. Empty if no node knows the message.

        Raises :class:`~meshp2p.errors.Unreachable`.
        """
        if not is_uuid7(message_id):
            return ()
        return _expect(StatusReply, await self._driver.request(AskStatus(message_id))).receipts


def _expect(shape: type[_T], reply: CallReply) -> _T:
    """Return the reply, which must be a ``shape``. Raises what a :class:`~meshp2p.core.calls.Refused` stands for."""
    if isinstance(reply, Refused):
        raise _ERRORS[reply.why](reply.message)
    if not isinstance(reply, shape):  # no check(): its message would be written each time, with a mailbox in it
        raise InternalError(f"expected {shape.__name__}, and the answer is a {type(reply).__name__}")
    return reply
