"""Who is slow is waited for longer: as it says, or as it was seen to be."""

from __future__ import annotations

import pytest

from meshp2p.core.directory.patience import RETURN_SECONDS, Patience
from meshp2p.core.machine import Machine
from meshp2p.core.record import Rumour, State
from tests.core.builders import a_machine, a_record, hear


def test_each_point_counts_half_as_long_again_and_no_more_than_the_greatest() -> None:
    patience = Patience(2.0)
    assert patience.factor("a", 0.0) == 1.0
    patience.note_health("a", 1)
    assert patience.factor("a", 0.0) == 1.5
    patience.note_health("a", 8)
    assert patience.factor("a", 0.0) == 2.0
    patience.note_health("a", 0)
    assert patience.factor("a", 0.0) == 1.0


def test_who_was_accused_and_lives_is_waited_for_longer_for_a_while() -> None:
    patience = Patience(3.0)
    patience.note_return("a", 1.0)
    assert (patience.factor("a", 1.0), patience.factor("b", 1.0)) == (1.5, 1.0)
    patience.note_return("a", 50.0)
    patience.forget_health("a")
    assert patience.factor("a", 50.0 + RETURN_SECONDS - 0.1) == 2.0
    assert patience.factor("a", 50.0 + RETURN_SECONDS) == 1.0
    patience.note_return("a", 200.0)
    assert patience.factor("a", 200.0) == 1.5, "what was long ago does not count"


def test_what_it_says_and_what_was_seen_of_it_do_not_add_up() -> None:
    patience = Patience(3.0)
    patience.note_return("a", 1.0)
    patience.note_health("a", 2)
    assert patience.factor("a", 1.0) == 2.0


def test_nothing_is_kept_of_those_who_returned_long_ago() -> None:
    patience = Patience(2.0)
    for number in range(1000):
        patience.note_return(f"n{number}", float(number))
    assert len(patience._returns) == RETURN_SECONDS


def seconds_suspected(machine: Machine, now: float) -> float:
    """How long ``a`` is suspected whom three others accuse at ``now``."""
    incarnation = machine.records()["a"].incarnation
    for accuser in "bcd":
        hear(machine, [Rumour("a", incarnation, State.SUSPECT, accuser)], now=now)
    return machine._swim.membership.suspicions["a"].deadline() - now


def a_listener() -> Machine:
    """A machine that lists eight others and probes nobody."""
    machine = a_machine("m")
    hear(machine, [a_record(name) for name in "abcdefgh"])
    machine._swim.prober.restart(1e6)
    machine._state.local_health.score = 0
    return machine


@pytest.mark.parametrize("accusation", [Rumour("a", 1, State.SUSPECT, "h"), Rumour("a", 1, State.DEAD, "h")])
def test_a_refutation_makes_all_who_hear_it_patient(accusation: Rumour) -> None:
    machine = a_listener()
    expected = seconds_suspected(machine, 2.0)
    machine = a_listener()
    hear(machine, [accusation], now=1.5)
    hear(machine, [a_record("a", 2)], now=1.6)
    assert seconds_suspected(machine, 2.0) == 1.5 * expected


def test_a_process_that_was_started_again_is_waited_for_as_any_other() -> None:
    machine = a_listener()
    hear(machine, [Rumour("a", 1, State.DEAD, "h")], now=1.5)
    hear(machine, [a_record("a", 2, boot=7)], now=1.6)
    assert machine._state.patience.factor("a", 1.6) == 1.0


def test_a_suspect_that_was_started_again_is_waited_for_as_any_other() -> None:
    machine = a_listener()
    hear(machine, [Rumour("a", 1, State.SUSPECT, "h")], now=1.5)
    hear(machine, [a_record("a", 2, boot=7)], now=1.6)
    assert machine._state.patience.factor("a", 1.6) == 1.0
