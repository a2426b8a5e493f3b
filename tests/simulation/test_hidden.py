"""Nodes that cannot be dialled, and pairs that cannot call each other: mail arrives while that lasts."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.faults import Crowded, Hidden, Kind, Partition

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
