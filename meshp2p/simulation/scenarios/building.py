"""Building a schedule from a scenario, a seed and a few options."""

from __future__ import annotations

import math
import random

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.errors import ConfigError
from meshp2p.simulation.checkers import CHECKERS
from meshp2p.simulation.scenarios.draft import SCENARIOS, Draft
from meshp2p.simulation.schedule import NODES_MAX, NodePlan, Schedule
from meshp2p.simulation.swarm import draw_swarm
from meshp2p.virtual.faults import Lossy
from meshp2p.virtual.links import LinkOptions

__all__ = ["Options", "build_schedule", "scenarios"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run; None leaves one to the scenario. ``duration`` is in virtual seconds; ``loss`` is the share
    of datagrams that are lost."""

    seed: int = 1
    nodes: int | None = None
    duration: float | None = None
    loss: float | None = None
    delay: float | None = None
    through_wire: bool = False
    checks: tuple[str, ...] | None = None
    ablations: tuple[str, ...] = ()
    config: ProtocolConfig | None = None


def scenarios() -> dict[str, str]:
    """Return all scenarios by name, with one line about each."""
    listed = {name: about for name, (_, about, _, _, _) in SCENARIOS.items()}
    return {**listed, "swarm": "everything at once, drawn from the seed: 3 to 50 nodes and any mixture of faults"}


def build_schedule(name: str, options: Options | None = None) -> Schedule:
    """Return the schedule of a scenario, with every option expanded.

    Raises :class:`ConfigError` with one line for an unknown name or checker, and for impossible options.
    """
    options = options or Options()
    if name not in scenarios():
        raise ConfigError(f"scenario {name!r}: expected one of {', '.join(scenarios())}")
    checks = tuple(CHECKERS) if options.checks is None else options.checks
    for check in checks:
        if check not in CHECKERS:
            raise ConfigError(f"check {check!r}: expected one of {', '.join(CHECKERS)}")
    if options.loss is not None and not 0 <= options.loss < 1:
        raise ConfigError(f"loss = {options.loss}: expected 0 to less than 1")
    if options.delay is not None and not 0 <= options.delay <= 10:
        raise ConfigError(f"delay = {options.delay}: expected 0 to 10 seconds")
    if name == "swarm":
        schedule = draw_swarm(options.seed, nodes=options.nodes, duration=options.duration)
    else:
        schedule = _named(name, options)
    faults = schedule.faults
    if options.loss:
        faults = (*faults, Lossy(begin=0.0, probability=options.loss))
    return msgspec.structs.replace(
        schedule,
        faults=faults,
        link=schedule.link if options.delay is None else LinkOptions(delay=options.delay, jitter=options.delay / 4),
        config=options.config or schedule.config,
        through_wire=options.through_wire or schedule.through_wire,
        checks=checks,
        ablations=options.ablations,
    )


def _named(name: str, options: Options) -> Schedule:
    function, _, nodes, least, duration = SCENARIOS[name]
    nodes = nodes if options.nodes is None else options.nodes
    duration = duration if options.duration is None else options.duration
    if not least <= nodes <= NODES_MAX:
        raise ConfigError(f"nodes = {nodes}: scenario {name!r} takes {least} to {NODES_MAX}")
    if not (math.isfinite(duration) and 1 <= duration <= 1e7):
        raise ConfigError(f"duration = {duration}: expected 1 to 10,000,000 seconds")
    width = len(str(nodes - 1))
    names = tuple(f"n{number:0{width}}" for number in range(nodes))
    draft = Draft(random.Random(f"{options.seed}/{name}"), names, duration)
    function(draft)
    plans = tuple(
        NodePlan(
            id=node,
            at=draft.starts.get(node, 0.0),
            seeds=draft.seeds.get(node, names[1:2] if node == names[0] else names[:1]),
        )
        for node in names
    )
    return Schedule(
        scenario=name,
        seed=options.seed,
        duration=duration,
        calm=draft.calm,
        nodes=plans,
        agents=tuple(draft.agents),
        mail=tuple(draft.mail),
        maps=tuple(draft.maps),
        faults=tuple(draft.faults),
        config=draft.config,
        reads_on=draft.reads_on,
        multicast_interval=draft.multicast_interval,
        security=draft.security,
    )
