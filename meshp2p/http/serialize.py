"""Conversion of a node's data to the JSON shapes of the contract."""

from __future__ import annotations

import datetime as dt
from typing import Final

import msgspec

from meshp2p.core.instance import ListedInstance
from meshp2p.core.message import CUSTOM, CopyReceipt, Message
from meshp2p.core.swim.hosting import Profile
from meshp2p.wire.contract import (
    AgentMessage,
    InstanceDetail,
    LeaderResponse,
    MeshInstance,
    MessageDetail,
    MessageReceipt,
    RegisterRequest,
)

__all__ = [
    "detail_of",
    "instance_of",
    "leader_of",
    "message_detail_of",
    "message_of",
    "profile_of",
    "receipt_of",
    "rfc3339",
]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def instance_of(instance: ListedInstance) -> MeshInstance:
    """Convert an instance for a list."""
    return MeshInstance(
        instance_id=instance.id,
        hostname=instance.hostname,
        port=instance.port,
        capabilities=instance.capabilities,
        is_leader=instance.is_leader,
        last_heartbeat=rfc3339(instance.last_heartbeat),
        created_at=rfc3339(instance.created_at),
        agent_profiles=instance.profiles,
    )


def detail_of(instance: ListedInstance) -> InstanceDetail:
    """Convert an instance with everything that is known of it."""
    return InstanceDetail(
        **msgspec.structs.asdict(instance_of(instance)),
        status=instance.status or None,
        metrics=msgspec.json.decode(instance.metrics) if instance.metrics else None,
        state=instance.state.name.lower(),
        home=instance.home,
        incarnation=instance.incarnation,
        address=str(instance.addresses[0]) if instance.addresses else None,
        addresses=tuple(map(str, instance.addresses)),
        epoch=instance.epoch,
        led_since=_time_of(instance.led_since),
    )


def leader_of(leader: ListedInstance | None, node_id: str) -> LeaderResponse:
    """Return the answer of the node with this id about the leader."""
    if leader is None:
        return LeaderResponse(leader_id=None, leader_epoch=0, since=None, is_self=False)
    return LeaderResponse(leader.id, leader.epoch, _time_of(leader.led_since), leader.id == node_id)


def profile_of(request: RegisterRequest) -> Profile:
    """Convert a registration."""
    return Profile(
        request.instance_id,
        request.hostname,
        request.port,
        tuple(request.capabilities),
        tuple(request.agent_profiles),
    )


def message_of(message: Message) -> AgentMessage:
    """Convert a message for a mailbox. Its payload is written byte for byte."""
    return AgentMessage(
        message_id=message.id,
        source_instance=message.source,
        target_instance=message.target,
        message_type={CUSTOM: message.name} if message.kind == CUSTOM else message.kind,
        payload=msgspec.Raw(message.payload),
        correlation_id=message.correlation_id,
        created_at=rfc3339(message.created_at),
    )


def message_detail_of(message: Message) -> MessageDetail:
    """Convert a message with everything that is known of it."""
    return MessageDetail(**msgspec.structs.asdict(message_of(message)), is_error=message.is_error)


def receipt_of(receipt: CopyReceipt) -> MessageReceipt:
    """Convert the status of one recipient's copy."""
    return MessageReceipt(receipt.recipient, receipt.status, receipt.reason or None, rfc3339(receipt.changed_at))


def _time_of(unix_ms: int | None) -> str | None:
    return None if unix_ms is None else rfc3339(unix_ms)


def rfc3339(unix_ms: int) -> str:
    """Return Unix milliseconds as RFC 3339 in UTC, with three digits of fraction and a ``Z``."""
    time = _EPOCH + dt.timedelta(milliseconds=unix_ms)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{unix_ms % 1000:03d}Z"
