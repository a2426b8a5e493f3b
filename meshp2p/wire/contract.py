"""The JSON bodies of the HTTP contract, for the node that serves it and the client that calls it. Names and order are
the contract's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from meshp2p.core.message import CUSTOM, KINDS, CopyStatus
from meshp2p.core.record import ID_BYTES_MAX, State

__all__ = [
    "EXPIRES_SECONDS_MAX",
    "FETCH_DEFAULT",
    "FETCH_MAX",
    "WAIT_SECONDS_MAX",
    "AcknowledgeRequest",
    "AdminKeyResponse",
    "AgentMessage",
    "DetailedInstances",
    "DetailedMessages",
    "ErrorBody",
    "HealthResponse",
    "HeartbeatRequest",
    "HeartbeatResponse",
    "InstanceDetail",
    "InstancesResponse",
    "InvitationResponse",
    "LeaderResponse",
    "LivezResponse",
    "MeshInstance",
    "MessageDetail",
    "MessageReceipt",
    "MessageStatusResponse",
    "PendingMessagesResponse",
    "PingResponse",
    "ReadyzResponse",
    "RegisterRequest",
    "RegisterResponse",
    "RevocationResponse",
    "SendMessageRequest",
    "SendMessageResponse",
    "SessionResponse",
    "Timestamp",
]

EXPIRES_SECONDS_MAX: Final = 86_400.0
"""The longest lifetime of a message that its sender may ask for. ``message_timeout`` limits it too."""

WAIT_SECONDS_MAX: Final = 60.0
"""The longest wait for a message."""

FETCH_MAX: Final = 10_000
"""The maximum number of messages in one answer."""

FETCH_DEFAULT: Final = 1_000
"""The maximum number of messages in one answer if the request has no limit. Chosen, not measured."""

Text = Annotated[str, msgspec.Meta(max_length=1024)]
Timestamp = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
_State = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [state.name.lower() for state in State]})]
_Status = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [status.value for status in CopyStatus]})]
_custom: dict[str, Any] = {CUSTOM: {"type": "string", "maxLength": 1024}}
_MESSAGE_TYPE: Final[dict[str, Any]] = {
    "oneOf": [
        {"type": "string", "enum": [kind for kind in KINDS if kind != CUSTOM]},
        {"type": "object", "properties": _custom, "required": [CUSTOM], "additionalProperties": False},
    ]
}
"""The JSON schema of ``message_type``, which is stricter than its type. ``{"Query": null}``, which is read too, is left
out: clients that are generated for values that can only be null accept anything in their place."""

Names = Annotated[list[Text], msgspec.Meta(max_length=256)]


class RegisterRequest(msgspec.Struct):
    """The registration of an agent. The id has 1 to 128 bytes, a name at most 1,024 characters."""

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
    last_heartbeat: Timestamp
    created_at: Timestamp
    agent_profiles: tuple[str, ...]


class InstanceDetail(MeshInstance):
    """One instance with everything that is known of it. ``addresses`` are a node's, each ``host:port``, first the one
    at which it answered last: ``address``. A hosted instance has none. ``epoch`` is 0 and ``led_since`` null unless the
    instance is the leader and its claim has arrived."""

    status: str | None
    metrics: dict[str, Any] | None
    state: _State
    home: str
    incarnation: int
    address: str | None
    addresses: tuple[str, ...]
    epoch: int
    led_since: Timestamp | None


class PingResponse(msgspec.Struct):
    """A round trip of a call from the answering node to ``home``, the node that answers for the instance, and back, in
    seconds. ``via`` is the node that passed the call on, null if none did. The answering node takes 0 s to itself."""

    instance_id: str
    home: str
    via: str | None
    seconds: float


class RegisterResponse(msgspec.Struct):
    """``peers`` includes the caller."""

    success: bool
    instance_id: str
    is_leader: bool
    leader_id: str | None
    peers: list[MeshInstance]


class InstancesResponse(msgspec.Struct):
    """All live instances, by id. If ``leader_id`` is not null, exactly one of them has ``is_leader``."""

    instances: list[MeshInstance]
    leader_id: str | None


class DetailedInstances(msgspec.Struct):
    """All live instances with everything that is known of them."""

    instances: list[InstanceDetail]
    leader_id: str | None


class HeartbeatRequest(msgspec.Struct):
    """A heartbeat."""

    status: Text
    metrics: dict[str, Any] | None = None


class HeartbeatResponse(msgspec.Struct):
    """The answer to a heartbeat. ``should_sync`` says that the instances or the leader changed since this instance's
    last heartbeat, so that the agent should list them again."""

    acknowledged: bool
    leader_id: str | None
    should_sync: bool


class LeaderResponse(msgspec.Struct):
    """The leader. The first three are null, 0 and null if there is none."""

    leader_id: str | None
    leader_epoch: int
    since: Timestamp | None
    is_self: bool


class SendMessageRequest(msgspec.Struct):
    """A message to send. An absent or null ``target_instance`` means a broadcast. ``message_type`` is a name,
    or ``{"Custom": name}`` with a name of the sender's own. ``payload`` is kept as the bytes that were sent.
    ``is_error`` marks an answer that is an error; a mailbox shows it only in detail."""

    message_type: Annotated[str | dict[str, Text | None], msgspec.Meta(extra_json_schema=_MESSAGE_TYPE)]
    payload: msgspec.Raw
    target_instance: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)] | None = None
    correlation_id: Text | None = None
    is_error: bool | None = None


class SendMessageResponse(msgspec.Struct):
    """The answer to a message. ``status`` is ``"queued"``. ``delivered_to`` are all recipients for which the message
    was accepted."""

    message_id: str
    status: _Status
    delivered_to: tuple[str, ...]


class AgentMessage(msgspec.Struct):
    """One message in a mailbox. ``message_type`` is a name, or ``{"Custom": name}``. ``target_instance`` is null for a
    broadcast."""

    message_id: str
    source_instance: str
    target_instance: str | None
    message_type: Annotated[str | dict[str, str], msgspec.Meta(extra_json_schema=_MESSAGE_TYPE)]
    payload: Any
    correlation_id: str | None
    created_at: Timestamp


class MessageDetail(AgentMessage):
    """One message in a mailbox, with the fields that the contract leaves out."""

    is_error: bool


class PendingMessagesResponse(msgspec.Struct):
    """The waiting messages of a mailbox, the oldest first."""

    messages: Sequence[AgentMessage]


class DetailedMessages(msgspec.Struct):
    """The waiting messages of a mailbox, with everything that is known of them."""

    messages: Sequence[MessageDetail]


class AcknowledgeRequest(msgspec.Struct):
    """Messages that the recipient has read. They are not delivered again."""

    message_ids: Annotated[list[str], msgspec.Meta(max_length=65_536)]


class MessageReceipt(msgspec.Struct):
    """The status of one recipient's copy since ``changed_at``: ``queued``, ``delivered``, ``acknowledged``, ``expired``
    or ``undeliverable``. ``reason`` is null if there is nothing to say."""

    instance_id: str
    status: _Status
    reason: str | None
    changed_at: Timestamp


class MessageStatusResponse(msgspec.Struct):
    """The status of a message, for each of its recipients."""

    message_id: str
    recipients: list[MessageReceipt]


class HealthResponse(msgspec.Struct):
    """The health of a node. ``active_sessions`` is a field of the original contract, always 0."""

    status: str
    version: str
    uptime_seconds: int
    active_sessions: int = 0


class LivezResponse(msgspec.Struct):
    """The answer of a live node. ``status`` is ``"alive"``."""

    status: str


class SessionResponse(msgspec.Struct):
    """A link for a browser. ``path`` is that of its URL at this node."""

    path: Annotated[str, msgspec.Meta(pattern="^/[A-Za-z0-9/_-]*$")]


class AdminKeyResponse(msgspec.Struct):
    """A key with which the page of this node may do for an hour what an admin with the credential of its machine may.
    It counts as a bearer token, at this node only."""

    key: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{43}$")]


class InvitationResponse(msgspec.Struct):
    """An invitation into a secured mesh. ``code`` is what a person types after ``meshp2p join``; ``command`` is the
    whole line for the other machine. ``notes`` has a line for each machine that joined, and for each wrong code."""

    code: str
    command: str
    is_open: bool
    seconds_left: float
    notes: list[str]


class RevocationResponse(msgspec.Struct):
    """The labels of the machines that were revoked: the one that was named, and those that it had let in."""

    revoked: list[str]


class ReadyzResponse(msgspec.Struct):
    """The answer of a ready node. ``status`` is ``"ready"``. ``lost`` says what was missing on disk at the start, if
    anything."""

    status: str
    lost: str | msgspec.UnsetType = msgspec.UNSET


class ErrorBody(msgspec.Struct):
    """An error: what is wrong and where, with the value."""

    error: str
