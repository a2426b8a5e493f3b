"""Finds what is wrong with a mesh, from what one node knows of it. Pure functions: facts in, findings out."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from meshp2p.core.events import Evidence
from meshp2p.core.instance import ListedInstance
from meshp2p.core.record import State
from meshp2p.wire.event_contract import EVIDENCE_TEXTS
from meshp2p.wire.reports import HandlerLoad, NodeReport
from meshp2p.wire.status_contract import Finding, Severity, Verdict

__all__ = [
    "RANKS",
    "DeadAgent",
    "Facts",
    "HeardReport",
    "duration",
    "find_islands",
    "find_problems",
    "judge",
]

RANKS: Final[dict[Severity, int]] = {"error": 0, "warning": 1, "notice": 2, "ok": 3}

# All of these are chosen, not measured.
UNREAD_SECONDS: Final = 60.0  # after which an unread message is a finding
DIFFER_SECONDS: Final = 1.0  # for which two reports in a row must differ: gossip takes a fraction of it
CLOCK_SECONDS: Final = 5.0  # by which two clocks may differ
SLOW_SECONDS: Final = 60.0  # a first call of a handler may take so long
SLOW_FACTOR: Final = 10.0  # times the mean of the calls before
SLOW_MIN: Final = 2.0  # seconds that are never slow
SLOW_DONE: Final = 3  # calls that must have ended for their mean to count
SILENCE_SECONDS: Final = 1.5  # a node reports a shorter silence only if it is normal
HEALTH_MAX: Final = 3  # local health of a node that is just busy
NAMED_MAX: Final = 3  # ids in a sentence
FOUND_MAX: Final = 1000  # findings of one kind


class HeardReport(msgspec.Struct, frozen=True):
    """A report of another node. Its clock was ahead of ours by ``offset`` seconds; its view has differed from ours for
    ``differs_for`` seconds, 0 if it is equal. With ``is_late`` the node was asked again since, and did not report."""

    report: NodeReport
    offset: float = 0.0
    differs_for: float = 0.0
    is_late: bool = False


class DeadAgent(msgspec.Struct, frozen=True):
    """An agent that died ``seconds`` ago. ``by`` found it, empty if that is not known."""

    id: str
    seconds: float
    by: str
    evidence: Evidence
    is_node: bool


class Facts(msgspec.Struct, frozen=True):
    """All that the verdict is made from. ``own`` is this node's own report. ``leader_for`` is how long the leader leads
    already, in seconds. ``dead`` and ``revoked`` are those of the last minutes, the reason of each by id; ``problems``
    are what the node found out about its network, with the advice."""

    own: NodeReport
    agents: Sequence[ListedInstance]
    reports: Mapping[str, HeardReport] = msgspec.field(default_factory=dict)
    leader: ListedInstance | None = None
    leader_for: float = 0.0
    dead: Sequence[DeadAgent] = ()
    revoked: Mapping[str, str] = msgspec.field(default_factory=dict)
    problems: Sequence[tuple[str, str, str]] = ()
    not_ready: str = ""
    quorum: int = 0

    @property
    def all_reports(self) -> list[NodeReport]:
        return [self.own, *(heard.report for heard in self.reports.values())]

    @property
    def nodes(self) -> list[ListedInstance]:
        return [agent for agent in self.agents if agent.home == agent.id]


def find_problems(facts: Facts) -> list[Finding]:
    """Return the findings, the worst first, at most ``FOUND_MAX`` of each finder: many nodes may report many lies."""
    finders = (
        _disks,
        _duplicates,
        _views,
        _dead,
        _links,
        _suspects,
        _mailboxes,
        _handlers,
        _clocks,
        _revoked,
        _networks,
        _own_state,
    )
    found = [one for find in finders for one in itertools.islice(find(facts), FOUND_MAX)]
    plain = [msgspec.structs.replace(one, text=_plain(one.text), remedy=_plain(one.remedy)) for one in found]
    return sorted(plain, key=lambda finding: RANKS[finding.severity])


def _plain(text: str) -> str:
    """Escape what a terminal would obey, or what has no form in JSON: ids and reasons are chosen by others."""
    return text if text.isprintable() else ascii(text)[1:-1]


def judge(facts: Facts, findings: Sequence[Finding]) -> Verdict:
    """Return the verdict: the worst finding, or a sentence that says that all is well."""
    troubles = [finding for finding in findings if finding.severity != "notice"]
    if not troubles:
        notices = "".join(f"; {finding.text}" for finding in findings)
        remedy = findings[0].remedy if findings else None
        return Verdict("notice" if findings else "ok", _plain(_all_is_well(facts)) + notices, remedy)
    worst, *others = troubles
    more = ""
    if others:
        counts = collections.Counter(finding.name.replace("_", " ") for finding in others)
        more = f" (also: {', '.join(name if count == 1 else f'{count} × {name}' for name, count in counts.items())})"
    return Verdict(worst.severity, worst.text + more, worst.remedy)


def _all_is_well(facts: Facts) -> str:
    nodes, heard = facts.nodes, len(facts.reports) + 1
    parts = [count_of(len(facts.agents), "agent")]
    if len(nodes) == 1:
        parts.append("this is the only node")
    elif heard >= len(nodes):
        parts.append("both nodes agree" if len(nodes) == 2 else f"all {len(nodes)} nodes agree")
    else:
        parts.append(f"the {heard} of {len(nodes)} nodes that reported agree")
    if facts.leader is not None:
        parts.append(f"{facts.leader.id} leads, epoch {facts.leader.epoch}, for {duration(facts.leader_for)}")
    oldest = max((box.oldest for report in facts.all_reports for box in report.mailboxes), default=None)
    parts.append("no message waits" if oldest is None else f"the oldest message has waited {duration(oldest)}")
    return "; ".join(parts)


# Each finds one kind of problem.


def _disks(facts: Facts) -> Iterator[Finding]:
    for report in facts.all_reports:
        if report.storage_failure:
            yield Finding(
                "full_disk",
                "error",
                f"{report.id} stores nothing on disk and refuses messages: {report.storage_failure}",
                f"make room on the disk of {report.id}, or repair it; the node goes on by itself",
                (report.id,),
            )


def _duplicates(facts: Facts) -> Iterator[Finding]:
    hosts: dict[str, set[str]] = {}
    for rival in (rival for report in facts.all_reports for rival in report.rivals):
        hosts.setdefault(rival.id, set()).add(rival.host)
    for instance_id, seen in hosts.items():
        yield Finding(
            "duplicate_id",
            "error",
            f"a second process, on {named(sorted(seen))}, uses the id {instance_id}",
            "give one of the two programs another id; the one that started last is refused",
            (instance_id,),
        )


def _views(facts: Facts) -> Iterator[Finding]:
    differing = {name: heard for name, heard in facts.reports.items() if heard.differs_for >= DIFFER_SECONDS}
    if differing:
        own = facts.own
        lists = [f"{name} lists {heard.report.members}" for name, heard in differing.items()]
        text = f"the nodes disagree: {own.id} lists {own.members} agents, {named(lists)}"
        leaders = {own.leader, *(heard.report.leader for heard in differing.values())} - {""}
        if len(leaders) > 1:
            text += f"; they name the leaders {named(sorted(leaders))}"
        remedy = "they repair it by themselves in seconds; if not, the network between them is cut: meshp2p doctor"
        yield Finding("disagreeing_views", "error", text, remedy, (own.id, *differing))


def _dead(facts: Facts) -> Iterator[Finding]:
    for one in sorted(facts.dead, key=lambda dead: (not dead.is_node, dead.seconds)):
        by = f", found by {one.by}" if one.by and one.by != one.id else ""
        yield Finding(
            "dead_agent",
            "error",
            f"{one.id} died {duration(one.seconds)} ago: {EVIDENCE_TEXTS[one.evidence]}{by}",
            f"start {one.id} again; an agent that ends on purpose leaves or deregisters first",
            (one.id,),
        )


def _links(facts: Facts) -> Iterator[Finding]:
    links = {(report.id, link.node): link for report in facts.all_reports for link in report.links}
    reporting = {report.id for report in facts.all_reports}
    answering = {facts.own.id, *(name for name, heard in facts.reports.items() if not heard.is_late)}
    suspects = {agent.id for agent in facts.agents if agent.state is State.SUSPECT}
    for (by, to), link in links.items():
        if suspects & {by, to}:
            continue  # its process may be gone or stopped; no other node hears it either
        back = links.get((to, by))
        if back is not None and to < by:
            continue  # one finding for both directions
        silences = link.silence, 0.0 if back is None else back.silence
        are_pings = link.how == "pings" and (back is None or back.how == "pings")
        if are_pings and not (max(silences) >= SILENCE_SECONDS and {by, to} <= answering):
            continue  # a few packets are lost, or one of the two is busy or gone
        deaf, mute = (seconds >= SILENCE_SECONDS / 2 for seconds in silences)  # one side may notice it a bit later
        if (are_pings or back is not None) and deaf != mute:
            lost, well = (to, by) if deaf else (by, to)
            name, text = "one_way_link", f"packets from {lost} do not reach {well}, but those from {well} reach {lost}"
        elif back is None and to in reporting and link.how != "pings":
            name, text = "one_way_link", f"{by} cannot connect to {to}, but {to} connects to {by}"
        elif "pings" in (link.how, "" if back is None else back.how):
            name, text = "blocked_link", f"UDP packets do not pass between {by} and {to}"
        else:
            name, text = "blocked_link", f"{by} and {to} cannot connect to each other"
        is_cut = link.how == "unreachable"
        text += f"; calls go through {link.via}" if link.via else "; messages wait" if is_cut else ""
        remedy = f"open the TCP and UDP ports of {by} and {to} in the firewalls between them; meshp2p doctor says more"
        yield Finding(name, "error" if is_cut else "warning", text, remedy, (by, to))


def _suspects(facts: Facts) -> Iterator[Finding]:
    suspects = [agent.id for agent in facts.agents if agent.state is State.SUSPECT]
    if suspects:
        text = f"{named(suspects)} {'does' if len(suspects) == 1 else 'do'} not answer"
        remedy = "wait: within seconds it is found alive or dead"
        yield Finding("suspect_agent", "warning", text, remedy, tuple(suspects))


def _mailboxes(facts: Facts) -> Iterator[Finding]:
    boxes = [box for report in facts.all_reports for box in report.mailboxes if box.oldest >= UNREAD_SECONDS]
    for box in sorted(boxes, key=lambda one: -one.oldest):
        yield Finding(
            "stuck_mailbox",
            "warning",
            f"{box.recipient} has not read {count_of(box.pending, 'message')}, the oldest for {duration(box.oldest)}",
            f"see whether {box.recipient} still fetches its messages and acknowledges them",
            (box.recipient,),
        )


def is_slow(load: HandlerLoad) -> bool:
    """Return whether a handler is slow: a call takes much longer than those before, or less if messages wait."""
    usual = max(SLOW_MIN, SLOW_FACTOR * load.mean) if load.done >= SLOW_DONE else SLOW_SECONDS
    return load.longest >= usual or (load.waiting > 0 and load.longest >= max(SLOW_MIN, 2 * load.mean))


def _handlers(facts: Facts) -> Iterator[Finding]:
    for report in facts.all_reports:
        for load in filter(is_slow, report.handlers):
            text = f"the {load.kind} handler of {report.id} has worked for {duration(load.longest)} on one message"
            if load.done:
                text += f" (usually {duration(load.mean)})"
            if load.waiting:
                text += f", and {count_of(load.waiting, 'message')} wait{'s' if load.waiting == 1 else ''}"
            remedy = f"see what {report.id} is doing; give the handler a timeout, or more concurrency"
            yield Finding("slow_handler", "warning", text, remedy, (report.id,))


def _clocks(facts: Facts) -> Iterator[Finding]:
    offsets = {facts.own.id: 0.0} | {name: heard.offset for name, heard in facts.reports.items()}
    if len(offsets) < 2 or max(offsets.values()) - min(offsets.values()) <= CLOCK_SECONDS:
        return
    remedy = "set the clocks of the machines, for example with NTP; times of messages and events are wrong until then"
    if len(offsets) == 2:
        (one, at), (other, at_other) = offsets.items()
        text = f"the clocks of {one} and {other} differ by {duration(abs(at - at_other))}"
        yield Finding("wrong_clock", "warning", text, remedy, (one, other))
        return
    right = sorted(offsets.values())[(len(offsets) - 1) // 2]  # the lower median
    for name, offset in offsets.items():
        if abs(offset - right) > CLOCK_SECONDS:
            way = "ahead of" if offset > right else "behind"
            text = f"the clock of {name} is {duration(abs(offset - right))} {way} the others"
            yield Finding("wrong_clock", "warning", text, remedy, (name,))


def _revoked(facts: Facts) -> Iterator[Finding]:
    reasons: dict[str, list[str]] = {}
    for name, why in facts.revoked.items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        remedy = "if that was a mistake, invite it again with meshp2p invite"
        yield Finding("revoked_machine", "warning", f"{why}; removed: {named(names)}", remedy, tuple(names))
    refusing = [report.id for report in facts.all_reports if report.revoked]
    if refusing:
        text = f"a revoked machine still calls {named(refusing)}, and is refused"
        remedy = "stop meshp2p on that machine, or invite it again with meshp2p invite"
        yield Finding("revoked_machine", "notice", text, remedy, ())  # nothing is wrong with these nodes


def _networks(facts: Facts) -> Iterator[Finding]:
    for name, reason, advice in facts.problems:
        yield Finding(name.replace("-", "_"), "warning", reason, advice, (facts.own.id,))
    count = sum(report.other_mesh for report in facts.all_reports)
    if count:
        text = "another mesh is on this network; its packets are ignored"
        remedy = "nothing, if you know of it; nodes that belong together need the same --mesh name"
        yield Finding("other_mesh", "notice", text, remedy)


def _own_state(facts: Facts) -> Iterator[Finding]:
    own = facts.own
    if facts.not_ready and not own.storage_failure:
        yield Finding(
            "not_ready", "warning", f"{own.id} is not ready: {facts.not_ready}", "wait some seconds", (own.id,)
        )
    elif facts.leader is None and not own.storage_failure:
        text, remedy = "there is no leader", "wait some seconds"
        if len(facts.nodes) < facts.quorum:
            text += f": {len(facts.nodes)} of at least {facts.quorum} nodes are here"
            remedy = "start the missing nodes, or repair the network to them"
        yield Finding("no_leader", "warning", text, remedy, (own.id,))
    for report in facts.all_reports:
        if report.local_health > HEALTH_MAX:
            text = f"{report.id} is slow: it misses answers that others see"
            remedy = f"see what keeps the machine of {report.id} busy"
            yield Finding("slow_node", "warning", text, remedy, (report.id,))


# The picture of the network


def find_islands(facts: Facts) -> dict[str, int]:
    """Number the groups of nodes that cannot reach each other, of the listed and the dead nodes. 0 is that of this
    node. Island 1 holds the nodes that it cannot call, and those that fell silent: nothing is known of their side."""
    listed = [node.id for node in facts.nodes]
    unreached = {link.node for link in facts.own.links if link.how == "unreachable"} - set(facts.reports)
    islands = {name: int(name in unreached) for name in listed}
    lost = [one for one in facts.dead if one.is_node and one.evidence == "silent"]
    islands.update({one.id: 1 for one in lost if one.id not in islands})
    return islands


# Text


def duration(seconds: float) -> str:
    """Return a duration as people say it: ``80 ms``, ``12 s``, ``3 min``, ``2 h``, ``4 d``."""
    if seconds < 1:
        return f"{round(max(0.0, seconds) * 1000)} ms"
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86_400)} d"


def count_of(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def named(names: Sequence[str]) -> str:
    """Return these names for a sentence, only the first ones if there are many."""
    shown = list(names[:NAMED_MAX])
    if len(names) > NAMED_MAX:
        shown.append(f"{len(names) - NAMED_MAX} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
