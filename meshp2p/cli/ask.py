"""``meshp2p agents`` and ``meshp2p leader``: query any node."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Final

import trio

from meshp2p.cli.configuration import credential_path, mesh_config
from meshp2p.cli.output import detail_of, printable, progress, table_lines, time_text, to_json_line, write_line
from meshp2p.cli.parser import did_you_mean
from meshp2p.client import MeshClient
from meshp2p.client.node_requests import decode, made
from meshp2p.core.address import Address
from meshp2p.core.calls import Pong, Probe
from meshp2p.core.effects import Call, CallFailed
from meshp2p.discovery.beacon import ask_once
from meshp2p.discovery.mdns import browse_once, multicast_interfaces
from meshp2p.errors import MeshError, NotInvited, Refusal, StartError, UnknownInstance, Unreachable
from meshp2p.net.interfaces import list_interfaces
from meshp2p.net.peers import open_stranger
from meshp2p.node.config import DEFAULT_PORT, NodeConfig
from meshp2p.node.instance import Instance
from meshp2p.node.platform import find_place
from meshp2p.node.secured_meshes import announced_mesh, count_secured, how_to_join
from meshp2p.node.settings import CA_VARIABLE, TOKEN_VARIABLE
from meshp2p.wire.codec import Codec
from meshp2p.wire.status_contract import StatusResponse

__all__ = ["agents", "expect_member", "find_announced", "find_nodes", "leader", "open_client", "read_status"]

BROWSE_SECONDS = 2.0
"""How long to look for nodes. Measured on a LAN: a node is seen within 0.12 s, by mDNS alone within 1.54 s, because an
answer that was multicast within the last second is not repeated (RFC 6762 §6). With 40 % of all datagrams lost it is
seen within 1.2 s: until then the beacon asks three times, and mDNS twice. mDNS asks a third time only after 3 s."""

_ALONE_SECONDS: Final = 0.5
"""After this time without a node, secured meshes of the same name are looked for too."""


_TITLES: Final = ("  ID", "STATE", "PLACE", "LAST HEARTBEAT", "CAPABILITIES", "PROFILES", "STATUS", "METRICS")


async def agents(options: argparse.Namespace) -> int:
    async with open_client(options) as client:
        instances = await client.members()
    if options.json:
        write_line(to_json_line({"instances": list(map(detail_of, instances))}))
        return 0
    for line in table_lines(_TITLES, map(_row_of, instances)):
        write_line(line)
    return 0


def _row_of(instance: Instance) -> tuple[str, ...]:
    return (
        f"{'*' if instance.is_leader else ' '} {instance.id}",
        instance.state.name.lower(),
        f"{instance.hostname}:{instance.port}",
        time_text(instance.last_heartbeat),
        ", ".join(instance.capabilities),
        ", ".join(instance.profiles),
        instance.status,
        to_json_line(instance.metrics) if instance.metrics else "",
    )


async def leader(options: argparse.Namespace) -> int:
    async with open_client(options) as client:
        leader = await client.leader()
    if options.json:
        write_line(to_json_line(None if leader is None else detail_of(leader)))
    elif leader is None:
        write_line("no leader")
    else:
        since = "" if leader.led_since is None else f", since {time_text(leader.led_since)}"
        write_line(printable(f"{leader.id} (epoch {leader.epoch}{since})"))
    return 0


@contextlib.asynccontextmanager
async def open_client(
    options: argparse.Namespace, *, token: str | None = None, node: str | None = None
) -> AsyncIterator[MeshClient]:
    """Open a client for ``node``, the node named by the options, or one that is found. It has the token and the
    certificate that MESHP2P_TOKEN and MESHP2P_CA name, or ``token`` and the credential of this user.

    Raises :class:`~meshp2p.errors.ConfigError`, and what :func:`find_nodes` raises.
    """
    config = mesh_config(options)
    own = credential_path(config)
    token, ca = os.environ.get(TOKEN_VARIABLE) or token, os.environ.get(CA_VARIABLE) or None

    def open_at(urls: list[str]) -> MeshClient:
        return MeshClient(urls, credentials=None if ca is not None else own, token=token, ca=ca)

    node = node or options.node
    urls = [] if node is None else [node]
    if not urls:
        with progress(f"looking for a node of mesh {config.mesh_name!r}"):
            urls = await find_nodes(config, enough=1)
            if own is not None and not await _answers(open_at(urls)):
                if urls == [str(_fallback())]:
                    raise _nobody(config, "none of its nodes answers")
                urls = await find_nodes(config, enough=None)
    async with open_at(urls) as client:
        yield client


async def _answers(client: MeshClient) -> bool:
    """Whether one of these nodes answers, and is in the secured mesh."""
    async with client:
        try:
            await client.health()
        except MeshError:
            return False
        return True


async def expect_member(client: MeshClient, instance_id: str) -> Instance:
    """Return the live instance with this id. Raises :class:`~meshp2p.errors.UnknownInstance`, with the nearest id."""
    instance = await client.member(instance_id)
    if instance is None:
        ids = [member.id for member in await client.members()]
        hint = did_you_mean(instance_id, ids) or ": `meshp2p why ID` says what became of an agent"
        raise UnknownInstance(f"no agent {instance_id!r} is in the mesh{hint}")
    return instance


async def read_status(client: MeshClient) -> StatusResponse:
    """Return what a node says of the whole mesh."""
    response = await client._requests.send("GET", "/status", None)
    return made(response, lambda: decode(response, StatusResponse))


async def find_nodes(config: NodeConfig, *, enough: int | None) -> list[str]:
    """Return the addresses of the first ``enough`` nodes of this mesh, or of all, that mDNS or the beacon finds on this
    machine or the LAN, the best first. Anybody may announce an address, also that of a secured mesh.

    If neither finds a node, return the default port of this machine, where a node may run that does not announce
    itself. In an open mesh this is tried: if no node answers there, this raises
    :class:`~meshp2p.errors.NotInvited` if a secured mesh of this name is seen, else
    :class:`~meshp2p.errors.Unreachable`.
    """
    mesh, announced = config.mesh_name, announced_mesh(config)
    nodes = 0
    async with trio.open_nursery() as nursery:

        async def count() -> None:
            nonlocal nodes
            await trio.sleep(_ALONE_SECONDS)
            nodes = await count_secured(mesh)

        if announced == mesh:
            nursery.start_soon(count)
        seen = await find_announced(announced, enough=enough)
        if seen:
            nursery.cancel_scope.cancel()
    if seen:
        return [str(address) for addresses in seen for address in addresses]
    fallback = _fallback()
    if announced != mesh:
        return [str(fallback)]
    async with open_stranger(Codec(announced)) as peers:  # a node of another mesh refuses it
        reply = await peers.call(Call(0, (fallback,), Probe(0), 1.0))
    if not isinstance(reply, Pong):
        if nodes:
            raise NotInvited("; ".join(how_to_join(mesh, nodes)))
        is_other = isinstance(reply, CallFailed) and Refusal.OTHER_MESH.value in reply.reason
        raise _nobody(config, "a node of another mesh is" if is_other else "none answers")
    return [str(fallback)]


def _nobody(config: NodeConfig, there: str) -> Unreachable:
    return Unreachable(
        f"no node of mesh {config.mesh_name!r} was seen by mDNS or the beacon, and {there} at http://{_fallback()}:"
        " start one with `meshp2p up`, name another mesh with --mesh (`meshp2p meshes` lists them), or a node with"
        " --node"
    )


def _fallback() -> Address:
    """Return where a node of this machine may be that does not announce itself."""
    return Address("127.0.0.1", DEFAULT_PORT)


async def find_announced(mesh: str, *, enough: int | None = 1) -> list[tuple[Address, ...]]:
    """Return the addresses of the nodes that announce this name by mDNS or the beacon, on this machine or the LAN: of
    all that are seen in ``BROWSE_SECONDS``, or of the first ``enough``."""
    place = find_place("::", DEFAULT_PORT, list_interfaces())
    seen: list[tuple[Address, ...]] = []
    async with trio.open_nursery() as nursery:

        async def browse() -> None:
            with contextlib.suppress(StartError):
                found = await browse_once(mesh, BROWSE_SECONDS, multicast_interfaces(place.hosts), enough=enough)
                seen.extend(advertisement.addresses for advertisement in found)
            if seen and enough is not None:
                nursery.cancel_scope.cancel()

        async def ask() -> None:
            found, _ = await ask_once(Codec(mesh), place.links, BROWSE_SECONDS, enough=enough)
            seen.extend(found.values())
            if seen and enough is not None:
                nursery.cancel_scope.cancel()

        nursery.start_soon(browse)
        nursery.start_soon(ask)
    return seen
