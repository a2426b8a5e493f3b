"""Seeds of the swarm, chosen so that their schedules differ."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from itertools import combinations

from meshp2p.core.config import ProtocolConfig
from meshp2p.simulation.scenarios import Options
from meshp2p.simulation.schedule import Schedule
from meshp2p.simulation.swarm import draw_swarm

__all__ = ["CANDIDATES", "varied_seeds"]

CANDIDATES = 32
"""One of so many consecutive seeds is chosen. To draw them all takes 6 ms; 8 find planted faults in more runs."""


def varied_seeds(options: Options, count: int) -> list[int]:
    """Return so many seeds from ``options.seed`` on: of each ``CANDIDATES`` consecutive ones, the one whose schedule
    has the most pairs of traits that few chosen schedules have. Nothing is run to choose it. A bug that needs two
    traits, such as shared maps and a crash, is found in fewer runs than by consecutive seeds."""
    chosen: list[int] = []
    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    for first in range(options.seed, options.seed + CANDIDATES * count, CANDIDATES):
        pairs = {
            seed: list(
                combinations(sorted(set(_traits(draw_swarm(seed, nodes=options.nodes, duration=options.duration)))), 2)
            )
            for seed in range(first, first + CANDIDATES)
        }
        best = max(pairs, key=lambda seed: sum((1 + seen[pair]) ** -2 for pair in pairs[seed]))
        seen.update(pairs[best])
        chosen.append(best)
    return chosen


def _traits(schedule: Schedule) -> Iterator[str]:
    """The kinds of faults, and what else sets a schedule apart."""
    yield from (type(fault).__name__ for fault in schedule.faults)
    traits = {
        "agents": schedule.agents,
        "mail": schedule.mail,
        "maps": schedule.maps,
        "secured": schedule.security,
        "quorum": schedule.config.quorum,
        "config": schedule.config != ProtocolConfig(),
        "no disk": not all(plan.has_disk for plan in schedule.nodes),
        "through wire": schedule.through_wire,
        "multicast": schedule.multicast_interval,
    }
    yield from (name for name, has_it in traits.items() if has_it)
