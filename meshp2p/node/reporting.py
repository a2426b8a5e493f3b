"""The report of a node about itself, and those of the other nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal

import msgspec
import trio

from meshp2p.errors import MeshError
from meshp2p.net.open_calls import CallOpener
from meshp2p.node.link_watch import LinkWatch
from meshp2p.node.metrics import Measured
from meshp2p.node.series import SeriesKeeper
from meshp2p.node.verdict import HeardReport
from meshp2p.wire.queries import QueryPart, ReportRequest, decode_query_part_untrusted, encode_query
from meshp2p.wire.reports import (
    LISTED_MAX,
    HandlerLoad,
    MailboxLoad,
    NodeReport,
    OpenQuery,
    OpenTask,
    PoorLink,
    RivalSeen,
    WatchedNode,
    decode_report_untrusted,
)

__all__ = ["Reporter", "Reports"]

RECENT_SECONDS: Final = 60.0
"""How long something that was refused counts as present. Chosen, not measured."""

ASK_SECONDS: Final = 0.5
"""How long a node may take to report. Chosen, not measured."""

RETRY_SECONDS: Final = 5.0
"""How long a node that did not report is not asked again. Chosen, not measured."""

KEEP_SECONDS: Final = 30.0
"""How long a report counts. Chosen, not measured."""

ASKED_MAX: Final = 64
ASKED_IN_TURN: Final = 8
"""All other nodes are asked if there are at most ``ASKED_MAX``; of more, so many at a time. Chosen, not measured."""

SILENCE_MIN: Final = 3.0
SILENCE_PERIODS: Final = 2.0
"""Seconds without a datagram, at least, and for each node: within one second each of them is probed once. Chosen, not
measured."""

NEVER: Final = 1e9
"""The seconds of silence of a node that was not heard at all."""

_TEXT_MAX: Final = 1024


class Reporter:
    """Reports about this node."""

    def __init__(self, measured: Measured, series: SeriesKeeper, wall_ms: Callable[[], int]) -> None:
        self.link_watch: LinkWatch = LinkWatch(measured.driver)
        self._measured = measured
        self._series = series
        self._wall_ms = wall_ms

    def report(self) -> NodeReport:
        """Return what this node knows of itself now."""
        self.link_watch.want()
        node, machine, series = self._measured.node, self._measured.driver.machine, self._series
        now = trio.current_time()
        leader = machine.leader_id or ""
        return NodeReport(
            id=machine.id,
            at=max(0, self._wall_ms()),
            view=machine.view,
            members=len(machine.records()),
            nodes=machine.node_count(),
            leader=leader,
            epoch=machine.leader_epoch,
            local_health=machine.local_health,
            storage_failure=_text(machine.storage_failure),
            outbox=machine.outbox.copies,
            other_mesh=series.increase("other_mesh", RECENT_SECONDS) + series.increase("other_beacons", RECENT_SECONDS),
            revoked=series.increase("revoked", RECENT_SECONDS),
            mailboxes=tuple(self._mailboxes()),
            handlers=tuple(self._handlers(now))[:LISTED_MAX],
            queries=tuple(
                OpenQuery(_text(target), now - began) for target, began in node.queries.under_way()[:LISTED_MAX]
            ),
            tasks=tuple(
                OpenTask(
                    _text(one.task.capability),
                    _text(one.task.profile),
                    _text(one.agent),
                    now - began,
                )
                for one, began in list(node.delegating.under_way.items())[:LISTED_MAX]
            ),
            links=tuple(self._links(now))[:LISTED_MAX],
            watches=tuple(WatchedNode(name, machine.round_trips.get(name, 0.0)) for name in machine.watched),
            rivals=tuple(
                RivalSeen(name, host, now - seen)
                for (name, host), seen in self._measured.peers.stats.rivals.items()
                if now - seen < RECENT_SECONDS
            ),
        )

    def _mailboxes(self) -> list[MailboxLoad]:
        wall_ms = self._wall_ms()
        loads: list[MailboxLoad] = []
        for recipient, box in self._measured.driver.machine.mailboxes.by_recipient.items():
            if box.pending:
                oldest = next(iter(box.pending.values())).message.created_at
                loads.append(MailboxLoad(recipient, len(box.pending), max(0.0, (wall_ms - oldest) / 1000)))
        return sorted(loads, key=lambda load: -load.oldest)[:LISTED_MAX]

    def _handlers(self, now: float) -> Iterator[HandlerLoad]:
        for handler in self._measured.node.handlers.all():
            longest = now - min(handler.running.values(), default=now)
            mean = handler.seconds / handler.done if handler.done else 0.0
            running, waiting = len(handler.running), handler.turns.waiting
            yield HandlerLoad(
                _text(handler.kind), running, waiting, handler.turns.limit, handler.done, handler.failed, mean, longest
            )

    def _links(self, now: float) -> Iterator[PoorLink]:
        machine, silent = self._measured.driver.machine, self.link_watch.silent
        unreachable, detours, records = machine.unreachable, machine.detours, machine.records()
        silence_max = max(SILENCE_MIN, SILENCE_PERIODS * machine.node_count())
        for name in dict.fromkeys((*unreachable, *detours, *machine.indirect, *silent)):
            if name not in records:
                continue
            how: Literal["pings", "relayed", "unreachable"] = "pings"
            if name in unreachable:
                how = "unreachable"
            elif name in detours:
                how = "relayed"
            silence = min(NEVER, now - self.link_watch.last_heard(name))
            if name not in silent and silence < silence_max:
                silence = 0.0
            via = "" if name in unreachable else detours.get(name, "")
            yield PoorLink(name, how, via, _text(unreachable.get(name)), silence)


class Reports:
    """The latest reports of the other nodes, which are asked only when somebody wants the status."""

    def __init__(self, measured: Measured, opener: CallOpener, wall_ms: Callable[[], int]) -> None:
        self._machine = measured.driver.machine
        self._opener = opener
        self._wall_ms = wall_ms
        self._heard: dict[str, tuple[float, NodeReport, float]] = {}
        """When each node reported, its report, and how far its clock was ahead."""
        self._differing: dict[str, float] = {}
        """Since when the view of a node differs from ours."""
        self._asked_at: dict[str, float] = {}
        self._retry_at: dict[str, float] = {}

    async def ask_all(self) -> None:
        """Ask the other nodes at the same time, within ``ASK_SECONDS``."""
        nodes = [record.id for record in self._machine.records().values() if record.is_node]
        others = {name for name in nodes if name != self._machine.id}
        for kept in (self._heard, self._differing, self._asked_at, self._retry_at):
            for name in [name for name in kept if name not in others]:
                del kept[name]
        now = trio.current_time()
        due = sorted((self._asked_at.get(name, 0.0), name) for name in others if self._retry_at.get(name, 0.0) <= now)
        with trio.move_on_after(ASK_SECONDS):
            async with trio.open_nursery() as nursery:
                for _, name in due if len(others) <= ASKED_MAX else due[:ASKED_IN_TURN]:
                    self._asked_at[name] = now
                    nursery.start_soon(self._ask, name)

    async def _ask(self, node_id: str) -> None:
        began = trio.current_time()
        self._retry_at[node_id] = began + RETRY_SECONDS
        try:
            async with self._opener.open_call(node_id, encode_query(ReportRequest()), began + ASK_SECONDS) as call:
                part = decode_query_part_untrusted(await call.receive_part() or b"")
            if not isinstance(part, QueryPart):
                return  # an older version
            report = decode_report_untrusted(part.payload)
        except MeshError:
            return
        if report.id != node_id:
            return
        report = self._only_its_own(report)
        now = trio.current_time()
        offset = (report.at - self._wall_ms()) / 1000 + (now - began) / 2
        self._heard[node_id] = (now, report, offset)
        self._retry_at[node_id] = now
        if report.view == self._machine.view:
            self._differing.pop(node_id, None)
        else:
            self._differing.setdefault(node_id, now)

    def _only_its_own(self, report: NodeReport) -> NodeReport:
        """Return what a node may know: the mailboxes of its own agents, and its links to listed nodes."""
        records = self._machine.records()
        homes = {box.recipient: records[box.recipient].home for box in report.mailboxes if box.recipient in records}
        return msgspec.structs.replace(
            report,
            mailboxes=tuple(box for box in report.mailboxes if homes.get(box.recipient) == report.id),
            links=tuple(link for link in report.links if link.node in records),
            watches=tuple(watch for watch in report.watches if watch.node in records),
        )

    def heard(self) -> dict[str, HeardReport]:
        """Forget the reports that are too old, and return the others by node."""
        now = trio.current_time()
        self._heard = {name: one for name, one in self._heard.items() if now - one[0] < KEEP_SECONDS}
        return {
            name: HeardReport(report, offset, now - self._differing.get(name, now), self._retry_at[name] > at)
            for name, (at, report, offset) in self._heard.items()
        }


def _text(text: str | None) -> str:
    """Return a text as a report carries it. It may quote a path of this machine that is no UTF-8."""
    return (text or "").encode(errors="replace").decode()[:_TEXT_MAX]
