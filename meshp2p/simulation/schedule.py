"""The complete description of a run. The same schedule gives the same run, event for event.

A schedule has every option expanded, so that a file can be replayed after a default has changed.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.message import PAYLOAD_BYTES_MAX
from meshp2p.core.record import ADDRESSES_MAX, ID_BYTES_MAX
from meshp2p.core.validity import check_bytes, check_id
from meshp2p.errors import ConfigError
from meshp2p.virtual.checked import Checked
from meshp2p.virtual.faults import DeadAddress, Fault, SecurityFault, ShutOut
from meshp2p.virtual.links import LinkOptions

__all__ = [
    "FORMAT",
    "AgentPlan",
    "MailPlan",
    "MapPlan",
    "NodePlan",
    "Schedule",
    "SecurityPlan",
    "check_fault",
    "dump_schedule",
    "load_schedule",
]

FORMAT = 1
"""The version of the files. Raised when a field changes its meaning; new fields have defaults."""

NODES_MAX = 20_000

WALL_SKEW_MAX = 1e9
EVERY_MIN = 0.001
"""The shortest interval of what repeats, in seconds."""

CHAIN_MAX = 8
"""The number of machines in a chain of invitations, as in :mod:`meshp2p.trust.trust_map`."""


class NodePlan(Checked, frozen=True, kw_only=True):
    """A node that is started ``at`` virtual seconds and knows the ids of its ``seeds``.

    If none of them runs when it is restarted, it gets another node that runs.

    With ``has_disk`` it keeps its state across restarts. ``wall_skew`` is how many seconds its wall clock is ahead of
    the true time. Its machine has so many ``addresses``, all of which it publishes.
    """

    id: str
    at: float = 0.0
    seeds: tuple[str, ...] = ()
    has_disk: bool = True
    wall_skew: float = 0.0
    addresses: int = 1


class AgentPlan(Checked, frozen=True, kw_only=True):
    """An agent that speaks only HTTP: it registers, then sends a heartbeat every ``every`` seconds until ``until``.

    In the network it is at the first of its ``nodes``. It asks them in turn, and goes to the next if one does not
    answer. With ``varies`` its status and metrics change at times, and it registers again; the metrics have up to
    ``metrics_bytes``. With ``deregisters`` it deregisters at ``until``, at another node than the last. With
    ``is_looked_up`` it reports twice each time, and the first two nodes are asked for it again and again meanwhile.

    A request or its answer is lost with a probability of ``loses``. A heartbeat is sent twice with one of ``doubles``.
    """

    id: str
    nodes: tuple[str, ...]
    at: float = 0.0
    until: float | None = None
    every: float = 5.0
    varies: bool = False
    metrics_bytes: int = 0
    deregisters: bool = False
    loses: float = 0.0
    doubles: float = 0.0
    is_looked_up: bool = False


class MailPlan(Checked, frozen=True, kw_only=True):
    """An agent ``source`` that sends a message every ``every`` seconds from ``at`` until ``until``: to ``target``, or
    to all if that is empty. The first running node of ``nodes`` accepts it.

    With ``waits``, messages may wait for a target that is dead and may come back.

    Payloads have up to ``bytes_max`` bytes, and as many of them are between 10 and 100 bytes as between 10 and 100 KB.
    0: a few bytes.
    """

    source: str
    nodes: tuple[str, ...]
    target: str = ""
    at: float = 0.0
    until: float = 0.0
    every: float = 1.0
    bytes_max: int = 0
    waits: bool = False


class MapPlan(Checked, frozen=True, kw_only=True):
    """A shared map that the agents on ``nodes`` open when their nodes start. Every ``every`` seconds from ``at`` until
    ``until``, one of them, chosen at random, writes one of this many ``keys``, or deletes it with a probability of
    ``deletions``."""

    name: str
    nodes: tuple[str, ...]
    at: float = 0.0
    until: float = 0.0
    every: float = 1.0
    keys: int = 8
    deletions: float = 0.2


class SecurityPlan(Checked, frozen=True, kw_only=True):
    """A secured mesh: each node has a machine of its own, which is invited when the node starts. The machine of the
    first node founds the mesh. ``inviters`` names, for other nodes, the node on whose machine they are invited, if it
    is not that of the first.

    A process uses a key for datagrams for ``key_seconds``, and opens those to the former one for ``retired_seconds``.
    """

    inviters: dict[str, str] = msgspec.field(default_factory=dict)
    key_seconds: float = 86_400.0
    retired_seconds: float = 600.0


class Schedule(Checked, frozen=True, kw_only=True):
    """Everything that determines a run.

    Faults come and go until ``duration``. Then all end, crashed nodes that were to return are back, and the mesh must
    converge within a bound that follows from ``config``. After that it is watched for ``calm`` more seconds.
    ``reads_on`` names recipients that read after the message that they read last, for a while; all others read from the
    oldest message each time. ``checks`` names the checkers; None means all of them and ``()`` none. ``ablations`` names
    the safeguards that are switched off, as ``python -m simulations`` can do. ``through_wire`` encodes and decodes each
    datagram. Every ``multicast_interval`` seconds each node looks for others by multicast; 0: never. With ``security``
    the mesh is a secured one.
    """

    format: int = FORMAT
    scenario: str
    seed: int
    duration: float
    calm: float = 5.0
    nodes: tuple[NodePlan, ...]
    agents: tuple[AgentPlan, ...] = ()
    mail: tuple[MailPlan, ...] = ()
    maps: tuple[MapPlan, ...] = ()
    reads_on: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    link: LinkOptions = LinkOptions()
    config: ProtocolConfig = ProtocolConfig()
    through_wire: bool = False
    multicast_interval: float = 0.0
    security: SecurityPlan | None = None
    checks: tuple[str, ...] | None = None
    ablations: tuple[str, ...] = ()

    def _check(self) -> None:
        _check_schedule(self)


def _check_schedule(schedule: Schedule) -> None:
    if schedule.format != FORMAT:
        raise ConfigError(f"format = {schedule.format}: this version reads format {FORMAT}")
    if not (math.isfinite(schedule.duration) and 0 < schedule.duration <= 1e7):
        raise ConfigError(f"duration = {schedule.duration}: expected more than 0 and at most 10,000,000 seconds")
    if not (math.isfinite(schedule.calm) and 0 <= schedule.calm <= 1e6):
        raise ConfigError(f"calm = {schedule.calm}: expected 0 to 1,000,000 seconds")
    if schedule.multicast_interval and schedule.multicast_interval < EVERY_MIN:
        raise ConfigError(
            f"multicast_interval = {schedule.multicast_interval}: expected 0, or at least {EVERY_MIN} seconds"
        )
    if not 1 <= len(schedule.nodes) <= NODES_MAX:
        raise ConfigError(f"nodes = {len(schedule.nodes)}: expected 1 to {NODES_MAX}")
    ids = {plan.id for plan in schedule.nodes}
    if len(ids) != len(schedule.nodes):
        raise ConfigError("nodes: two have the same id; a second process with an id is the fault Twin")
    for plan in schedule.nodes:
        _check_known(f"seeds of {plan.id!r}", plan.seeds, ids)
        if not 0 <= plan.at <= schedule.duration:
            raise ConfigError(f"node {plan.id!r}: at = {plan.at}: expected 0 to the duration ({schedule.duration})")
        check_id(plan.id)
        if abs(plan.wall_skew) > WALL_SKEW_MAX:
            raise ConfigError(
                f"node {plan.id!r}: wall_skew = {plan.wall_skew}: expected at most {WALL_SKEW_MAX:g} seconds"
            )
        if not 1 <= plan.addresses <= ADDRESSES_MAX:
            raise ConfigError(f"node {plan.id!r}: addresses = {plan.addresses}: expected 1 to {ADDRESSES_MAX}")
    _check_plans(schedule, ids)
    _check_security(schedule, ids)
    plans = {plan.id: plan for plan in schedule.nodes}
    for fault in schedule.faults:
        check_fault(fault, plans, schedule.security)
        if fault.begin > schedule.duration:
            raise ConfigError(
                f"{type(fault).__name__}: begin = {fault.begin}: expected at most the duration ({schedule.duration})"
            )


def check_fault(fault: Fault, nodes: Mapping[str, NodePlan], security: SecurityPlan | None) -> None:
    """Raise :class:`ConfigError` for a fault that a mesh of these nodes, by their ids, cannot have."""
    name = type(fault).__name__
    _check_known(name, fault.names(), nodes)
    if fault.begin < 0 or (fault.end is not None and fault.end < fault.begin):
        raise ConfigError(f"{name}: begin = {fault.begin}, end = {fault.end}: expected 0 <= begin <= end")
    if isinstance(fault, DeadAddress) and fault.number >= nodes[fault.node].addresses:
        raise ConfigError(
            f"DeadAddress: number = {fault.number}: node {fault.node!r} has {nodes[fault.node].addresses} addresses"
        )
    if not isinstance(fault, SecurityFault):
        return
    if security is None:
        raise ConfigError(f"{name}: expected a secured mesh (security)")
    if isinstance(fault, ShutOut) and fault.by not in _inviters(fault.node, next(iter(nodes)), security):
        raise ConfigError(
            f"ShutOut: by = {fault.by!r}: expected a node above {fault.node!r} in its chain of invitations"
        )


def _inviters(node_id: str, first: str, security: SecurityPlan) -> Iterator[str]:
    """Yield the nodes above this one in its chain of invitations: their machines may revoke its machine."""
    while node_id != first:
        node_id = security.inviters.get(node_id, first)
        yield node_id


def _check_security(schedule: Schedule, ids: set[str]) -> None:
    plan = schedule.security
    if plan is None:
        return
    if not 0 < plan.retired_seconds < plan.key_seconds <= 1e7:
        raise ConfigError(
            f"security: key_seconds = {plan.key_seconds}, retired_seconds = {plan.retired_seconds}: expected"
            " 0 < retired_seconds < key_seconds, at most 10,000,000"
        )
    first = schedule.nodes[0].id
    above = {first: 1}
    for node in schedule.nodes[1:]:
        inviter = plan.inviters.get(node.id, first)
        if inviter not in above or above[inviter] >= CHAIN_MAX:
            raise ConfigError(
                f"inviters: {inviter!r} for {node.id!r}: expected a node that is listed before it, with fewer than"
                f" {CHAIN_MAX} in its chain"
            )
        above[node.id] = above[inviter] + 1
    _check_known("inviters", tuple(plan.inviters), ids)


def _check_plans(schedule: Schedule, ids: set[str]) -> None:
    for agent in schedule.agents:
        _check_known(f"nodes of agent {agent.id!r}", agent.nodes, ids)
        check_id(agent.id)
        if not agent.nodes or agent.id in ids or agent.every < EVERY_MIN:
            raise ConfigError(
                f"agent {agent.id!r}: expected at least one node, an id of its own, and every >= {EVERY_MIN}"
            )
        if not 0 <= agent.metrics_bytes <= PAYLOAD_BYTES_MAX:
            raise ConfigError(
                f"agent {agent.id!r}: metrics_bytes = {agent.metrics_bytes}: expected 0 to {PAYLOAD_BYTES_MAX}"
            )
        _check_span(f"agent {agent.id!r}", agent.at, agent.at if agent.until is None else agent.until)
        if not (0 <= agent.loses <= 1 and 0 <= agent.doubles <= 1):
            raise ConfigError(f"agent {agent.id!r}: loses = {agent.loses}, doubles = {agent.doubles}: expected 0 to 1")
    for mail in schedule.mail:
        _check_known(f"nodes of the mail of {mail.source!r}", mail.nodes, ids)
        check_id(mail.source)
        check_bytes("target", mail.target)
        if not mail.nodes or mail.every < EVERY_MIN:
            raise ConfigError(f"mail of {mail.source!r}: expected at least one node, and every >= {EVERY_MIN}")
        _check_span(f"mail of {mail.source!r}", mail.at, mail.until)
        if not 0 <= mail.bytes_max <= PAYLOAD_BYTES_MAX:
            raise ConfigError(
                f"mail of {mail.source!r}: bytes_max = {mail.bytes_max}: expected 0 to {PAYLOAD_BYTES_MAX}"
            )
    for shared in schedule.maps:
        _check_known(f"nodes of the map {shared.name!r}", shared.nodes, ids)
        check_id(shared.name)
        if not shared.nodes or shared.every < EVERY_MIN or shared.keys < 1 or not 0 <= shared.deletions <= 1:
            raise ConfigError(
                f"map {shared.name!r}: expected at least one node and key, every >= {EVERY_MIN}, and deletions 0 to 1"
            )
        _check_span(f"map {shared.name!r}", shared.at, shared.until)


def _check_span(what: str, at: float, until: float) -> None:
    if not 0 <= at <= until:
        raise ConfigError(f"{what}: at = {at}, until = {until}: expected 0 <= at <= until")


def _check_known(what: str, named: tuple[str, ...], ids: Container[str]) -> None:
    for name in named:
        if name not in ids:
            raise ConfigError(f"{what}: there is no node {name[:ID_BYTES_MAX]!r}")


def dump_schedule(schedule: Schedule) -> bytes:
    """Return the schedule as JSON, with every option."""
    return msgspec.json.format(msgspec.json.encode(_Written(schedule=schedule)), indent=1)


def load_schedule(data: bytes | str) -> Schedule:
    """Parse the output of :func:`dump_schedule`. Raises :class:`ConfigError` with one line on anything else."""
    try:
        version = msgspec.json.decode(data, type=_Head).schedule.format
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"not a replay file of the simulator: {error}") from None
    if version != FORMAT:
        raise ConfigError(f"replay file of format {version}: this version reads format {FORMAT}")
    try:
        return msgspec.json.decode(data, type=_Written).schedule
    except msgspec.ValidationError as error:
        cause = error.__cause__
        raise ConfigError(str(cause) if isinstance(cause, ConfigError) else f"replay file: {error}") from None


class _HeadSchedule(msgspec.Struct):
    format: int


class _Head(msgspec.Struct):
    schedule: _HeadSchedule


class _Written(msgspec.Struct, frozen=True):
    schedule: Schedule
