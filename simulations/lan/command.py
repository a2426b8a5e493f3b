"""The command ``python -m simulations lan``: disturb meshes of meshp2p and serf on LANs of network namespaces, and
print a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import trio

from meshp2p.errors import ConfigError
from simulations.command_line import names_with, write_json_file
from simulations.lan.lab import NeverSeen, open_lab
from simulations.lan.network import open_router, open_switch
from simulations.lan.nodes import SYSTEMS, Meshp2pNode, Node, SerfNode
from simulations.lan.scenarios import SCENARIOS, Scenario
from simulations.namespaces import NamespacesUnavailable

__all__ = ["Outcome", "add_lan", "perform", "table_lines"]

HOSTS_MIN: Final = 3
"""With fewer hosts, a scenario lacks those that it names."""


class Outcome(msgspec.Struct):
    """The outcome of one scenario with one system: the measured seconds by condition, the nodes wrongly declared dead,
    and the conditions that never occurred."""

    scenario: str
    system: str
    hosts: int
    times: dict[str, float]
    wrongly_dead: list[str]
    failure: str = ""


def add_lan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("lan", help="disturb real meshes on LANs of network namespaces, and time them")
    parser.add_argument(
        "--only", metavar="WORD", nargs="+", default=[], help="run only scenarios with one of these in their name"
    )
    parser.add_argument("--hosts", type=int, help="number of hosts, instead of each scenario's own")
    parser.add_argument("--system", choices=["all", *SYSTEMS], default="all", help="(%(default)s)")
    parser.add_argument("--json", type=Path, help="write a report as JSON here")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    """Return exit status 1 if views of meshp2p were wrong at the end, or a healthy node of it was declared dead; 2 if
    nothing can be run here."""
    if given.hosts is not None and given.hosts < HOSTS_MIN:
        raise ConfigError(f"--hosts {given.hosts}: expected {HOSTS_MIN} or more")
    scenarios = [SCENARIOS[name] for name in names_with(given.only, SCENARIOS)]
    systems = list(SYSTEMS.values()) if given.system == "all" else [SYSTEMS[given.system]]
    if SerfNode in systems and not SerfNode.is_here():
        print("serf: not installed (Debian: serf)", file=sys.stderr)
        systems.remove(SerfNode)
    if not systems:
        return 2
    outcomes: list[Outcome] = []
    print(f"{'scenario':<38} {'hosts':>5}  {'what is waited for':<50} " + " ".join(f"{s.system:>9}" for s in systems))
    for scenario in scenarios:
        found = []
        for system in systems:
            if system is Meshp2pNode or scenario.is_for_all:
                try:
                    found.append(trio.run(perform, scenario, system, given.hosts or scenario.hosts))
                except NamespacesUnavailable as error:
                    print(error, file=sys.stderr)
                    return 2
        outcomes += found
        for line in table_lines(found, [system.system for system in systems]):
            print(line, flush=True)
    if given.json is not None:
        write_json_file(given.json, outcomes)
    return int(any(o.system == Meshp2pNode.system and (o.failure or o.wrongly_dead) for o in outcomes))


async def perform(scenario: Scenario, system: type[Node] = Meshp2pNode, hosts: int = 0) -> Outcome:
    """Run one scenario with one system. Raises :class:`~simulations.namespaces.NamespacesUnavailable`."""
    count = hosts or scenario.hosts
    names = [f"n{number:02}" for number in range(1, count + 1)]
    outcome = Outcome(scenario.name, system.system, count, {}, [])
    with (open_router if scenario.topology == "router" else open_switch)(*names) as network:
        async with open_lab(network, system) as lab:
            try:
                await scenario.run(lab)
            except* NeverSeen as errors:
                outcome.failure = "; ".join(str(error) for error in errors.exceptions)
            outcome.times = lab.times
            outcome.wrongly_dead = sorted(lab.wrongly_dead)
    return outcome


def table_lines(outcomes: list[Outcome], systems: list[str]) -> Iterator[str]:
    """Yield the lines of one scenario, with a column for each system."""
    by_system = {outcome.system: outcome for outcome in outcomes}
    whats = dict.fromkeys(what for outcome in outcomes for what in outcome.times)
    for what in whats:
        cells = []
        for system in systems:
            outcome = by_system.get(system)
            seconds = None if outcome is None else outcome.times.get(what)
            cells.append(f"{'-' if outcome is None else 'never' if seconds is None else f'{seconds:.1f} s':>9}")
        yield f"{outcomes[0].scenario:<38} {outcomes[0].hosts:>5}  {what:<50} {' '.join(cells)}"
    for outcome in outcomes:
        if outcome.wrongly_dead:
            yield f"{outcome.scenario:<38} {'':>5}  {outcome.system} held dead: {', '.join(outcome.wrongly_dead)}"
        if outcome.failure:
            yield f"{outcome.scenario:<38} {'':>5}  {outcome.system} never: {outcome.failure}"
