"""The node, as the agent that embeds it sees it."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
import trio

from meshp2p.core.address import Address
from meshp2p.core.events import Event, LeaderChanged, MemberJoined
from meshp2p.core.hosting import Profile
from meshp2p.core.instance import Instance, Leader
from meshp2p.core.message import Message, Receipt
from meshp2p.core.messages import (
    CallReply,
    DeregisterReply,
    Done,
    FetchReply,
    HeartbeatReply,
    Refused,
    SendReply,
    StatusReply,
    Why,
)
from meshp2p.core.requests import Acknowledge, AskStatus, Deregister, Fetch, Heartbeat, SendMessage
from meshp2p.core.uuid7 import is_uuid7
from meshp2p.errors import ConfigError, MailboxFull, MeshError, StoreFull, Unreachable, check
from meshp2p.net.driver import Driver
from meshp2p.node.config import NodeConfig, check_name
from meshp2p.node.subscriptions import Subscription, Subscriptions

__all__ = ["MeshNode"]

_T = TypeVar("_T")

_FLUSH_TIMEOUT = 2.0
"""Seconds that a leaving node waits for its disk at most. Chosen, not measured."""

_ERRORS: Final[dict[Why, type[MeshError]]] = {
    Why.STORE_FULL: StoreFull,
    Why.MAILBOX_FULL: MailboxFull,
    Why.UNREACHABLE: Unreachable,
    Why.NOT_HOME: Unreachable,
}


class MeshNode:
    """A running node. Made by :func:`~meshp2p.node.runner.open_node`."""

    def __init__(
        self, config: NodeConfig, driver: Driver, subscriptions: Subscriptions, addresses: tuple[Address, ...]
    ) -> None:
        self.config = config
        self.addresses = addresses
        """Where others reach this node, best first. They change when the machine's addresses do."""
        self._driver = driver
        self._machine = driver.machine
        self._subscriptions = subscriptions
        self._started = trio.current_time()
        self._is_leaving = False

    def __repr__(self) -> str:
        return f"<MeshNode {self.id!r} of mesh {self.config.mesh!r} at {self.url}>"

    @property
    def id(self) -> str:
        return self._machine.id

    @property
    def url(self) -> str:
        """The base of this node's HTTP endpoints, for agents on this machine or, where it is bound to it, on the
        LAN."""
        return f"http://{self.addresses[0]}"

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self._started

    # What is so

    @property
    def leader(self) -> Leader | None:
        """Who leads; None while nobody does: the node has just begun, or its side of a partition has no quorum."""
        return self._machine.leader()

    def members(self) -> list[Instance]:
        """All live instances, this one among them, ordered by the bytes of their ids."""
        return self._machine.instances(trio.current_time())

    def member(self, instance_id: str) -> Instance | None:
        """The live instance of this id; None where there is none."""
        return self._machine.instance(instance_id, trio.current_time())

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
        return self._subscriptions.open(snapshot, self._driver.events_pending)

    async def wait_for_members(self, count: int) -> list[Instance]:
        """Wait until at least so many instances are live, this one among them, and return them.

        Raises :class:`~meshp2p.errors.NodeClosed` when the node leaves before. Put a ``trio.fail_after`` around it to
        wait no longer than that.
        """
        await self._subscriptions.wait_until(lambda: len(self._machine.records()) >= count)
        return self.members()

    async def wait_for_leader(self) -> Leader:
        """Wait until there is a leader, and return it. Raises :class:`~meshp2p.errors.NodeClosed` when the node leaves
        before."""
        await self._subscriptions.wait_until(lambda: self._machine.leader_id is not None)
        await self._driver.flush()  # an epoch that is not on disk may be claimed again after a crash
        await self._subscriptions.wait_until(lambda: self._machine.leader_id is not None)
        leader = self.leader
        check(leader is not None, "a leader was named and is not listed")
        return leader  # type: ignore[return-value]  # checked

    def set_status(self, status: str, metrics: dict[str, Any] | None = None) -> None:
        """Tell the mesh how this agent is doing. Rate-limited: of several in a second the last one is told.

        ``status`` has at most 1,024 characters; ``metrics`` become a JSON object of at most ``metrics_bytes_max``
        bytes. Raises :class:`~meshp2p.errors.ConfigError` for others, and :class:`~meshp2p.errors.NodeClosed` once the
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
        self._driver.perform(self._machine.report(status, text, trio.current_time()))

    # What the HTTP endpoints ask: the Backend protocol

    def why_not_ready(self) -> str | None:
        """Why this node should not be asked now; None where it may be."""
        if self._is_leaving:
            return "the node is leaving"
        if not self._machine.is_settled:
            return "the node looks around: it has just begun, or was stopped, or lost many at once"
        return None

    async def catch_up(self) -> None:
        """Take in what other nodes have already sent, and wait until what there is to show is on disk."""
        self._driver.catch_up()
        await self._driver.flush()

    async def register(self, profile: Profile) -> None:
        """Host an instance that speaks only HTTP; when this returns others were told.

        Raises :class:`~meshp2p.errors.InstanceConflict` and :class:`~meshp2p.errors.LimitExceeded`; then nothing
        changed.
        """
        self._driver.perform(self._machine.register(profile, trio.current_time()))
        await self._driver.flush()

    async def heartbeat(self, instance_id: str, status: str, metrics: str) -> HeartbeatReply:
        """Take a heartbeat of any instance, wherever its home is."""
        return _expect(HeartbeatReply, await self._driver.request(Heartbeat(instance_id, status, metrics)))

    async def deregister(self, instance_id: str) -> bool:
        """Take a hosted instance off the list; whether there was one. Raises
        :class:`~meshp2p.errors.InstanceConflict`."""
        reply = await self._driver.request(Deregister(instance_id))
        return isinstance(reply, DeregisterReply) and reply.was_found

    async def send_message(
        self, source: str, target: str | None, kind: str, name: str, payload: bytes, correlation_id: str | None
    ) -> SendReply:
        """Accept a message from ``source`` for ``target``, or for every other live instance where that is None. When
        this returns it is kept. ``payload`` is JSON text that has been checked.

        Raises :class:`~meshp2p.errors.UnknownInstance`, :class:`~meshp2p.errors.MailboxFull`,
        :class:`~meshp2p.errors.StoreFull`, :class:`~meshp2p.errors.LimitExceeded` and
        :class:`~meshp2p.errors.NodeClosed`; then nothing was kept.
        """
        request = SendMessage(source, target, kind, name, payload, correlation_id)
        return _expect(SendReply, await self._driver.request(request))

    async def fetch(self, recipient: str, limit: int, after: str = "", wait: float = 0.0) -> tuple[Message, ...]:
        """What waits in the mailbox of ``recipient``, wherever its home is: up to ``limit`` messages behind the one
        with the id ``after``, oldest first; where there is none, wait so many seconds for one.

        Raises :class:`~meshp2p.errors.Unreachable`. Cancel-safe: reading takes nothing out.
        """
        return _expect(FetchReply, await self._driver.request(Fetch(recipient, limit, after, wait))).messages

    async def acknowledge(self, recipient: str, message_ids: tuple[str, ...]) -> None:
        """Take these out of the mailbox of ``recipient``, wherever its home is. What is not in it changes nothing.

        Raises :class:`~meshp2p.errors.Unreachable` and :class:`~meshp2p.errors.StoreFull`.
        """
        known = tuple(dict.fromkeys(message_id for message_id in message_ids if is_uuid7(message_id)))
        if known:
            _expect(Done, await self._driver.request(Acknowledge(recipient, known)))

    async def message_status(self, message_id: str) -> tuple[Receipt, ...]:
        """What became of each copy of a message, wherever it was accepted; empty where nobody knows it.

        Raises :class:`~meshp2p.errors.Unreachable`.
        """
        if not is_uuid7(message_id):
            return ()
        return _expect(StatusReply, await self._driver.request(AskStatus(message_id))).receipts

    async def answer_call(self, body: bytes) -> bytes:
        """Answer another node's call. Raises :class:`~meshp2p.errors.RemoteProtocolError`."""
        return await self._driver.answer_call(body)

    async def answer_watch(self, body: bytes) -> bytes:
        """What another node's watch connection begins with. Raises
        :class:`~meshp2p.errors.RemoteProtocolError`."""
        return await self._driver.answer_watch(body)

    async def wait_until_left(self) -> None:
        """Return when this node has left the mesh."""
        await self._driver.wait_until(lambda: self._machine.has_left)

    # Its end

    async def leave(self) -> None:
        """Tell the mesh that this node goes, and wait until enough have heard, ``leave_timeout`` at the most.

        :func:`~meshp2p.node.runner.open_node` does it at the end of its block.
        """
        self._is_leaving = True
        with trio.CancelScope(shield=True):
            self._driver.perform(self._machine.leave(trio.current_time()))
            with trio.move_on_after(self._machine.config.leave_timeout):
                await self._driver.wait_until(lambda: self._machine.has_left)
            with trio.move_on_after(_FLUSH_TIMEOUT):
                await self._driver.flush()
        self._subscriptions.end()


def _expect(shape: type[_T], reply: CallReply) -> _T:
    """The reply, which must be a ``shape``. Raises what a :class:`~meshp2p.core.messages.Refused` stands for."""
    if isinstance(reply, Refused):
        raise _ERRORS[reply.why](reply.message)
    check(isinstance(reply, shape), f"expected {shape.__name__}, and the answer is {reply!r}")
    return reply  # type: ignore[return-value]  # checked
