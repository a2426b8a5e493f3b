"""Checks whether the members of a mesh can be called from here, directly or through another node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import trio

from meshp2p.cli.doctor.machine import CALL_TIMEOUT
from meshp2p.core.address import Address, parse_address
from meshp2p.core.calls import Pong, Probe, SyncReply, SyncRequest
from meshp2p.core.effects import Call
from meshp2p.core.record import Record, tag_of
from meshp2p.net.peers import Peers, open_stranger
from meshp2p.node.config import DEFAULT_PORT
from meshp2p.wire.codec import Codec

__all__ = ["CalledMember", "call_members"]

MEMBERS_MAX: Final = 256
"""Chosen, not measured."""


class CalledMember(msgspec.Struct, frozen=True):
    """A member, and whether it answered a call: ``via`` is the node that passed the call on, None if there was none."""

    id: str
    addresses: tuple[Address, ...]
    answers: bool
    via: str | None = None


async def call_members(codec: Codec, reachable: dict[str, str]) -> list[CalledMember]:
    """Call all members that one of these reachable nodes lists, except the reachable nodes. Those are addresses by
    id."""
    if not reachable:
        return []
    relay_id, relay_address = next(iter(reachable.items()))
    relay = parse_address(relay_address, DEFAULT_PORT)
    called: list[CalledMember] = []
    async with open_stranger(codec) as peers:
        reply = await peers.call(Call(0, (relay,), SyncRequest(bytes(8), None), CALL_TIMEOUT))
        if not isinstance(reply, SyncReply):
            return []
        async with trio.open_nursery() as nursery:

            async def call(record: Record) -> None:
                called.append(await _call_member(peers, record, relay, relay_id))

            for record in _nodes_of(reply, without=reachable):
                nursery.start_soon(call, record)
    return sorted(called, key=lambda member: member.id)


def _nodes_of(reply: SyncReply, without: dict[str, str]) -> Iterator[Record]:
    nodes = [item for item in (reply.sender, *reply.items) if isinstance(item, Record) and item.is_node]
    yield from [node for node in nodes if node.id not in without][:MEMBERS_MAX]


async def _call_member(peers: Peers, record: Record, relay: Address, relay_id: str) -> CalledMember:
    probe = Probe(tag_of(record.id))
    reply = await peers.call(Call(0, record.addresses, probe, CALL_TIMEOUT, record.id, record.boot))
    if isinstance(reply, Pong) and reply.id == record.id:
        return CalledMember(record.id, record.addresses, True)
    reply = await peers.call(Call(0, (relay,), probe, 2 * CALL_TIMEOUT, relay_id, 0, record.id))
    if isinstance(reply, Pong) and reply.id == record.id:
        return CalledMember(record.id, record.addresses, True, relay_id)
    return CalledMember(record.id, record.addresses, False, relay_id)
