"""Each of these checkers sees a fault that was planted in the core, in a run that is among those of the hunt."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import InstanceUpdated
from meshp2p.core.record import SignedRecord
from meshp2p.core.swim import candidates
from meshp2p.simulation.checkers import CHECKERS
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import NodePlan, Schedule, SecurityPlan
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Sleep
from simulations.ablations.safeguards import SAFEGUARDS
from simulations.mutants.hunt import hunted, planned_runs
from simulations.mutants.planted import copied, read_mutants
from tests.simulation.simulated import a_mesh

MUTANTS = {mutant.name: mutant for mutant in read_mutants()}

CAUGHT = {
    "accusation-limit": ("accusations-are-not-limited", "accuser", 0),
    "accusations": ("new-process-pays-for-the-old-one", "home-returns", 0),
    "agent-news": ("agents-miss-changes-of-leader", "early-agents", 0),
    "ages": ("age-is-rounded-down", "homes", 1),
    "comparing": ("other-half-of-a-comparison-is-lost", "maps-apart", 0),
    "farewells": ("leaver-looks-alive-in-a-sync", "seed-leaves", 0),
    "patience": ("patience-for-ever", "well-again", 0),
    "listeners": ("gossip-to-the-silent", "partition", 0),
    "lookups": ("question-takes-an-older-answer", "looked-up", 0),
    "detours": ("detour-for-ever", "detour-ends", 0),
    "dials": ("candidate-failures-are-never-reset", "late-seed", 0),
    "giving-way": ("older-twin-gives-way", "twin", 0),
    "grants": ("restarted-granter-grants-at-once", "quorum-agents", 0),
    "homes": ("orphans-are-declared-dead-to-all", "both-gone", 0),
    "kept": ("epoch-is-said-before-it-is-kept", "calm", 0),
    "mail-calls": ("batches-without-a-bound", "home-moves", 0),
    "mail-flow": ("own-messages-wake-nobody", "mail-restarts", 1),
    "mail-kept": ("mail-on-disk-expires-at-once", "sender-dies", 0),
    "mail-room": ("mailbox-bytes-leak", "small-mailboxes", 0),
    "reading-on": ("reading-on-begins-anew", "small-reads", 0),
    "receipts": ("a-status-is-dated-by-the-acceptance", "mail", 0),
    "returns": ("unreached-node-returns-as-often", "walled", 0),
    "rivals": ("announced-while-asking-rivals", "twin", 0),
    "heartbeats": ("last-heartbeat-follows-the-clock", "set-back", 0),
    "tables": ("answered-calls-are-kept", "hidden", 0),
    "watching": ("watch-is-retried-without-a-pause", "rejecting", 0),
    "sides": ("cut-off-side-stays-settled", "quorum-agents", 0),
}


SMOKE = ("giving-way", "homes", "kept")
"""The laws that `make test` tries so; `make test-long` tries all."""


@pytest.mark.parametrize(
    "checker", [pytest.param(each, marks=() if each in SMOKE else pytest.mark.long) for each in sorted(CAUGHT)]
)
def test_a_planted_fault_is_seen_by_the_checker_that_is_for_it(checker: str) -> None:
    name, scenario, seed = CAUGHT[checker]
    with copied(MUTANTS[name]) as copy:
        caught = hunted(copy, [1 + planned_runs().index((scenario, seed))])
    assert caught is not None
    assert caught.checker == checker


def test_a_record_that_is_not_what_its_owner_published_is_seen() -> None:
    simulation = a_mesh()
    machine = simulation.oracle.hosts["n1"].machine
    assert machine is not None
    before = len(simulation.violations)
    simulation.event(simulation.oracle.hosts["n0"], InstanceUpdated(machine.own))
    assert len(simulation.violations) == before
    simulation.event(
        simulation.oracle.hosts["n0"], InstanceUpdated(msgspec.structs.replace(machine.own, status="busy"))
    )
    assert [violation.checker for violation in simulation.violations[before:]] == ["records"]


def test_every_checker_is_shown_to_catch_something() -> None:
    shown = {safeguard.checker for safeguard in SAFEGUARDS.values()} | {"detection", "bounds", "records", *CAUGHT}
    assert shown >= set(CHECKERS)


@pytest.mark.parametrize("watches", [0, 1, 3])
def test_the_law_of_detours_follows_the_number_of_watched_nodes(watches: int) -> None:
    options = Options(seed=2, nodes=8, checks=("detours",), config=ProtocolConfig(watches=watches))
    assert not Simulation(build_schedule("detour-ends", options)).run().violations


@pytest.mark.parametrize(("interval", "hours"), [(3600.0, 4.0), (60.0, 0.1)])
def test_a_node_dials_its_own_address_once_an_hour_and_no_more_often(
    monkeypatch: pytest.MonkeyPatch, interval: float, hours: float
) -> None:
    monkeypatch.setattr(candidates, "OWN_ADDRESS_INTERVAL", interval)
    nodes = (NodePlan(id="a", seeds=("a", "b")), NodePlan(id="b", seeds=("a", "b")))
    schedule = Schedule(scenario="hours", seed=1, duration=3600.0 * hours, nodes=nodes, checks=("dials",))
    assert bool(Simulation(schedule).run().violations) == (interval < 3600.0)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_process_changes_its_key_in_time_and_late_only_if_it_was_stopped(stopped: bool) -> None:
    pause = (Sleep(begin=45.0, end=85.0, node="n1"),) if stopped else ()
    plan = SecurityPlan(key_seconds=30.0, retired_seconds=5.0)
    names = ("n0", "n1", "n2")
    nodes = tuple(NodePlan(id=name, seeds=("n0",)) for name in names)
    schedule = Schedule(scenario="keys", seed=1, duration=120.0, nodes=nodes, faults=pause, security=plan)
    simulation = Simulation(schedule)
    assert not simulation.run().violations
    for host in simulation.oracle.live:
        own = host.running.own
        assert isinstance(own, SignedRecord)
        assert own.proof.key_number >= 3  # also the one that slept when its key was due
