"""A run in words: its faults, its outcome, and the command that repeats it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable

import msgspec

from meshp2p.core.events import LeaderChanged, MemberDied, MemberRecovered, MemberSuspected
from meshp2p.errors import ConfigError
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import Schedule
from meshp2p.simulation.simulation import Result
from meshp2p.virtual.faults import ALL_KINDS, Fault, Lossy, OneWay, Partition
from meshp2p.virtual.trace import Trace, What

__all__ = ["describe_fault", "describe_run", "is_repeated_by", "outcome", "printable", "replay_command", "side"]

NAMES_MAX = 8
"""Nodes that are named in a list; the rest are counted. Chosen, not measured."""


def printable(text: str) -> str:
    """The text with all that would move a terminal's cursor or hide itself written as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def side(number: int) -> str:
    """What the group with this number of a partition is called."""
    return chr(ord("A") + number) if number < 26 else f"#{number + 1}"


def _listed(names: Iterable[str]) -> str:
    all_names = list(names)
    shown = [printable(name) for name in all_names[:NAMES_MAX]]
    more = len(all_names) - len(shown)
    return " ".join(shown) + (f" +{more}" if more else "")


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "+".join(_plain(item) for item in value)
    return str(value)


def describe_fault(fault: Fault) -> str:
    """One line about a fault: what it is, whom it concerns, and each value that is not the default."""
    name = type(fault).__name__
    if isinstance(fault, Partition):
        groups = " | ".join(f"{side(number)}: {_listed(group)}" for number, group in enumerate(fault.groups))
        words = [f"{name}  {groups}"]
        told = {"groups"}
    elif isinstance(fault, OneWay):
        words = [f"{name}  from {_listed(fault.senders)} nothing reaches {_listed(fault.receivers)}"]
        told = {"senders", "receivers"}
    else:
        words = [f"{name}  {_listed(fault.names())}" if fault.names() else name]
        told = {"node", "nodes"}
    for field in msgspec.structs.fields(fault):
        value = getattr(fault, field.name)
        if field.name in {*told, "begin", "end"} or value in (field.default, ALL_KINDS):
            continue
        named = field.name.replace("_", " ")
        words.append(named if value is True else f"{named} {_plain(value)}")
    return ", ".join(words)


def is_repeated_by(schedule: Schedule, options: Options) -> bool:
    """Whether the scenario with these options is this very schedule."""
    try:
        return build_schedule(schedule.scenario, options) == schedule
    except ConfigError:
        return False


def replay_command(schedule: Schedule) -> str:
    """What to type to see this run again. Where no options lead to it, the schedule has to be in a file.

    Options are tried from few to many, so that the command is short.
    """
    losses = [fault.probability for fault in schedule.faults if isinstance(fault, Lossy) and not fault.nodes]
    nodes, duration, loss = len(schedule.nodes), schedule.duration, losses[-1] if losses else None
    base = Options(seed=schedule.seed)
    for changes in (
        {},
        {"nodes": nodes},
        {"duration": duration},
        {"nodes": nodes, "duration": duration},
        {"loss": loss},
        {"nodes": nodes, "loss": loss},
        {"nodes": nodes, "duration": duration, "loss": loss},
    ):
        for wire in ("", " --through-wire") if schedule.through_wire else ("",):
            options = msgspec.structs.replace(base, through_wire=bool(wire), **changes)
            if is_repeated_by(schedule, options):
                given = "".join(f" --{name} {_plain(value)}" for name, value in changes.items())
                return f"meshp2p simulate {shlex.quote(schedule.scenario)} --seed {schedule.seed}{given}{wire}"
    return "meshp2p simulate --replay FILE"


def outcome(result: Result) -> str:
    """The verdict in a few words."""
    count = len(result.violations)
    return f"{count} violation{'s' if count != 1 else ''}" if count else "no violation"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def describe_run(trace: Trace, result: Result) -> str:
    """What happened, in one line."""
    kinds = Counter(type(entry.detail) for entry in trace if entry.what is What.EVENT)
    faults = Counter(type(entry.detail).__name__ for entry in trace if entry.what is What.FAULT)
    drops = sum(entry.what is What.DROP for entry in trace)
    leaders = {
        entry.detail.leader_id: None
        for entry in trace
        if isinstance(entry.detail, LeaderChanged) and entry.detail.leader_id is not None
    }
    parts = [", ".join(f"{name} ×{count}" if count > 1 else name for name, count in faults.items()) or "no fault"]
    if kinds[MemberSuspected]:
        told = _count(kinds[MemberSuspected], "suspicion", "suspicions")
        parts.append(f"{told}, {kinds[MemberRecovered]:,} refuted" if kinds[MemberRecovered] else told)
    deaths = _count(kinds[MemberDied], "verdict of death", "verdicts of death")
    parts.append(deaths if kinds[MemberDied] else "nobody declared dead")
    if drops:
        parts.append(_count(drops, "packet dropped", "packets dropped"))
    parts.append(_count(len(leaders), "leader", "leaders") + f" ({_listed(leaders)})" if leaders else "no leader")
    if result.recovered_after is not None:
        parts.append(f"whole {result.recovered_after:.1f} s after the last fault")
    return " · ".join(parts)
