"""The base classes of all faults."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.virtual.checked import Checked

__all__ = ["ALL_KINDS", "FaultOfNodes", "FaultOfOne", "Faulty", "Kind"]


class Kind(StrEnum):
    """The kind of traffic."""

    UDP = "udp"
    TCP = "tcp"
    MULTICAST = "multicast"


ALL_KINDS = (Kind.UDP, Kind.TCP, Kind.MULTICAST)


class Faulty(Checked, frozen=True, kw_only=True, tag_field="fault", tag=str):
    """The common part of all faults. Raises :class:`ConfigError` if a value is out of range."""

    begin: float = 0.0
    end: float | None = None

    is_mild: ClassVar[bool] = False
    """Whether a healthy mesh must tolerate it without declaring any node dead. For some, the values decide:
    :meth:`is_bearable`."""

    def names(self) -> tuple[str, ...]:
        """The ids of the nodes that it names."""
        return ()

    def is_bearable(self) -> bool:
        """Return whether a healthy mesh must tolerate it without declaring any node dead."""
        return self.is_mild

    def without(self, node_id: str) -> Faulty | None:
        """Return the fault without this node, or None if nothing remains."""
        return None if node_id in self.names() else self

    def _share(self, name: str, value: float) -> None:
        if not 0 <= value <= 1:
            raise ConfigError(f"{type(self).__name__}: {name} = {value}: expected 0 to 1")

    def _seconds(self, name: str, value: float, low: float = 0.0, high: float = 1e6) -> None:
        if not low <= value <= high:
            raise ConfigError(f"{type(self).__name__}: {name} = {value}: expected {low:g} to {high:g} seconds")


class FaultOfNodes(Faulty, frozen=True, kw_only=True):
    """A fault of everything that these nodes send or receive; without nodes, of the whole network."""

    nodes: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        return self.nodes

    def without(self, node_id: str) -> Faulty | None:
        if node_id not in self.nodes:
            return self
        rest = tuple(name for name in self.nodes if name != node_id)
        return msgspec.structs.replace(self, nodes=rest) if rest else None


class FaultOfOne(Faulty, frozen=True, kw_only=True):
    """A fault of one node."""

    node: str

    def names(self) -> tuple[str, ...]:
        return (self.node,)
