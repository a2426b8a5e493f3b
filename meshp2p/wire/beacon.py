"""Beacon messages: datagrams with which nodes that know no other node find each other on a LAN.

They use the frame of :mod:`meshp2p.wire.frame`, with the tag of the mesh, on a port of their own. Their type numbers
differ from those of calls, which use the same codec.
"""

from typing import Annotated, Final

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Word

__all__ = ["BEACON_BYTES_MAX", "BeaconAnswer", "BeaconMessage", "BeaconQuestion"]

BEACON_BYTES_MAX: Final = 1400
"""The largest beacon that is decoded. One with an id of 128 bytes and 16 addresses has about 900 bytes."""

_Id = Annotated[str, msgspec.Meta(max_length=128)]
_Addresses = Annotated[tuple[Address, ...], msgspec.Meta(max_length=16)]


class BeaconQuestion(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """A question to all nodes of the mesh on a network, by multicast or broadcast. A node answers with
    :class:`BeaconAnswer`, by unicast to the sender's address, or by a call to one of ``addresses``.

    ``number`` is random for each question. ``run`` is random for each process, so that a process recognizes its own
    questions. A sender that is no node has an empty ``id`` and no ``addresses``.
    """

    number: Word
    run: Word
    id: _Id = ""
    addresses: _Addresses = ()


class BeaconAnswer(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """A node's answer to the question with this ``number``: its id and the addresses at which it can be called."""

    number: Word
    id: _Id
    addresses: _Addresses


BeaconMessage = BeaconQuestion | BeaconAnswer
