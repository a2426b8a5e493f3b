"""The view of a node and of its mesh, readable in any thread."""

from __future__ import annotations

from meshp2p.core.address import Address
from meshp2p.errors import LocalProtocolError
from meshp2p.node.arguments import check_optional_name
from meshp2p.node.config import NodeConfig, check_name
from meshp2p.node.instance import Instance, instance_of
from meshp2p.node.local_node import LocalNode
from meshp2p.threaded.bridge import Bridge
from meshp2p.threaded.life import Life

__all__ = ["NodeView"]


class NodeView:
    """The part of a node that never blocks: it reads the node's current view."""

    def __init__(self, life: Life | None) -> None:
        self._life = life

    def __repr__(self) -> str:
        if self._life is None:
            return f"<{type(self).__name__} that is not open>"
        return f"<{type(self).__name__} {self.id!r} of mesh {self.config.mesh!r} at {self.url}>"

    @property
    def _bridge(self) -> Bridge:
        return self._open_life.bridge

    @property
    def _node(self) -> LocalNode:
        return self._open_life.node

    @property
    def _open_life(self) -> Life:
        if self._life is None:
            raise LocalProtocolError("the node is not open: use it in 'async with', or await node.start() first")
        return self._life

    @property
    def id(self) -> str:
        """This node's id in the mesh."""
        return self._node.id

    @property
    def config(self) -> NodeConfig:
        """The configuration that the node was opened with."""
        return self._node.config

    @property
    def url(self) -> str:
        """The base URL of this node's HTTP API."""
        return self._node.url

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses at which others reach this node, the best first. They follow the addresses of the machine."""
        return self._node.addresses

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self._bridge.read(lambda: self._node.uptime)

    @property
    def leader(self) -> Instance | None:
        """The leader, or None if there is none: the node has just started, or its side of a partition has no quorum."""
        leader = self._bridge.read(lambda: self._node.leader)
        return None if leader is None else instance_of(leader)

    @property
    def is_leader(self) -> bool:
        """Whether this node leads now. Under a quorum the clock is read each time, as its lease may have expired."""
        return self._bridge.read(lambda: self._node.is_leading)

    def members(self) -> list[Instance]:
        """Return all live instances, including this one, ordered by the bytes of their ids."""
        return list(map(instance_of, self._bridge.read(self._node.members)))

    def member(self, instance_id: str) -> Instance | None:
        """Return the live instance with this id, or None."""
        check_name("instance_id", instance_id)
        listed = self._bridge.read(lambda: self._node.member(instance_id))
        return None if listed is None else instance_of(listed)

    def find(self, *, capability: str | None = None, profile: str | None = None) -> list[Instance]:
        """Return the live instances that match the capability and the profile, each if given."""
        check_optional_name("capability", capability)
        check_optional_name("profile", profile)
        return list(map(instance_of, self._bridge.read(lambda: self._node.find(capability, profile))))
