"""The status of the mesh, as ``GET /status`` shows it: made when somebody asks, and once for all who ask meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
import trio

from meshp2p.core.instance import ListedInstance
from meshp2p.core.record import State
from meshp2p.http.body import encode_json
from meshp2p.http.serialize import rfc3339
from meshp2p.node.history import Death, History
from meshp2p.node.metrics import Measured
from meshp2p.node.reporting import Reporter, Reports
from meshp2p.node.series import SAMPLE_SECONDS, SeriesKeeper
from meshp2p.node.verdict import RANKS, DeadAgent, Facts, find_islands, find_problems, judge
from meshp2p.version import __version__
from meshp2p.wire.reports import MailboxLoad, NodeReport, encode_report
from meshp2p.wire.status_contract import (
    AgentStatus,
    BlockedLink,
    Finding,
    HandlerStatus,
    NetworkStatus,
    NodeStatus,
    QueryStatus,
    StatusResponse,
    TaskStatus,
    WatchStatus,
    WorkStatus,
)

__all__ = ["LISTED_MAX", "StatusBoard"]

_T = TypeVar("_T")

LISTED_MAX: Final = 1000
"""The most agents in a status, and entries of each of its other lists. Chosen, not measured."""

DETAIL_MAX: Final = 1024
"""The most bytes of the metrics of an agent in a status, and characters of all its capabilities, and of all its
profiles. Chosen, not measured."""

WAIT_STEP: Final = 10.0
"""Agents whose messages wait for about as long, in seconds, are sorted by id. What is read at once does not change the
order then. Chosen, not measured."""

CACHE_SECONDS: Final = 1.0
"""How long a status is given to all who ask. Chosen, not measured."""


class StatusBoard:
    """Makes the status of one node. ``history`` and ``series`` are kept all the time, everything else is asked for."""

    def __init__(
        self,
        measured: Measured,
        history: History,
        reports: Reports,
        wall_ms: Callable[[], int],
        *,
        mesh: str,
        is_secured: bool,
    ) -> None:
        self.series: SeriesKeeper = SeriesKeeper(measured)
        self._reporter = Reporter(measured, self.series, wall_ms)
        self.run_link_watch: Callable[[], Awaitable[None]] = self._reporter.link_watch.run
        self._measured = measured
        self._history = history
        self._reports = reports
        self._wall_ms = wall_ms
        self._mesh = mesh
        self._is_secured = is_secured
        self._made_at = -CACHE_SECONDS
        self._made = b""
        self._making = trio.Lock()

    def own_report(self) -> bytes:
        """Return the encoded report of this node, for another one."""
        return encode_report(self._reporter.report())

    async def status(self, has_series: bool, actions: tuple[str, ...] = ()) -> tuple[bytes, ...]:
        """Return the parts of the status as JSON, for a caller with these ``actions``. It is at most ``CACHE_SECONDS``
        old. Many readers share the first part, which is long. Cancel-safe."""
        async with self._making:
            if trio.current_time() >= self._made_at + CACHE_SECONDS:
                await self._reports.ask_all()
                self._made = encode_json(self._make()).removesuffix(b'null,"actions":[]}')
                self._made_at = trio.current_time()
        end = b',"actions":%b}' % encode_json(actions)
        return self._made, encode_json(self.series.shown() if has_series else None), end

    def _facts(self, agents: Sequence[ListedInstance]) -> Facts:
        node, machine, now = self._measured.node, self._measured.driver.machine, trio.current_time()
        self._history.forget_old()
        leader = node.leader
        led_since = None if leader is None else leader.led_since
        return Facts(
            own=self._reporter.report(),
            agents=agents,
            reports=self._reports.heard(),
            leader=leader,
            leader_for=0.0 if led_since is None else max(0.0, (self._wall_ms() - led_since) / 1000),
            dead=[
                DeadAgent(name, now - death.at, death.by, death.evidence, death.record.is_node)
                for name, death in self._history.deaths.items()
            ],
            revoked={name: one.why for name, one in self._history.revoked.items()},
            problems=[(name, found.reason, found.advice) for name, (_, found) in self._history.problems.items()],
            not_ready=node.why_not_ready() or "",
            quorum=machine.config.quorum,
        )

    def _make(self) -> StatusResponse:
        """Make the status. ``series`` and ``actions`` are its last fields, so that they can be replaced."""
        node, machine = self._measured.node, self._measured.driver.machine
        listed = node.members()
        facts = self._facts(listed)
        findings = find_problems(facts)
        agents = _agents(facts, findings, machine.round_trips, self._history.deaths, self._wall_ms())
        return StatusResponse(
            at=rfc3339(self._wall_ms()),
            node_id=node.id,
            mesh=self._mesh,
            version=__version__,
            uptime=_rounded(node.uptime),
            is_secured=self._is_secured,
            reports=len(facts.all_reports),
            verdict=judge(facts, findings),
            findings=_first(findings),
            agents_total=len(facts.agents) + len(facts.dead),
            agents=agents,
            work=_work(facts.all_reports, {agent.id: _shortened(agent.capabilities) for agent in listed}),
            network=NetworkStatus(
                len(facts.nodes) + sum(one.is_node for one in facts.dead),
                _nodes(facts, machine.round_trips),
                _first(
                    WatchStatus(report.id, watch.node, _rounded(watch.round_trip) or None)
                    for report in facts.all_reports
                    for watch in report.watches
                ),
                _first(
                    BlockedLink(report.id, link.node, link.how, link.via or None, link.reason or None)
                    for report in facts.all_reports
                    for link in report.links
                ),
                list(self._history.leaders),
            ),
            series_interval=SAMPLE_SECONDS,
            series=None,
        )


def _agents(
    facts: Facts,
    findings: Sequence[Finding],
    round_trips: Mapping[str, float],
    deaths: Mapping[str, Death],
    wall_ms: int,
) -> list[AgentStatus]:
    """Return the agents, and those that died lately, the most troubled first."""
    about: dict[str, list[Finding]] = {}
    for finding in findings:
        for name in finding.about:
            about.setdefault(name, []).append(finding)
    boxes = {box.recipient: box for report in facts.all_reports for box in report.mailboxes}
    reporting = {report.id for report in facts.all_reports}
    no_mail = MailboxLoad("-", 0, 0.0)

    def show(agent: ListedInstance) -> AgentStatus:
        own = about.get(agent.id, [])
        box = boxes.get(agent.id, no_mail if agent.home in reporting else None)
        return AgentStatus(
            id=agent.id,
            state="suspect" if agent.state is State.SUSPECT else "alive",
            trouble=own[0].severity if own else "ok",
            findings=tuple(dict.fromkeys(finding.name for finding in own)),
            is_leader=agent.is_leader,
            status=agent.status or None,
            metrics=_metrics(agent.metrics),
            capabilities=_shortened(agent.capabilities),
            profiles=_shortened(agent.profiles),
            home=agent.home,
            address=str(agent.addresses[0]) if agent.addresses else None,
            silent_seconds=_rounded(max(0.0, (wall_ms - agent.last_heartbeat) / 1000)),
            round_trip=round_trips.get(agent.home),
            pending=None if box is None else box.pending,
            oldest_unread=_rounded(box.oldest) if box is not None and box.pending else None,
        )

    def show_dead(death: DeadAgent) -> AgentStatus:
        record = deaths[death.id].record
        return AgentStatus(
            id=record.id,
            state="dead",
            trouble="error",
            findings=("dead_agent",),
            is_leader=False,
            status=record.status or None,
            metrics=_metrics(record.metrics),
            capabilities=_shortened(record.capabilities),
            profiles=_shortened(record.profiles),
            home=record.home,
            address=str(record.addresses[0]) if record.addresses else None,
            silent_seconds=_rounded(death.seconds),
            round_trip=None,
            pending=None,
            oldest_unread=None,
        )

    def place_of(agent: ListedInstance | DeadAgent) -> tuple[int, bool, int, str]:
        own, box = about.get(agent.id), boxes.get(agent.id, no_mail)
        rank = RANKS[own[0].severity if own else "ok"]
        is_alive = isinstance(agent, ListedInstance) and agent.state is not State.SUSPECT
        return rank, is_alive, -int(box.oldest // WAIT_STEP), agent.id

    known: list[ListedInstance | DeadAgent] = [*facts.agents, *facts.dead]
    shown = _first(sorted(known, key=place_of))
    return [show_dead(agent) if isinstance(agent, DeadAgent) else show(agent) for agent in shown]


def _shortened(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first names, as many as a status shows."""
    lengths = itertools.accumulate(map(len, names))
    return names[: sum(length <= DETAIL_MAX for length in lengths)]


def _metrics(text: str) -> dict[str, Any] | None:
    if not text or len(text.encode()) > DETAIL_MAX:
        return None
    metrics: dict[str, Any] = msgspec.json.decode(text)
    return metrics


def _work(reports: Sequence[NodeReport], capabilities: Mapping[str, tuple[str, ...]]) -> WorkStatus:
    return WorkStatus(
        _first(
            QueryStatus(report.id, one.target, _rounded(one.seconds)) for report in reports for one in report.queries
        ),
        _first(
            TaskStatus(report.id, one.capability or None, one.profile or None, one.agent or None, _rounded(one.seconds))
            for report in reports
            for one in report.tasks
        ),
        _first(
            HandlerStatus(
                report.id,
                capabilities.get(report.id, ()),
                one.kind,
                one.running,
                one.waiting,
                one.limit,
                one.done,
                one.failed,
                _rounded(one.mean),
                _rounded(one.longest),
            )
            for report in reports
            for one in report.handlers
        ),
    )


def _first(entries: Iterable[_T]) -> list[_T]:
    """Return the entries that a status shows. Others choose how many there are."""
    return list(itertools.islice(entries, LISTED_MAX))


def _nodes(facts: Facts, round_trips: Mapping[str, float]) -> list[NodeStatus]:
    islands = find_islands(facts)
    nodes = [_node(node, islands[node.id], round_trips.get(node.id), facts) for node in facts.nodes]
    nodes += [NodeStatus(one.id, None, "dead", islands.get(one.id, 0), None) for one in facts.dead if one.is_node]
    return _first(sorted(nodes, key=lambda node: (node.id != facts.own.id, node.state == "alive")))


def _node(node: ListedInstance, island: int, round_trip: float | None, facts: Facts) -> NodeStatus:
    heard = facts.reports.get(node.id)
    report = facts.own if node.id == facts.own.id else None if heard is None else heard.report
    address = str(node.addresses[0]) if node.addresses else None
    shown = NodeStatus(node.id, address, "suspect" if node.state is State.SUSPECT else "alive", island, round_trip)
    if report is None:
        return shown
    return msgspec.structs.replace(
        shown,
        agrees=heard is None or not heard.differs_for,
        members=report.members,
        leader_id=report.leader or None,
        epoch=report.epoch,
        clock_offset=0.0 if heard is None else _rounded(heard.offset),
        local_health=report.local_health,
        outbox=report.outbox,
    )


def _rounded(seconds: float) -> float:
    return round(seconds, 4)
