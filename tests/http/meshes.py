"""Real nodes on loopback, and callers that ask another of them each time."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import trio

import meshp2p
from meshp2p import MeshNode, ProtocolConfig
from tests.http.clients import Answer, Client

QUICK = ProtocolConfig(settle_timeout=0.05)
"""A mesh of one names its leader at once; all else is as it is for everybody."""

INSTANCE_KEYS = {
    "instance_id",
    "hostname",
    "port",
    "capabilities",
    "is_leader",
    "last_heartbeat",
    "created_at",
    "agent_profiles",
}
DETAIL_KEYS = INSTANCE_KEYS | {
    "status",
    "metrics",
    "state",
    "home",
    "incarnation",
    "address",
    "addresses",
    "epoch",
    "led_since",
}
REGISTER_KEYS = {"success", "instance_id", "is_leader", "leader_id", "peers"}
HEARTBEAT_KEYS = {"acknowledged", "leader_id", "should_sync"}


@asynccontextmanager
async def open_mesh(*ids: str, **options: Any) -> AsyncIterator[list[MeshNode]]:
    """Nodes with these ids that all see one another and name one leader."""
    async with AsyncExitStack() as stack:
        nodes: list[MeshNode] = []
        for node_id in ids:
            join = [str(nodes[0].addresses[0])] if nodes else []
            settings = {"id": node_id, "port": 0, "mdns": False, "join": join, "protocol": QUICK, **options}
            nodes.append(await stack.enter_async_context(meshp2p.open_node(in_loop=True, **settings)))
        for node in nodes:
            await node.wait_for_members(len(nodes))
            await node.wait_for_leader()
        yield nodes


class Caller:
    """One HTTP client; each request goes to the next of the nodes."""

    def __init__(self, client: httpx.AsyncClient, nodes: Sequence[MeshNode]) -> None:
        self._client = client
        self._nodes = nodes
        self._turns = itertools.cycle(nodes)

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._client.request(method, next(self._turns).url + path, **options)

    async def ask_each(self, method: str, path: str, **options: Any) -> list[httpx.Response]:
        """The same request to every node."""
        return [await self._client.request(method, node.url + path, **options) for node in self._nodes]

    async def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        response = await self.ask("GET", path)
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json"), response.text
        return response.json()

    async def register(self, instance_id: str, **changes: Any) -> dict[str, Any]:
        response = await self.ask("POST", "/registry/register", json={**registration(instance_id), **changes})
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json"), response.text
        answer: dict[str, Any] = response.json()
        assert answer.keys() == REGISTER_KEYS
        return answer

    async def heartbeat(self, instance_id: str, **body: Any) -> dict[str, Any]:
        response = await self.ask("POST", f"/registry/heartbeat/{instance_id}", json={"status": "ok", **body})
        assert response.headers["content-type"] == "application/json"
        answer: dict[str, Any] = response.json()
        assert answer.keys() == HEARTBEAT_KEYS
        assert response.status_code == (200 if answer["acknowledged"] else 404)
        return answer

    async def deregister(self, instance_id: str) -> int:
        response = await self.ask("DELETE", f"/registry/deregister/{instance_id}")
        assert response.content == b""
        return response.status_code

    async def listed(self, query: str = "") -> list[str]:
        answer = await self.get("/registry/agents" + query)
        assert answer.keys() == {"instances", "leader_id"}
        assert all(instance.keys() == INSTANCE_KEYS for instance in answer["instances"])
        return [instance["instance_id"] for instance in answer["instances"]]


def registration(instance_id: str) -> dict[str, Any]:
    return {"instance_id": instance_id, "hostname": "h", "port": 1, "capabilities": [], "agent_profiles": []}


@asynccontextmanager
async def calling(*ids: str, **options: Any) -> AsyncIterator[tuple[Caller, list[MeshNode]]]:
    """A mesh and a caller."""
    async with open_mesh(*ids, **options) as nodes, httpx.AsyncClient(trust_env=False) as client:
        yield Caller(client, nodes), nodes


async def ask_raw(node: MeshNode, request: bytes) -> Answer:
    """Send these bytes on a connection of their own, and read one answer."""
    address = node.addresses[0]
    async with await trio.open_tcp_stream(address.host, address.port) as stream:
        return await Client(stream).ask(request)
