"""Check whether nodes agree, and report the view of each if they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshp2p.core.record import State
from meshp2p.errors import MeshError
from meshp2p.threaded.mesh_node import MeshNode

__all__ = ["NotConverged", "report", "why_not_converged"]


class NotConverged(MeshError, AssertionError):
    """An awaited condition did not occur in its virtual time. The message shows the view of each node."""


def why_not_converged(nodes: Mapping[str, Sequence[MeshNode]]) -> str:
    """Return what is missing until these nodes agree, for each mesh separately; empty if nothing is."""
    meshes: dict[str, list[MeshNode]] = {}
    for host, open_nodes in nodes.items():
        if not open_nodes:
            return f"no node is open on host {host!r}"
        for node in open_nodes:
            meshes.setdefault(node.config.mesh_name, []).append(node)
    for members in meshes.values():
        ids = sorted((node.id for node in members), key=str.encode)
        first = members[0]
        hosted = _hosted(first)
        for node in members:
            listed = [member.id for member in node.members() if not member.is_hosted]
            alive = [member.id for member in node.members() if not member.is_hosted and member.state is State.ALIVE]
            if listed != ids or alive != ids:
                return f"{node.id!r} does not list {', '.join(ids)} as alive, and nobody else"
            if _hosted(node) != hosted:
                return f"{node.id!r} and {first.id!r} list different hosted instances"
            if node.leader is None:
                return f"{node.id!r} sees no leader"
            if first.leader is None or (node.leader.id, node.leader.epoch) != (first.leader.id, first.leader.epoch):
                return f"{node.id!r} and {first.id!r} see different leaders or epochs"
    return ""


def report(nodes: Mapping[str, MeshNode]) -> str:
    """Return one line per node: the members it lists, those it suspects, and its leader."""
    return "\n".join(f"  {host}: {_view_of(node)}" for host, node in nodes.items()) or "  no node is open"


def _hosted(node: MeshNode) -> list[tuple[str, str]]:
    return [(member.id, member.home) for member in node.members() if member.is_hosted]


def _view_of(node: MeshNode) -> str:
    members = node.members()
    parts = ["lists " + ", ".join(member.id for member in members)]
    suspects = [member.id for member in members if member.state is not State.ALIVE]
    if suspects:
        parts.append("suspects " + ", ".join(suspects))
    leader = node.leader
    parts.append("no leader" if leader is None else f"leader {leader.id} (epoch {leader.epoch})")
    return "; ".join(parts)
