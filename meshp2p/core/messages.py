"""What nodes say to one another. The protocol is the docstrings of these types.

A :class:`Datagram` is one UDP packet: a body that says why it was sent, and behind it whatever gossip fits. A call is a
request with one reply over TCP, for what must arrive or does not fit into a packet. Nodes are named by 64-bit tags in
datagrams (:func:`~meshp2p.core.record.tag_of`), for an id would fill half of the packet.

Fields are positional on the wire and may only be appended.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.record import Item, Record

__all__ = [
    "Ack",
    "Body",
    "CallReply",
    "CallRequest",
    "Datagram",
    "DeregisterReply",
    "Done",
    "ForwardDeregister",
    "ForwardHeartbeat",
    "Gossip",
    "HeartbeatReply",
    "Nack",
    "Ping",
    "PingRequest",
    "Pong",
    "Probe",
    "Push",
    "SyncReply",
    "SyncRequest",
]

Word = Annotated[int, msgspec.Meta(ge=0)]
"""64 bits, unsigned."""

Text = Annotated[str, msgspec.Meta(max_length=1024)]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Sent by a prober to the node ``target``: are you there? Answered with :class:`Ack`; a node with another tag is
    silent.

    ``view`` is the hash of all live records that the sender knows: where it is not the receiver's own, and stays so,
    they sync.
    """

    sequence: Word
    sender: Word
    target: Word
    view: Word


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The answer to :class:`Ping`, and what a relay passes on to the node that asked it to ping. Nobody answers it."""

    sequence: Word
    sender: Word
    view: Word


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A relay's word that its ping had no answer in time: the relay lives, the target may not (Lifeguard §IV-A). Nobody
    answers it."""

    sequence: Word
    sender: Word


class PingRequest(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Sent by a prober whose own ping had no answer: ping ``target`` at ``address`` for me. Answered with Ack or Nack,
    by the relay."""

    sequence: Word
    sender: Word
    target: Word
    address: Address


class Gossip(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Nothing but what is piggybacked. Nobody answers it."""

    sender: Word


Body = Ping | Ack | Nack | PingRequest | Gossip


class Datagram(msgspec.Struct, frozen=True, array_like=True):
    """One UDP packet. ``items`` is gossip, ``ages`` are pairs of a tag and the tenths of a second since that instance's
    last sign of life."""

    body: Body
    items: tuple[Item, ...] = ()
    ages: tuple[Word, ...] = ()


class Probe(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Are you the node with this tag? Sent where UDP had no answer, and to find out whether a rival for an id lives."""

    target: Word


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The answer to :class:`Probe`, whatever its target: who answers here, the boot of that process, and its view's
    hash.

    Where UDP does not get through, this is how two nodes notice that their views differ.
    """

    id: str
    boot: Word
    view: Word


class SyncRequest(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Sent to a node whose view differs, or that was just found. ``buckets`` is the digest (:mod:`meshp2p.core.digest`)
    of the sender's view.

    ``sender`` is absent until the sender knows that its id is its own.
    """

    buckets: bytes
    sender: Record | None


class SyncReply(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """All that the replier knows in the buckets that differ, up to a bound; ``sender`` is its own record.

    ``differing`` are the numbers of those buckets: the asker then sends what it knows better with :class:`Push`.
    ``is_settled`` says whether the replier has been in a mesh for long enough to name a leader.
    """

    sender: Record
    is_settled: bool
    items: tuple[Item, ...]
    differing: tuple[Word, ...]


class Push(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Gossip over TCP: the second half of a sync, or what does not fit into a packet. Answered with :class:`Done`."""

    sender: Word
    items: tuple[Item, ...]


class Done(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The answer to :class:`Push`: it was taken."""


class ForwardHeartbeat(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """A heartbeat for an instance that the receiver hosts (or is), from the node that was asked. Answered with
    :class:`HeartbeatReply`."""

    id: str
    status: Text
    metrics: str


class HeartbeatReply(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Whether the heartbeat counted, and whether the instances or the leader changed since the one before."""

    is_acknowledged: bool
    should_sync: bool


class ForwardDeregister(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """A deregistration of an instance that the receiver hosts. Answered with :class:`DeregisterReply`."""

    id: str


class DeregisterReply(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Whether there was such an instance."""

    was_found: bool


CallRequest = Probe | SyncRequest | Push | ForwardHeartbeat | ForwardDeregister
CallReply = Pong | SyncReply | Done | HeartbeatReply | DeregisterReply
