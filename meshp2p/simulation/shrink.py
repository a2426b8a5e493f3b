"""Reduction of a failing schedule to a minimal one that fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.simulation.schedule import AgentPlan, MailPlan, MapPlan, NodePlan, Schedule
from meshp2p.simulation.simulation import run
from meshp2p.simulation.world import Ablate
from meshp2p.virtual.faults import EndingFault, Faulty
from meshp2p.virtual.links import LinkOptions

__all__ = ["Shrinking", "shrink"]

_CLIENTS = ("agents", "mail", "maps")
"""Parts of a schedule that use its nodes."""


class Shrinking(msgspec.Struct):
    """The smallest failing schedule so far, and the number of runs."""

    schedule: Schedule
    runs: int = 0
    removed: int = 0


def shrink(
    schedule: Schedule,
    checker: str,
    *,
    runs_max: int = 400,
    fails: Callable[[Schedule, str], bool] | None = None,
    ablate: Ablate | None = None,
    progress: Callable[[Shrinking], None] | None = None,
) -> Shrinking:
    """Remove faults, nodes, agents and time from a schedule as long as ``checker`` still finds a violation.

    Raises :class:`ConfigError` if it finds none in the schedule itself. If fewer than ``runs_max`` runs were made, the
    result is minimal: no single part can be removed.
    """

    def has_violation(candidate: Schedule, checker: str) -> bool:
        return any(violation.checker == checker for violation in run(candidate, ablate=ablate).violations)

    fails = fails or has_violation
    if not fails(schedule, checker):
        raise ConfigError(f"nothing to shrink: checker {checker!r} finds no violation in seed {schedule.seed}")
    state = Shrinking(schedule, 1)
    while _pass(state, checker, runs_max, fails, progress):
        pass
    return state


def _pass(
    state: Shrinking,
    checker: str,
    runs_max: int,
    fails: Callable[[Schedule, str], bool],
    progress: Callable[[Shrinking], None] | None,
) -> bool:
    """Try each smaller schedule once. Return whether one still failed."""
    has_shrunk = False
    for step in (_fewer_faults, _fewer_nodes, _fewer_agents, _plainer, _shorter):
        while True:
            for candidate in step(state.schedule):
                if state.runs >= runs_max:
                    return False
                state.runs += 1
                if fails(candidate, checker):
                    state.schedule = candidate
                    state.removed += 1
                    has_shrunk = True
                    if progress is not None:
                        progress(state)
                    break
            else:
                break
    return has_shrunk


def _replaced(schedule: Schedule, **changes: object) -> Iterator[Schedule]:
    """Return the changed schedule if it is valid."""
    try:
        yield msgspec.structs.replace(schedule, **changes)
    except ConfigError:
        return


def _fewer_faults(schedule: Schedule) -> Iterator[Schedule]:
    """Remove half of the faults, a quarter, ... one."""
    faults = schedule.faults
    size = len(faults)
    while size:
        for begin in range(0, len(faults), size):
            rest = faults[:begin] + faults[begin + size :]
            if len(rest) < len(faults):
                yield from _replaced(schedule, faults=rest)
        size //= 2


def _fewer_nodes(schedule: Schedule) -> Iterator[Schedule]:
    """Remove one node, the last first, and the faults and agents that use it."""
    for plan in reversed(schedule.nodes):
        if len(schedule.nodes) > 1:
            yield from _without(schedule, plan)


def _without(schedule: Schedule, gone: NodePlan) -> Iterator[Schedule]:
    nodes = [plan for plan in schedule.nodes if plan.id != gone.id]
    first = nodes[0].id
    # whoever was told only of the one that is gone is told of the first
    plans = []
    for plan in nodes:
        seeds = tuple(seed for seed in plan.seeds if seed != gone.id)
        if plan.seeds and not seeds and plan.id != first:
            seeds = (first,)
        plans.append(msgspec.structs.replace(plan, seeds=seeds))
    kept = [fault.without(gone.id) for fault in schedule.faults]
    faults: tuple[Faulty, ...] = tuple(fault for fault in kept if fault is not None)
    left = {name: _asking_others(getattr(schedule, name), gone.id) for name in _CLIENTS}
    yield from _replaced(schedule, nodes=tuple(plans), faults=faults, **left)


def _asking_others(plans: tuple[AgentPlan | MailPlan | MapPlan, ...], gone: str) -> tuple[object, ...]:
    """Return the plans without this node. A plan that has no other node is removed."""
    return tuple(
        msgspec.structs.replace(plan, nodes=rest)
        for plan in plans
        if (rest := tuple(node for node in plan.nodes if node != gone))
    )


def _fewer_agents(schedule: Schedule) -> Iterator[Schedule]:
    for name in _CLIENTS:
        plans = getattr(schedule, name)
        for place in range(len(plans)):
            yield from _replaced(schedule, **{name: plans[:place] + plans[place + 1 :]})


def _plainer(schedule: Schedule) -> Iterator[Schedule]:
    """Remove optional parts of a schedule: encoding, multicast, skewed clocks, late starts, irregular links."""
    if schedule.through_wire:
        yield from _replaced(schedule, through_wire=False)
    if schedule.multicast_interval:
        yield from _replaced(schedule, multicast_interval=0.0)
    if schedule.link != LinkOptions():
        yield from _replaced(schedule, link=LinkOptions())
    for change in ({"wall_skew": 0.0}, {"at": 0.0}, {"has_disk": True}):
        nodes = tuple(msgspec.structs.replace(plan, **change) for plan in schedule.nodes)
        if nodes != schedule.nodes:
            yield from _replaced(schedule, nodes=nodes)


def _shorter(schedule: Schedule) -> Iterator[Schedule]:
    """Remove time: from the whole run, half of each fault, and the time before the first fault."""
    for share in (0.5, 0.75, 0.9):
        duration = round(schedule.duration * share, 1)
        if duration >= 1.0 and all(fault.begin <= duration for fault in schedule.faults):
            yield from _replaced(schedule, duration=duration)
    for place, fault in enumerate(schedule.faults):
        end = fault.end
        if end is None and not isinstance(fault, EndingFault):
            end = schedule.duration
        if end is not None and end - fault.begin > 0.5:
            half = msgspec.structs.replace(fault, end=round((fault.begin + end) / 2, 3))
            yield from _replaced(schedule, faults=(*schedule.faults[:place], half, *schedule.faults[place + 1 :]))
    earliest = min((fault.begin for fault in schedule.faults), default=0.0)
    for earlier in (earliest - 5.0, earliest / 2):
        if earlier > 1.0:
            moved = tuple(
                msgspec.structs.replace(
                    fault,
                    begin=round(fault.begin - earlier, 3),
                    end=None if fault.end is None else round(fault.end - earlier, 3),
                )
                for fault in schedule.faults
            )
            yield from _replaced(schedule, faults=moved)
