"""The JSON of ``GET /status``. Times are in seconds; what is not known is null."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from meshp2p.wire.contract import Timestamp

__all__ = [
    "AgentStatus",
    "BlockedLink",
    "Finding",
    "HandlerStatus",
    "LeaderTerm",
    "NetworkStatus",
    "NodeStatus",
    "QueryStatus",
    "Severity",
    "StatusResponse",
    "TaskStatus",
    "TimeSeries",
    "Verdict",
    "WatchStatus",
    "WorkStatus",
]

Severity: TypeAlias = Literal["ok", "notice", "warning", "error"]


class Verdict(msgspec.Struct, frozen=True):
    """The state of the mesh in one sentence, and what to do if something is wrong."""

    severity: Severity
    text: str
    remedy: str | None


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong, or worth knowing. ``name`` is its kind, ``about`` the ids that it concerns."""

    name: str
    severity: Severity
    text: str
    remedy: str
    about: tuple[str, ...] = ()


class AgentStatus(msgspec.Struct, frozen=True):
    """One agent. ``trouble`` is the severity of the worst finding about it, ``findings`` are their names.
    ``silent_seconds`` is the time since its last sign of life, ``round_trip`` that from this node to its home, and
    ``pending`` counts its unread messages. ``metrics`` of more than 1 KiB are null. ``capabilities`` and ``profiles``
    are the first ones, up to 1,024 characters of each list."""

    id: str
    state: Literal["alive", "suspect", "dead"]
    trouble: Severity
    findings: tuple[str, ...]
    is_leader: bool
    status: str | None
    metrics: dict[str, Any] | None
    capabilities: tuple[str, ...]
    profiles: tuple[str, ...]
    home: str
    address: str | None
    silent_seconds: float
    round_trip: float | None
    pending: int | None
    oldest_unread: float | None


class HandlerStatus(msgspec.Struct, frozen=True):
    """The handler of one kind of message of the agent ``id``. ``running`` of at most ``limit`` calls are under way, the
    longest for ``longest`` seconds; ``waiting`` messages wait for their turn. ``done`` calls ended, of which ``failed``
    raised, and took ``mean`` seconds each."""

    id: str
    capabilities: tuple[str, ...]
    kind: str
    running: int
    waiting: int
    limit: int
    done: int
    failed: int
    mean: float
    longest: float


class QueryStatus(msgspec.Struct, frozen=True):
    """A query of the agent ``id`` to ``target`` without an answer yet, asked ``seconds`` ago."""

    id: str
    target: str
    seconds: float


class TaskStatus(msgspec.Struct, frozen=True):
    """A task that the agent ``id`` delegated ``seconds`` ago. ``agent`` does it now."""

    id: str
    capability: str | None
    profile: str | None
    agent: str | None
    seconds: float


class WorkStatus(msgspec.Struct, frozen=True):
    """What the agents of all nodes that reported do now."""

    queries: list[QueryStatus]
    tasks: list[TaskStatus]
    handlers: list[HandlerStatus]


class NodeStatus(msgspec.Struct, frozen=True):
    """One node. ``island`` numbers the groups of nodes that cannot reach each other; 0 is that of the node that
    answers. What follows ``island`` is the node's own report, null if it gave none. ``clock_offset`` is how far its
    wall clock is ahead of that of the node that answers. ``agrees`` says whether both list the same."""

    id: str
    address: str | None
    state: Literal["alive", "suspect", "dead"]
    island: int
    round_trip: float | None
    agrees: bool | None = None
    members: int | None = None
    leader_id: str | None = None
    epoch: int | None = None
    clock_offset: float | None = None
    local_health: int | None = None
    outbox: int | None = None


class WatchStatus(msgspec.Struct, frozen=True):
    """The node ``by`` watches ``node`` by a connection."""

    by: str
    node: str
    round_trip: float | None


class BlockedLink(msgspec.Struct, frozen=True):
    """The node ``by`` does not reach ``node`` as it should. ``pings``: pings are answered only over others.
    ``relayed``: calls go through ``via``. ``unreachable``: calls do not arrive, for this ``reason``."""

    by: str
    node: str
    how: Literal["pings", "relayed", "unreachable"]
    via: str | None
    reason: str | None


class LeaderTerm(msgspec.Struct, frozen=True):
    """From ``at`` on (RFC 3339) this node saw this leader, null for none."""

    at: Timestamp
    leader_id: str | None
    epoch: int


class NetworkStatus(msgspec.Struct, frozen=True):
    """The nodes and the paths between them. ``nodes`` are at most 1,000 of ``nodes_total``: the one that answers, then
    those that are not alive. ``leaders`` are the latest changes, the newest last."""

    nodes_total: int
    nodes: list[NodeStatus]
    watches: list[WatchStatus]
    blocked: list[BlockedLink]
    leaders: list[LeaderTerm]


class TimeSeries(msgspec.Struct, frozen=True):
    """One value over time, the newest last. A value is null for the time before the node was opened."""

    name: str
    what: str
    unit: str
    values: Sequence[float | None]


class StatusResponse(msgspec.Struct, frozen=True):
    """The state of the mesh as one node sees it at ``at``. ``reports`` nodes, with the one that answers, told of
    themselves. ``agents`` has those with the most trouble first, at most 1,000 of ``agents_total``; the other lists
    have at most 1,000 entries too. ``series`` is null unless it was asked for; its values are
    ``series_interval`` seconds apart. ``actions`` are what the caller may ask of this node as an admin: ``invite`` and
    ``revoke``."""

    at: Timestamp
    node_id: str
    mesh: str
    version: str
    uptime: float
    is_secured: bool
    reports: int
    verdict: Verdict
    findings: list[Finding]
    agents_total: int
    agents: list[AgentStatus]
    work: WorkStatus
    network: NetworkStatus
    series_interval: float
    series: list[TimeSeries] | None
    actions: Sequence[str] = ()
