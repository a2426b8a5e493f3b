"""``meshp2p meshes``: the meshes on the networks of this machine."""

from __future__ import annotations

import argparse
import contextlib
from collections import defaultdict
from typing import Final

import msgspec
import trio

from meshp2p.cli.ask import BROWSE_SECONDS
from meshp2p.cli.membership import own_credentials
from meshp2p.cli.output import progress, table_lines, to_json_line, warn, write_line
from meshp2p.discovery.beacon import ask_once
from meshp2p.discovery.mdns import browse_once, multicast_interfaces
from meshp2p.errors import StartError
from meshp2p.net.interfaces import list_interfaces
from meshp2p.node.config import DEFAULT_MESH, DEFAULT_PORT
from meshp2p.node.inviting import INVITATION_PREFIX
from meshp2p.node.platform import find_place
from meshp2p.node.secured_meshes import split_announced
from meshp2p.node.settings import load_config
from meshp2p.wire.codec import Codec

__all__ = ["meshes"]

_Announced = defaultdict[str, set[str]]
"""The ids of the nodes of each mesh, by the name that they announce."""

_KINDS: Final = {True: "secured", False: "open"}


class _SeenMesh(msgspec.Struct):
    """A mesh, as ``meshp2p meshes --json`` prints it. ``id`` is null if the mesh is open: everybody who names such a
    mesh is in it."""

    name: str
    id: str | None
    nodes: int
    is_joined: bool


def meshes(options: argparse.Namespace) -> int:
    joined = {one.load_announced_name() for one in own_credentials().all()}
    named = load_config(is_strict=True).mesh or DEFAULT_MESH
    with progress(f"looking for meshes for {BROWSE_SECONDS:g} s"):
        announced = trio.run(_look, joined | {named})
    invitations = [name for name in announced if name.startswith(INVITATION_PREFIX)]
    seen = []
    for name in sorted(announced.keys() | joined):
        if name not in invitations:
            mesh_id, plain = split_announced(name)
            seen.append(_SeenMesh(plain, mesh_id, len(announced.get(name, ())), name in joined))
    if options.json:
        write_line(to_json_line({"meshes": seen, "invitations": len(invitations)}))
        return 0
    if seen:
        rows = [(one.name, str(one.nodes), _KINDS[one.id is not None], _joined_text(one), one.id or "") for one in seen]
        for line in table_lines(("NAME", "NODES", "KIND", "JOINED", "ID"), rows):
            write_line(line)
    else:
        warn("no mesh is announced on the networks of this machine: start a node with `meshp2p up`")
    if invitations:
        warn(f"{len(invitations)} open invitation(s): `meshp2p join` takes the code")
    return 0


def _joined_text(mesh: _SeenMesh) -> str:
    return "" if mesh.id is None else "yes" if mesh.is_joined else "no: needs an invitation"


async def _look(known: set[str]) -> _Announced:
    found: _Announced = defaultdict(set)
    place = find_place("::", DEFAULT_PORT, list_interfaces())

    async def browse() -> None:
        with contextlib.suppress(StartError):
            for one in await browse_once(None, BROWSE_SECONDS, multicast_interfaces(place.hosts)):
                found[one.mesh].add(one.instance_id)

    async def ask(name: str) -> None:
        answered, _ = await ask_once(Codec(name), place.links, BROWSE_SECONDS)
        if answered:
            found[name].update(answered)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(browse)
        for name in known:
            nursery.start_soon(ask, name)
    return found
