"""``python -m simulations memory``: minutes of churn, what there is after each, and what grows."""

from __future__ import annotations

import argparse
import logging

from meshp2p.errors import ConfigError
from simulations.memory.machine_churn import measure_machine
from simulations.memory.mesh_churn import MESH_SLOPE_MAX, measure_mesh
from simulations.memory.minutes import SLOPE_MAX, growth, slope
from simulations.memory.node_churn import measure_nodes

__all__ = ["add_memory"]


def add_memory(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("memory", help="count objects by type through minutes of churn")
    parser.add_argument("--minutes", type=int, default=10, help="virtual minutes (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the churn (default: 0)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--nodes", action="store_true", help="whole nodes instead of one machine")
    what.add_argument("--mesh", action="store_true", help="a simulated mesh with the timers of real nodes")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    """Exit status 1 if it grew by more than ``SLOPE_MAX`` or ``MESH_SLOPE_MAX`` MB a minute, or a checker found a
    violation."""
    if given.minutes < 2:
        raise ConfigError(f"--minutes {given.minutes}: expected 2 or more")
    logging.getLogger("meshp2p").setLevel(logging.ERROR)  # nodes warn of the cuts that are made here
    if given.mesh:
        found, violations = measure_mesh(given.minutes, given.seed)
    else:
        violations = ()
        found = (measure_nodes if given.nodes else measure_machine)(given.minutes, given.seed)
    for minute in found:
        print(f"minute {minute.minute:3}  {minute.bytes / 1e6:8.2f} MB  {sum(minute.objects.values()):8} objects")
    for name, rate in list(growth(found).items())[:10]:
        print(f"{rate:+10.1f} a minute  {name}")
    print(f"{slope(found):+.5f} MB a minute in the second half")
    for violation in violations:
        print(violation)
    return int(bool(violations) or slope(found) > (MESH_SLOPE_MAX if given.mesh else SLOPE_MAX))
