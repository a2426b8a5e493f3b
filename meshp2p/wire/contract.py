"""The JSON bodies of the HTTP contract, for the node that serves it and the client that calls it. Names and order are
the contract's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from meshp2p.core.record import ID_BYTES_MAX

__all__ = [
    "FETCH_DEFAULT",
    "FETCH_MAX",
    "WAIT_SECONDS_MAX",
    "AcknowledgeRequest",
    "AgentMessage",
    "DetailedInstances",
    "DetailedMessages",
    "ErrorBody",
    "HealthResponse",
    "HeartbeatRequest",
    "HeartbeatResponse",
    "InstanceDetail",
    "InstancesResponse",
    "LeaderResponse",
    "LivezResponse",
    "MeshInstance",
    "MessageDetail",
    "MessageReceipt",
    "MessageStatusResponse",
    "PendingMessagesResponse",
    "ReadyzResponse",
    "RegisterRequest",
    "RegisterResponse",
    "SendMessageRequest",
    "SendMessageResponse",
]

WAIT_SECONDS_MAX: Final = 60.0
"""The longest wait for a message."""

FETCH_MAX: Final = 10_000
"""The most messages in one answer."""

FETCH_DEFAULT: Final = 1_000
"""The most messages in one answer where the request names no limit. Chosen, not measured."""

Text = Annotated[str, msgspec.Meta(max_length=1024)]
Names = Annotated[list[Text], msgspec.Meta(max_length=256)]


class RegisterRequest(msgspec.Struct):
    """What an agent says of itself. The id has 1 to 128 bytes, a name at most 1,024 characters."""

    instance_id: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)]
    hostname: Text
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    capabilities: Names
    agent_profiles: Names


class MeshInstance(msgspec.Struct):
    """One instance in a list. Times are RFC 3339 in UTC."""

    instance_id: str
    hostname: str
    port: int
    capabilities: tuple[str, ...]
    is_leader: bool
    last_heartbeat: str
    created_at: str
    agent_profiles: tuple[str, ...]


class InstanceDetail(MeshInstance):
    """One instance with all that is known of it. ``addresses`` are a node's, each ``host:port``, the one at which it
    answered last first: ``address``. A hosted instance has none.
    ``epoch`` is 0 and ``led_since`` null unless it is the leader and its claim has arrived."""

    status: str | None
    metrics: dict[str, Any] | None
    state: str
    home: str
    incarnation: int
    address: str | None
    addresses: tuple[str, ...]
    epoch: int
    led_since: str | None


class RegisterResponse(msgspec.Struct):
    """``peers`` includes the caller."""

    success: bool
    instance_id: str
    is_leader: bool
    leader_id: str | None
    peers: list[MeshInstance]


class InstancesResponse(msgspec.Struct):
    """All live instances, by id. Where ``leader_id`` is not null exactly one of them has ``is_leader``."""

    instances: list[MeshInstance]
    leader_id: str | None


class DetailedInstances(msgspec.Struct):
    """All live instances with all that is known of each."""

    instances: list[InstanceDetail]
    leader_id: str | None


class HeartbeatRequest(msgspec.Struct):
    """A sign of life."""

    status: Text
    metrics: dict[str, Any] | None = None


class HeartbeatResponse(msgspec.Struct):
    """``should_sync``: the instances or the leader changed since this instance's last heartbeat, so list them again."""

    acknowledged: bool
    leader_id: str | None
    should_sync: bool


class LeaderResponse(msgspec.Struct):
    """Who leads. Null, 0 and null while nobody does."""

    leader_id: str | None
    leader_epoch: int
    since: str | None
    is_self: bool


class SendMessageRequest(msgspec.Struct):
    """``target_instance`` absent or null is a broadcast. ``message_type`` is a name, or an object with the name as its
    only key: with null for a plain name, with a name of the sender's own for ``"Custom"``. ``payload`` is kept as the
    bytes that were sent. ``is_error`` marks the answer that is an error; a mailbox shows it in detail only."""

    message_type: str | dict[str, Text | None]
    payload: msgspec.Raw
    target_instance: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)] | None = None
    correlation_id: Text | None = None
    is_error: bool | None = None


class SendMessageResponse(msgspec.Struct):
    """``status`` is ``"queued"``. ``delivered_to`` are all for whom the message was accepted."""

    message_id: str
    status: str
    delivered_to: tuple[str, ...]


class AgentMessage(msgspec.Struct):
    """One message in a mailbox. ``message_type`` is a name, or ``{"Custom": name}``. ``target_instance`` is null for a
    broadcast."""

    message_id: str
    source_instance: str
    target_instance: str | None
    message_type: str | dict[str, str]
    payload: Any
    correlation_id: str | None
    created_at: str


class MessageDetail(AgentMessage):
    """One message in a mailbox with what the contract leaves out."""

    is_error: bool


class PendingMessagesResponse(msgspec.Struct):
    """What waits in a mailbox, oldest first."""

    messages: Sequence[AgentMessage]


class DetailedMessages(msgspec.Struct):
    """What waits in a mailbox, with all that is known of each message."""

    messages: Sequence[MessageDetail]


class AcknowledgeRequest(msgspec.Struct):
    """The recipient has read these and does not want them again."""

    message_ids: Annotated[list[str], msgspec.Meta(max_length=65_536)]


class MessageReceipt(msgspec.Struct):
    """What became of one recipient's copy: ``queued``, ``delivered``, ``acknowledged``, ``expired`` or
    ``undeliverable``, since ``changed_at``. ``reason`` is null where there is nothing to say."""

    instance_id: str
    status: str
    reason: str | None
    changed_at: str


class MessageStatusResponse(msgspec.Struct):
    """What became of a message, for each of its recipients."""

    message_id: str
    recipients: list[MessageReceipt]


class HealthResponse(msgspec.Struct):
    """``active_sessions`` is what the original had, always 0."""

    status: str
    version: str
    uptime_seconds: int
    active_sessions: int = 0


class LivezResponse(msgspec.Struct):
    """``status`` is ``"alive"``."""

    status: str


class ReadyzResponse(msgspec.Struct):
    """``status`` is ``"ready"``. ``lost`` says what was missing on disk at the start, if anything was."""

    status: str
    lost: str | msgspec.UnsetType = msgspec.UNSET


class ErrorBody(msgspec.Struct):
    """What is wrong, where, with the value."""

    error: str
