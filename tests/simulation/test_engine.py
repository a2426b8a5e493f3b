"""Virtual time."""

from __future__ import annotations

from meshp2p.simulation.engine import Engine


def test_what_is_due_first_happens_first_and_equal_times_keep_their_order() -> None:
    engine = Engine()
    happened: list[str] = []
    engine.at(2.0, happened.append, "later")
    engine.at(1.0, happened.append, "first of two")
    engine.at(1.0, happened.append, "second of two")
    assert engine.run_until(3.0)
    assert happened == ["first of two", "second of two", "later"]
    assert (engine.now, engine.events) == (3.0, 3)


def test_what_is_due_after_the_end_waits() -> None:
    engine = Engine()
    happened: list[str] = []
    engine.at(5.0, happened.append, "late")
    engine.run_until(4.0)
    assert happened == []
    engine.run_until(5.0)
    assert happened == ["late"]


def test_a_time_that_has_passed_counts_as_now() -> None:
    engine = Engine()
    times: list[float] = []
    engine.at(2.0, lambda _: engine.at(1.0, lambda _: times.append(engine.now)))
    engine.run_until(10.0)
    assert times == [2.0]


def test_it_stops_where_it_is_told_to() -> None:
    engine = Engine()
    engine.at(1.0, lambda _: engine.stop())
    engine.at(2.0, lambda _: None)
    engine.run_until(10.0)
    assert engine.now == 1.0
    engine.run_until(10.0)
    assert engine.now == 10.0


def test_a_runaway_is_given_up() -> None:
    engine = Engine()

    def again(_argument: object) -> None:
        engine.at(engine.now, again)

    engine.at(1.0, again)
    assert not engine.run_until(2.0, events_max=100)
    assert engine.now == 1.0
