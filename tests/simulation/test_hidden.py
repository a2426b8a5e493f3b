"""Nodes that cannot be dialled, and pairs that cannot call each other: mail arrives while that lasts."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import MailPlan, NodePlan, Schedule, SecurityPlan
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Crash, Crowded, Fault, Hidden, Kind, Moved, Partition

HIDDEN = Hidden(begin=0.0, end=1000.0, nodes=("n3",))
CROWDED = Crowded(begin=0.0, end=1000.0, nodes=("n3",), connections=1)
APART = Partition(begin=20.0, end=1000.0, groups=(("n1",), ("n3",)), kinds=(Kind.TCP,))
WITHIN = 15.0


def overdue(simulation: Simulation) -> list[str]:
    """Messages that were accepted a while ago, and not acknowledged by all."""
    oracle = simulation.oracle
    now = simulation.engine.now
    return [
        f"{letter.source} to {recipient}"
        for letter in oracle.letters.values()
        for recipient in letter.recipients
        if letter.accepted_at < now - WITHIN and (recipient, letter.id) not in oracle.acknowledged
    ]


def a_run(fault: Hidden | Partition) -> Simulation:
    schedule = build_schedule("hidden", Options(seed=3, nodes=4, duration=200.0))
    simulation = Simulation(msgspec.structs.replace(schedule, faults=(fault,)))
    simulation.run_until(100.0)
    assert len(simulation.oracle.letters) > 100
    return simulation


@pytest.mark.parametrize("fault", [HIDDEN, CROWDED, APART], ids=["hidden", "crowded", "apart"])
def test_mail_arrives_while_nodes_cannot_be_dialled(fault: Hidden | Partition) -> None:
    simulation = a_run(fault)
    assert simulation.fired[type(fault).__name__] > 0
    assert overdue(simulation) == []


def test_without_relays_mail_between_nodes_that_cannot_call_each_other_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RelaySelector, "_relays", lambda _self, _node_id, _now: [])
    monkeypatch.setattr(RelaySelector, "_ask_to_dial", lambda _self, _node_id, _now: None)
    assert overdue(a_run(APART))


@pytest.mark.parametrize("security", [None, SecurityPlan()], ids=["open", "secured"])
@pytest.mark.parametrize("behind", [("n5",), ("n4", "n5")])
def test_nodes_whose_nat_shows_others_another_address_are_members(
    security: SecurityPlan | None, behind: tuple[str, ...]
) -> None:
    moved = [Moved(begin=0.5, node=name) for name in behind]  # it does not notice that: a NAT translates its address
    halves = (("n0", "n1"), ("n2", "n3", "n4", "n5"))
    faults: tuple[Fault, ...] = (
        *moved,
        Hidden(begin=0.0, nodes=behind),
        Crash(begin=25.0, end=45.0, node="n1"),
        Partition(begin=50.0, end=70.0, groups=halves),
    )
    schedule = Schedule(
        scenario="nat",
        seed=1,
        duration=90.0,
        nodes=tuple(NodePlan(id=f"n{number}", seeds=("n0", "n1", "n2")) for number in range(6)),
        mail=tuple(MailPlan(source=f"to {name}", nodes=("n0",), target=name, at=5.0, until=80.0) for name in behind),
        faults=faults,
        security=security,
    )
    simulation = Simulation(schedule)
    simulation.run_until(20.0)
    hosts = simulation.oracle.hosts
    for host in hosts.values():
        assert sorted(host.listed) == sorted(hosts)
    for name in behind:
        assert hosts[name].running.own.addresses != hosts[name].addresses
    assert simulation.run().violations == ()
    assert overdue(simulation) == []
