"""A node whose protocol has a fault goes on, or ends and says so."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import httpx
import pytest
import trio

from meshp2p import InternalError, MeshNode
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.record import Item, Rumour, State
from meshp2p.net.supervised import REBUILDS_MAX
from meshp2p.wire.codec import Codec
from tests.http.meshes import open_mesh

POISON = Codec("default").encode(Datagram(Gossip(7), (Rumour("poison", 1, State.DEAD),)))


def plant_fault(node: MeshNode) -> None:
    """From now on this node cannot handle a claim about ``poison``."""
    membership = node._node._machine._swim.membership
    merge = membership.merge

    def fail(items: Iterable[Item], now: float, *, by_sync: bool = False, told_by: int = 0) -> None:
        told = list(items)
        if any(item.id == "poison" for item in told):
            raise IndexError("tuple index out of range")
        merge(told, now, by_sync=by_sync, told_by=told_by)

    membership.merge = fail  # type: ignore[method-assign]


async def poison(node: MeshNode) -> None:
    rebuilds = node._node._machine.counters.rebuilds
    plant_fault(node)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.sendto(POISON, (node.addresses[0].host, node.addresses[0].port))
    await node._node._driver.wait_until(lambda: node._node._machine.counters.rebuilds > rebuilds)


async def test_after_a_fault_a_node_is_what_it_was() -> None:
    async with open_mesh("node-a", "node-b") as (one, other), httpx.AsyncClient(trust_env=False) as client:
        body = {"instance_id": "agent", "hostname": "h", "port": 1, "capabilities": [], "agent_profiles": []}
        assert (await client.post(one.url + "/registry/register", json=body)).status_code == 200
        await other.send("agent", {"text": "kept"})
        reading = one.inbox()
        with trio.fail_after(30):
            await poison(one)
            await one.wait_for_leader()
            await other.wait_for_members(3)
            for node in (one, other):
                listed = (await client.get(node.url + "/registry/agents")).json()["instances"]
                assert {instance["instance_id"] for instance in listed} == {"node-a", "node-b", "agent"}
            waiting = (await client.get(one.url + "/messages/agent")).json()["messages"]
            assert [message["payload"] for message in waiting] == [{"text": "kept"}]
            await other.send("node-a", {"text": "after"})
            assert (await anext(reading)).payload == {"text": "after"}


async def test_a_node_with_too_many_faults_leaves_with_an_error() -> None:
    with pytest.RaisesGroup(InternalError, flatten_subgroups=True, allow_unwrapped=True):
        async with open_mesh("node-a", "node-b") as (one, other):
            for _ in range(REBUILDS_MAX):
                await poison(other)
                await other.wait_for_leader()
            plant_fault(other)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
                wire.sendto(POISON, (other.addresses[0].host, other.addresses[0].port))
            with trio.fail_after(30):
                await one._node._driver.wait_until(lambda: "node-b" not in one._node._machine.records())
                departed = one._node._machine._state.members.departed["node-b"]
                assert departed.state is State.LEFT
                await trio.sleep_forever()
