"""The datagrams between nodes: a body with the reason for the packet, then as much gossip as fits."""

from typing import Annotated, Final

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.record import Item

__all__ = [
    "DATAGRAM_BYTES_MAX",
    "ITEMS_PER_PACKET_MAX",
    "Ack",
    "Body",
    "Datagram",
    "Gossip",
    "Nack",
    "Ping",
    "PingRequest",
    "Unreached",
    "Word",
]

DATAGRAM_BYTES_MAX: Final = 1472
"""The largest datagram that is read, and that ``packet_bytes_max`` may allow: what fits into an Ethernet frame."""

ITEMS_PER_PACKET_MAX: Final = 128
"""The most items that one datagram may carry. Twice what fits of rumours with ordinary ids."""

_AGES_MAX: Final = 64

Word = Annotated[int, msgspec.Meta(ge=0)]
"""64 bits, unsigned."""


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Sent by a prober to the node ``target``: are you there? Answered with :class:`Ack`; a node with another tag is
    silent.

    ``view`` is the hash of all live records, and of the greatest claim to lead, that the sender knows: where it is not
    the receiver's own, and stays so, they sync. ``local_health`` is how slow the sender finds itself, 0 where it is
    well: others are then patient with it.
    """

    sequence: Word
    sender: Word
    target: Word
    view: Word
    local_health: Word = 0


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The answer to :class:`Ping`, and what a relay passes on to the node that asked it to ping. Nobody answers it."""

    sequence: Word
    sender: Word
    view: Word
    local_health: Word = 0


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


class Unreached(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Told to the node ``target``: calls of the sender's do not arrive there, directly or through others. The target
    then opens a connection to the sender, and to the node ``relay``, whom the sender can call; 0 is nobody. No packet
    answers it."""

    sender: Word
    target: Word
    relay: Word = 0


Body = Ping | Ack | Nack | PingRequest | Gossip | Unreached


class Datagram(msgspec.Struct, frozen=True, array_like=True):
    """One UDP packet. ``items`` is gossip, ``ages`` are pairs of a tag and the tenths of a second since that instance's
    last sign of life."""

    body: Body
    items: Annotated[tuple[Item, ...], msgspec.Meta(max_length=ITEMS_PER_PACKET_MAX)] = ()
    ages: Annotated[tuple[Word, ...], msgspec.Meta(max_length=_AGES_MAX)] = ()
