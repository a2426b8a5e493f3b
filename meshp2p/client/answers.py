"""Conversion of the answers of a node over HTTP to the types that agents see. Raises ``ValueError`` for a value that no
node writes."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final

import msgspec

from meshp2p.core.address import parse_address
from meshp2p.core.message import CUSTOM, CopyStatus, Message
from meshp2p.core.record import State
from meshp2p.node.instance import Instance, Receipt
from meshp2p.wire.contract import InstanceDetail, MessageDetail, MessageReceipt

__all__ = ["RawMessages", "instance_of", "message_of", "receipt_of"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class RawMessages(msgspec.Struct):
    """The answer to ``GET /messages/{instance_id}?detail=true``, with the payloads as JSON text."""

    messages: list[RawMessage]


class RawMessage(MessageDetail):
    """A message with its payload as JSON text, byte for byte."""

    payload: msgspec.Raw


def instance_of(detail: InstanceDetail) -> Instance:
    """Convert an instance."""
    return Instance(
        id=detail.instance_id,
        hostname=detail.hostname,
        port=detail.port,
        capabilities=detail.capabilities,
        profiles=detail.agent_profiles,
        state=_state_of(detail.state),
        home=detail.home,
        addresses=tuple(parse_address(address, 0) for address in detail.addresses),
        incarnation=detail.incarnation,
        is_leader=detail.is_leader,
        epoch=detail.epoch,
        led_since=None if detail.led_since is None else _time_of(detail.led_since),
        status=detail.status or "",
        metrics=detail.metrics or {},
        created_at=_time_of(detail.created_at),
        last_heartbeat=_time_of(detail.last_heartbeat),
    )


def message_of(detail: RawMessage) -> Message:
    """Convert a message."""
    own = detail.message_type.get(CUSTOM, "") if isinstance(detail.message_type, dict) else ""
    return Message(
        detail.message_id,
        detail.source_instance,
        detail.target_instance,
        detail.message_type if isinstance(detail.message_type, str) else CUSTOM,
        own,
        bytes(detail.payload),
        detail.correlation_id,
        (_time_of(detail.created_at) - _EPOCH) // dt.timedelta(milliseconds=1),
        detail.is_error,
    )


def receipt_of(receipt: MessageReceipt) -> Receipt:
    """Convert the status of a copy."""
    return Receipt(
        recipient=receipt.instance_id,
        status=CopyStatus(receipt.status),
        reason=receipt.reason or "",
        changed_at=_time_of(receipt.changed_at),
    )


def _time_of(text: str) -> dt.datetime:
    time: dt.datetime = msgspec.convert(text, Annotated[dt.datetime, msgspec.Meta(tz=True)])
    return time.astimezone(dt.UTC)


def _state_of(name: str) -> State:
    try:
        return State[name.upper()]
    except KeyError:
        raise ValueError(f"state {name!r}: expected alive or suspect") from None
