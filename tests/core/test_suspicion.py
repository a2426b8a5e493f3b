"""How long a suspicion lasts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.swim.suspicion import Suspicion

accusers = st.lists(st.sampled_from(["", "a", "b", "c", "d", "e"]), max_size=12)


@given(
    accusers,
    st.floats(0.1, 100),
    st.floats(1, 10),
    st.integers(0, 4),
    st.sampled_from(["", "a"]),
)
def test_a_deadline_only_moves_nearer_and_stays_within_its_bounds(
    accusers: list[str], timeout_min: float, multiplier: float, confirmations_max: int, first: str
) -> None:
    timeout_max = timeout_min * multiplier
    suspicion = Suspicion(
        first, 50.0, timeout_min=timeout_min, timeout_max=timeout_max, confirmations_max=confirmations_max
    )
    deadlines = [suspicion.deadline()]
    for accuser in accusers:
        suspicion.confirm(accuser)
        deadlines.append(suspicion.deadline())
    assert deadlines == sorted(deadlines, reverse=True)
    assert all(50.0 + timeout_min <= deadline <= 50.0 + timeout_max + 1e-9 for deadline in deadlines)
    independent = {accuser for accuser in [first, *accusers] if accuser}
    if len(independent) > confirmations_max:
        assert deadlines[-1] == pytest.approx(50.0 + timeout_min)


@given(accusers)
def test_an_accuser_counts_once_and_one_without_a_name_never(accusers: list[str]) -> None:
    suspicion = Suspicion("a", 0.0, timeout_min=1, timeout_max=10, confirmations_max=9)
    news = [accuser for accuser in accusers if suspicion.confirm(accuser)]
    assert len(news) == len(set(news))
    assert set(news) == set(accusers) - {"", "a"}


def test_each_confirmation_shortens_by_the_formula_of_lifeguard() -> None:
    suspicion = Suspicion("a", 0.0, timeout_min=4, timeout_max=24, confirmations_max=3)
    deadlines = [suspicion.deadline()]
    for accuser in "bcd":
        assert suspicion.confirm(accuser)
        deadlines.append(suspicion.deadline())
    assert deadlines == pytest.approx([24, 14, 8.1504, 4], abs=1e-4)
    assert not suspicion.confirm("e")


def test_where_nobody_can_confirm_a_suspicion_lasts_the_shortest_time() -> None:
    assert Suspicion("a", 1.0, timeout_min=4, timeout_max=24, confirmations_max=0).deadline() == 5.0


def test_a_suspicion_that_begins_anew_keeps_its_accusers() -> None:
    suspicion = Suspicion("a", 0.0, timeout_min=4, timeout_max=24, confirmations_max=3)
    suspicion.confirm("b")
    suspicion.restart(100.0)
    assert suspicion.deadline() == pytest.approx(114)
    assert not suspicion.confirm("b")
