"""Named scenarios: each makes a schedule from a seed and a few options."""

from __future__ import annotations

# Each of these notes its scenarios, which are listed in this order.
from meshp2p.simulation.scenarios import networks

# isort: split
from meshp2p.simulation.scenarios import hosts

# isort: split
from meshp2p.simulation.scenarios import agents

# isort: split
from meshp2p.simulation.scenarios import roles

# isort: split
from meshp2p.simulation.scenarios import mails

# isort: split
from meshp2p.simulation.scenarios import security
from meshp2p.simulation.scenarios.building import Options, build_schedule, scenarios

__all__ = ["Options", "agents", "build_schedule", "hosts", "mails", "networks", "roles", "scenarios", "security"]
