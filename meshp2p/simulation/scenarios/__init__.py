"""Named runs: each makes a schedule from a seed and a few options."""

from __future__ import annotations

# Each of the three notes its scenarios, which are listed in this order.
from meshp2p.simulation.scenarios import networks

# isort: split
from meshp2p.simulation.scenarios import hosts

# isort: split
from meshp2p.simulation.scenarios import agents
from meshp2p.simulation.scenarios.building import Options, build_schedule, scenario_names, scenarios

__all__ = ["Options", "agents", "build_schedule", "hosts", "networks", "scenario_names", "scenarios"]
