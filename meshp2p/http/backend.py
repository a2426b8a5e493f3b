"""The interface of the routes to their node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from meshp2p.core.calls import HeartbeatReply, SendReply
from meshp2p.core.instance import ListedInstance
from meshp2p.core.message import CopyReceipt, IfAbsent, Message
from meshp2p.core.swim.hosting import Profile
from meshp2p.http.request import Write
from meshp2p.wire.contract import InvitationResponse, PingResponse, RevocationResponse

__all__ = ["Backend", "MachineAdmin"]


class MachineAdmin(Protocol):
    """What a node of a secured mesh does for an admin of its own machine: see
    :class:`meshp2p.node.administration.Administration`. ``by`` is the caller."""

    @property
    def actions(self) -> tuple[str, ...]: ...
    async def invite(self, by: str) -> InvitationResponse: ...
    def invitation(self) -> InvitationResponse | None: ...
    def end_invitation(self) -> None: ...
    async def revoke(self, instance_id: str, by: str) -> RevocationResponse: ...


class Backend(Protocol):
    """A node as its HTTP endpoints use it. It raises subclasses of :class:`~meshp2p.errors.MeshError`."""

    @property
    def id(self) -> str:
        """The node's id."""

    @property
    def uptime(self) -> float:
        """Seconds since the start."""

    def why_not_ready(self) -> str | None:
        """Return the reason why this node should not be asked now, or None."""

    def open_events(self, last_id: str | None, *, has_past: bool) -> Callable[[Write], Awaitable[None]]:
        """Return a function that writes server-sent events until the node leaves, first the one after ``last_id``; with
        ``has_past``, those that led to the present before that. The function is cancel-safe. Raises ``NodeClosed``."""

    def metrics(self) -> bytes:
        """Return all metrics in Prometheus' text format."""

    def recording(self) -> bytes:
        """Return what was recorded until now, as the content of a file. Raises ``Unreachable``."""

    async def status(self, *, has_series: bool, actions: tuple[str, ...] = ()) -> tuple[bytes, ...]:
        """Return the parts of the status of the mesh as JSON, with the series or without. ``actions`` are those of the
        caller."""

    @property
    def admin(self) -> MachineAdmin | None:
        """None in an open mesh."""

    @property
    def loss(self) -> str | None:
        """A description of what was lost on disk before the start, or None."""

    async def catch_up(self) -> None:
        """Process everything that other nodes have already sent, so that an answer here is never older than an answer
        there."""

    async def owner_of(self, instance_id: str) -> str:
        """Return the caller that a live instance belongs to, empty if there is none. Raises ``Unreachable``."""

    async def register(self, profile: Profile, owner: str = "") -> None:
        """Host an instance, which then belongs to ``owner``. Returns after other nodes were told. Raises
        ``InstanceConflict`` and ``LimitExceeded``."""

    async def heartbeat(self, instance_id: str, status: str, metrics: str, owner: str = "") -> HeartbeatReply:
        """Process a heartbeat, wherever the instance's home is. Raises ``LimitExceeded``."""

    async def deregister(self, instance_id: str) -> bool:
        """Remove a hosted instance. Return whether there was one. Raises ``InstanceConflict``."""

    def members(self) -> list[ListedInstance]:
        """Return all live instances, ordered by the bytes of their ids."""

    @property
    def listed_version(self) -> tuple[int, str | None]:
        """Changes whenever the result of :meth:`members` changes, except for the times of the last heartbeats."""

    async def look_up(self, instance_id: str) -> ListedInstance | None:
        """Return a live instance as its home knows it now, or as this node does; None if there is none."""

    async def ping(self, instance_id: str) -> PingResponse | None:
        """Call the home of a live instance; None if there is none. Raises ``Unreachable``."""

    @property
    def leader_id(self) -> str | None:
        """The id of the leader, or None."""

    @property
    def leader(self) -> ListedInstance | None:
        """The leader; None if there is none."""

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
        *,
        if_absent: IfAbsent = "refuse",
        trace: str | None = None,
    ) -> SendReply:
        """Accept a message for ``target``, or for all other instances if that is None. ``payload`` is JSON that was
        checked. ``is_error`` marks an answer that is an error. The message expires after ``timeout`` seconds. With
        ``if_absent="queue"``, ``target`` may be an instance that the mesh remembers as dead. ``trace`` is the trace
        context of the caller.

        Raises ``UnknownInstance``, ``MailboxFull``, ``StoreFull``, ``LimitExceeded`` and ``NodeClosed``; then nothing
        was stored.
        """

    async def fetch(self, recipient: str, limit: int, after: str = "", wait: float = 0.0) -> tuple[Message, ...]:
        """Return up to ``limit`` messages from a mailbox, the oldest first, wherever it is. ``after`` is the id of a
        message, to get only later ones. If there is none, wait ``wait`` seconds for one. Raises ``Unreachable``.
        Cancel-safe."""

    async def acknowledge(self, recipient: str, message_ids: tuple[str, ...]) -> None:
        """Remove messages from a mailbox, wherever it is. Raises ``Unreachable`` and ``StoreFull``."""

    async def message_status(self, message_id: str) -> tuple[CopyReceipt, ...]:
        """Return the status of each copy of a message. Empty if no node knows it. Raises ``Unreachable``."""
