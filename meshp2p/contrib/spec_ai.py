"""The payload of ``GraphSync`` messages, with which agents that keep a knowledge graph exchange changes.

::

    await node.send("planner-1", graph.delta(their_clock), kind="GraphSync")

The format is spec-ai's ``GraphSyncPayload``, so that agents of both kinds can read each other; its JSON is what serde
makes of the Rust types. How a graph is stored, and which side wins if two clocks are concurrent, is up to the agents.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Any

import msgspec

__all__ = [
    "ClockOrder",
    "GraphEdge",
    "GraphNode",
    "GraphSync",
    "GraphSyncType",
    "GraphTombstone",
    "VectorClock",
]

Number = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Time = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class ClockOrder(enum.StrEnum):
    """The order of two vector clocks."""

    BEFORE = "before"
    """The other clock knows all that this one knows, and more."""
    AFTER = "after"
    EQUAL = "equal"
    CONCURRENT = "concurrent"
    """Each clock knows changes that the other does not."""


class VectorClock(msgspec.Struct, frozen=True):
    """The number of known changes by each instance (Fidge 1988, Mattern 1988); 0 for an instance that is not named."""

    versions: dict[str, Number] = {}

    def tick(self, instance_id: str) -> VectorClock:
        """Return this clock after one more change by this instance."""
        return VectorClock({**self.versions, instance_id: self.versions.get(instance_id, 0) + 1})

    def merge(self, other: VectorClock) -> VectorClock:
        """Return the clock that knows what either of the two knows. Commutative, associative and idempotent."""
        merged = dict(self.versions)
        for instance_id, version in other.versions.items():
            merged[instance_id] = max(version, merged.get(instance_id, 0))
        return VectorClock(merged)

    def compare(self, other: VectorClock) -> ClockOrder:
        """Return the order of this clock and another."""
        is_within, has_all = self.is_within(other), other.is_within(self)
        if is_within and has_all:
            return ClockOrder.EQUAL
        if is_within:
            return ClockOrder.BEFORE
        return ClockOrder.AFTER if has_all else ClockOrder.CONCURRENT

    def is_within(self, other: VectorClock) -> bool:
        """Return whether the other clock knows all that this one knows: before it, or equal."""
        names = {**self.versions, **other.versions}
        return all(self.versions.get(name, 0) <= other.versions.get(name, 0) for name in names)


class GraphSyncType(enum.StrEnum):
    """The purpose of a GraphSync message."""

    REQUEST_FULL = "request_full"
    """A request for the whole graph. Answered with ``FULL``."""
    REQUEST_INCREMENTAL = "request_incremental"
    """A request for all changes since ``vector_clock``. Answered with ``INCREMENTAL``."""
    FULL = "full"
    INCREMENTAL = "incremental"
    ACK = "ack"
    """The changes up to ``vector_clock`` were applied."""
    CONFLICT = "conflict"
    """Two changes are concurrent; ``conflict_info`` says which."""


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node of a graph. ``node_type`` is spec-ai's: ``Entity``, ``Concept``, ``Fact``, ``Message``, ``ToolResult``,
    ``Event`` or ``Goal``."""

    id: Number
    session_id: str
    node_type: str
    label: str
    properties: Any = None
    embedding_id: Number | None = None
    created_at: Time
    updated_at: Time
    vector_clock: VectorClock = VectorClock()
    last_modified_by: str | None = None
    is_deleted: bool = False
    sync_enabled: bool = True


class GraphEdge(msgspec.Struct, frozen=True, kw_only=True):
    """An edge of a graph. ``edge_type`` is spec-ai's: a name such as ``RelatesTo`` or ``DependsOn``, or ``{"Custom":
    name}``."""

    id: Number
    session_id: str
    source_id: Number
    target_id: Number
    edge_type: str | dict[str, str]
    predicate: str | None = None
    properties: Any = None
    weight: float = 1.0
    temporal_start: Time | None = None
    temporal_end: Time | None = None
    created_at: Time
    vector_clock: VectorClock = VectorClock()
    last_modified_by: str | None = None
    is_deleted: bool = False
    sync_enabled: bool = True


class GraphTombstone(msgspec.Struct, frozen=True, kw_only=True):
    """A deletion of a node or an edge. ``entity_type`` is ``node`` or ``edge``."""

    entity_type: str
    entity_id: Number
    vector_clock: VectorClock
    deleted_by: str
    deleted_at: Time


class GraphSync(msgspec.Struct, frozen=True, kw_only=True):
    """A message about the graph ``graph_name`` of a session. Nodes, edges and tombstones are empty in requests."""

    sync_type: GraphSyncType
    session_id: str
    graph_name: str | None = None
    vector_clock: VectorClock = VectorClock()
    nodes: tuple[GraphNode, ...] = ()
    edges: tuple[GraphEdge, ...] = ()
    tombstones: tuple[GraphTombstone, ...] = ()
    correlation_id: str | None = None
    conflict_info: str | None = None

    def delta(self, since: VectorClock) -> GraphSync:
        """Return the part that is unknown to an instance with that clock: the answer to ``REQUEST_INCREMENTAL``."""
        return msgspec.structs.replace(
            self,
            sync_type=GraphSyncType.INCREMENTAL,
            nodes=tuple(node for node in self.nodes if not node.vector_clock.is_within(since)),
            edges=tuple(edge for edge in self.edges if not edge.vector_clock.is_within(since)),
            tombstones=tuple(gone for gone in self.tombstones if not gone.vector_clock.is_within(since)),
        )
