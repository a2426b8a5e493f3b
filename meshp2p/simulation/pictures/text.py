"""A run as text."""

from __future__ import annotations

from collections import Counter

from meshp2p.core.events import InstanceDied, InstanceRecovered, InstanceSuspected, LeadershipChanged
from meshp2p.simulation.simulation import Result
from meshp2p.virtual.describe import listed
from meshp2p.virtual.trace import Trace, What

__all__ = ["describe_run", "outcome", "summary"]


def summary(result: Result) -> str:
    """Return one line about a run, then one for each violation."""
    fired = ", ".join(f"{name} {count}" for name, count in result.faults.items()) or "no faults fired"
    fired += "".join(f", {name} {count}" for name, count in result.refusals.items())
    recovered = "" if result.recovered_after is None else f", whole {result.recovered_after:.2f} s after the last fault"
    speed = result.virtual_seconds / result.wall_seconds if result.wall_seconds else 0.0
    line = (
        f"{result.scenario} seed {result.seed}: {result.nodes} nodes, {result.virtual_seconds:.1f} virtual seconds in"
        f" {result.wall_seconds:.2f} s ({speed:,.0f} times real time){recovered}; {fired}; digest {result.digest}"
    )
    return "\n".join([line, *(f"  VIOLATION {violation}" for violation in result.violations)])


def outcome(result: Result) -> str:
    """Return the verdict in a few words."""
    count = len(result.violations)
    return f"{count} violation{'s' if count != 1 else ''}" if count else "no violation"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def describe_run(trace: Trace, result: Result) -> str:
    """Describe a trace entry in one line."""
    kinds = Counter(type(entry.detail) for entry in trace if entry.what is What.EVENT)
    faults = Counter(type(entry.detail).__name__ for entry in trace if entry.what is What.FAULT)
    drops = sum(entry.what is What.DROP for entry in trace)
    leaders = {
        entry.detail.leader_id: None
        for entry in trace
        if isinstance(entry.detail, LeadershipChanged) and entry.detail.leader_id is not None
    }
    parts = [", ".join(f"{name} ×{count}" if count > 1 else name for name, count in faults.items()) or "no fault"]
    if kinds[InstanceSuspected]:
        told = _count(kinds[InstanceSuspected], "suspicion", "suspicions")
        parts.append(f"{told}, {kinds[InstanceRecovered]:,} refuted" if kinds[InstanceRecovered] else told)
    deaths = _count(kinds[InstanceDied], "verdict of death", "verdicts of death")
    parts.append(deaths if kinds[InstanceDied] else "nobody declared dead")
    if drops:
        parts.append(_count(drops, "packet dropped", "packets dropped"))
    parts.append(_count(len(leaders), "leader", "leaders") + f" ({listed(leaders)})" if leaders else "no leader")
    if result.recovered_after is not None:
        parts.append(f"whole {result.recovered_after:.1f} s after the last fault")
    return " · ".join(parts)
