"""What a beacon says: the messages by which nodes that know nobody find each other on a LAN, each in one datagram.

They travel in the frame of :mod:`meshp2p.wire.frame` on a port of their own, so the mesh's tag is in front of them.
Their numbers are none of a call's, which are read by their number too.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Word

__all__ = ["BEACON_BYTES_MAX", "BeaconAnswer", "BeaconMessage", "BeaconQuestion"]

BEACON_BYTES_MAX: Final = 1400
"""The largest beacon that is read. One with an id of 128 bytes and 16 addresses has about 900."""

_Id = Annotated[str, msgspec.Meta(max_length=128)]
_Addresses = Annotated[tuple[Address, ...], msgspec.Meta(max_length=16)]


class BeaconQuestion(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """Multicast and broadcast: "who is there?", and who asks, if that is a node. Answered with :class:`BeaconAnswer`,
    by unicast to where it came from, or by a call to one of ``addresses``.

    ``number`` is drawn anew for each question. ``run`` is drawn by each process, so that it knows its own questions.
    Who only looks has an empty ``id`` and no ``addresses``.
    """

    number: Word
    run: Word
    id: _Id = ""
    addresses: _Addresses = ()


class BeaconAnswer(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """A node's answer to the question of this ``number``: its id, and where it can be called. Nobody answers it."""

    number: Word
    id: _Id
    addresses: _Addresses


BeaconMessage = BeaconQuestion | BeaconAnswer
