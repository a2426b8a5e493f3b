"""Instances and receipts as agents see them, and their construction."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.instance import ListedInstance
from meshp2p.core.message import CopyReceipt, CopyStatus
from meshp2p.core.record import State

__all__ = ["Instance", "Receipt", "from_unix_ms", "instance_of", "receipt_of"]


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance of the mesh, as one node knows it: a member, the leader, or the subject of an event.

    ``home`` is the id of the node that answers for it: its own id if it embeds a node. ``addresses`` are those of such
    a node, first the one at which it answered last; a hosted instance has none. ``status`` and ``metrics`` are its last
    report, empty if there was none. ``epoch`` and ``led_since`` belong to the leader: they are 0 and None for all
    others, and until the leader's claim has arrived. (epoch, id) is the fencing token. Times are in UTC.
    """

    id: str
    hostname: str
    port: int
    capabilities: tuple[str, ...]
    profiles: tuple[str, ...]
    state: State
    home: str
    addresses: tuple[Address, ...]
    incarnation: int
    is_leader: bool
    epoch: int
    led_since: dt.datetime | None
    status: str
    metrics: dict[str, Any]
    created_at: dt.datetime
    last_heartbeat: dt.datetime

    def __hash__(self) -> int:
        return hash((self.id, self.incarnation))

    @property
    def is_hosted(self) -> bool:
        """Whether it is an agent that speaks only HTTP."""
        return self.home != self.id


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one recipient's copy of a message, since ``changed_at``, in UTC.

    ``reason`` says why it is undeliverable or what it waits for; empty if there is nothing to say.
    """

    recipient: str
    status: CopyStatus
    reason: str
    changed_at: dt.datetime


def instance_of(listed: ListedInstance) -> Instance:
    """Convert an instance that a node lists for agents."""
    return Instance(
        id=listed.id,
        hostname=listed.hostname,
        port=listed.port,
        capabilities=listed.capabilities,
        profiles=listed.profiles,
        state=listed.state,
        home=listed.home,
        addresses=listed.addresses,
        incarnation=listed.incarnation,
        is_leader=listed.is_leader,
        epoch=listed.epoch,
        led_since=None if listed.led_since is None else from_unix_ms(listed.led_since),
        status=listed.status,
        metrics=msgspec.json.decode(listed.metrics) if listed.metrics else {},
        created_at=from_unix_ms(listed.created_at),
        last_heartbeat=from_unix_ms(listed.last_heartbeat),
    )


def receipt_of(receipt: CopyReceipt) -> Receipt:
    """Convert the status of a copy for agents."""
    return Receipt(
        recipient=receipt.recipient,
        status=receipt.status,
        reason=receipt.reason,
        changed_at=from_unix_ms(receipt.changed_at),
    )


def from_unix_ms(milliseconds: int) -> dt.datetime:
    """Convert a time of the core to UTC."""
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
