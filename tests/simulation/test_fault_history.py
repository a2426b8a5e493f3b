"""Whom a fault concerns, and how long the protocol may take because of it."""

from __future__ import annotations

import math

import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.simulation.expectations import call_seconds, detection_seconds, false_death_seconds, mending_seconds
from meshp2p.simulation.fault_history import FaultHistory
from meshp2p.virtual.faults import (
    Blocked,
    Corrupted,
    Crash,
    DeadAddress,
    Fault,
    Forged,
    Forgery,
    Kind,
    Lossy,
    Moved,
    OneWay,
    Partition,
    Pause,
    Rejected,
)
from tests.simulation.simulated import a_mesh

CUT = Partition(groups=(("a", "b"), ("c",)))


def after(*faults: Fault, config: ProtocolConfig | None = None) -> FaultHistory:
    """These faults lasted from 10 to 20 s."""
    history = FaultHistory(config or ProtocolConfig())
    for number, fault in enumerate(faults):
        history.note(number, fault, 10.0, begins=True)
        history.note(number, fault, 20.0, begins=False)
    return history


@pytest.mark.parametrize(
    ("fault", "key", "is_concerned"),
    [
        (CUT, "a", True),
        (CUT, "bridge", False),
        (OneWay(senders=("a",), receivers=("b",)), "b", True),
        (OneWay(senders=("a",), receivers=("b",)), "c", False),
        (Blocked(nodes=("a",), kinds=(Kind.UDP,)), "b", True),
        (Lossy(probability=0.5), "b", True),
        (Pause(node="a"), "a", False),
    ],
)
def test_a_fault_concerns_the_machines_whose_links_it_impairs(fault: Fault, key: str, is_concerned: bool) -> None:
    history = FaultHistory(ProtocolConfig())
    history.note(1, fault, 1.0, begins=True)
    assert (history.links_until(key) == math.inf) == is_concerned


def test_a_trouble_concerns_single_nodes_and_links_and_lasts_until_it_ends() -> None:
    history = after(CUT, Pause(node="a", begin=10.0, end=20.0))
    assert (history.node_until("a"), history.node_until("b")) == (20.0, -math.inf)
    assert (history.links_until("c"), history.links_until("d")) == (20.0, -math.inf)
    history.note(9, Pause(node="b"), 30.0, begins=True)
    assert history.node_until("b") == history.any_until() == math.inf


def test_what_a_healthy_mesh_must_bear_is_no_trouble() -> None:
    assert (
        after(Lossy(probability=0.1), Crash(node="a"), Pause(node="a", begin=10.0, end=13.0)).any_until() == -math.inf
    )


@pytest.mark.parametrize(
    "fault", [Lossy(probability=0.1), Corrupted(probability=0.1), Pause(node="a", begin=10.0, end=13.0)]
)
def test_what_hides_an_ack_is_a_trouble_while_a_firewall_refuses_connections(fault: Fault) -> None:
    """Two refusals prove a crash, unless the node answers pings."""
    rejected = Rejected(senders=("a", "b"), receivers=("c",))
    assert after(fault).any_until() == after(rejected).any_until() == -math.inf
    history = FaultHistory(ProtocolConfig())
    for number, one in enumerate((rejected, fault)):
        history.note(number, one, 10.0, begins=True)
    assert history.any_until() == math.inf


def test_an_address_that_was_dead_may_be_asked_afterwards() -> None:
    history = after(DeadAddress(node="a"))
    assert history.addresses_until() == 20.0
    assert history.any_until() == -math.inf


def test_a_pause_is_a_trouble_where_it_is_long_for_the_probe_interval() -> None:
    quick = ProtocolConfig(probe_interval=0.5, probe_timeout=0.25)
    assert after(Pause(node="a", begin=10.0, end=13.0), config=quick).node_until("a") == 20.0


def test_packets_that_are_sent_again_trouble_a_machine_that_moved_unnoticed() -> None:
    replay = Forged(what=Forgery.REPLAY)
    assert after(replay).node_until("a") == -math.inf
    assert after(Moved(node="a"), replay).node_until("a") == 20.0
    assert after(replay).addresses_until() == 20.0


def test_a_crash_in_a_healthy_mesh_has_three_periods_and_the_suspicion() -> None:
    assert detection_seconds(ProtocolConfig(), 16, is_ring=True, is_patient=False) == pytest.approx(7.5)
    assert detection_seconds(ProtocolConfig(), 16, is_ring=True, is_patient=True) == pytest.approx(10.0)


def test_more_that_is_wrong_never_makes_a_bound_shorter() -> None:
    config = ProtocolConfig()
    for nodes in (2, 3, 5, 16, 50):
        bad = [detection_seconds(config, nodes, bad=number, is_ring=True) for number in range(max(1, nodes - 2))]
        slow = [detection_seconds(config, nodes, health=score) for score in range(9)]
        mended = [mending_seconds(config, score) for score in range(9)]
        assert (bad, slow, mended) == (sorted(bad), sorted(slow), sorted(mended))
        assert detection_seconds(config, nodes, is_ring=True) <= detection_seconds(config, nodes)


def test_the_bounds_follow_the_configuration() -> None:
    quick = ProtocolConfig(probe_interval=0.5, probe_timeout=0.25, gossip_interval=0.1, dead_call_interval=0.5)
    assert detection_seconds(quick, 16) == pytest.approx(detection_seconds(ProtocolConfig(), 16) / 2)
    assert false_death_seconds(quick, 16) == pytest.approx(false_death_seconds(ProtocolConfig(), 16) / 2)
    assert call_seconds(quick, 1, 2, cut_for=10.0) < call_seconds(ProtocolConfig(), 1, 2, cut_for=10.0)


def test_a_mesh_of_which_nothing_is_missing_has_only_views_to_compare() -> None:
    simulation = a_mesh(until=15.0)
    assert simulation.checkers["convergence"].bound() == mending_seconds(ProtocolConfig(), 0)  # type: ignore[attr-defined]
    simulation.begin(Crash(node="n3"))
    found = detection_seconds(ProtocolConfig(), 4, is_ring=True)
    assert simulation.checkers["convergence"].bound() == found + mending_seconds(ProtocolConfig(), 0)  # type: ignore[attr-defined]
