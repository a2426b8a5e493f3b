"""All deadlines in one place, against a dictionary that is searched anew each time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.directory.timers import SLACK, Key, Timer, Timers

keys = st.tuples(st.sampled_from([Timer.PROBE, Timer.SUSPICION, Timer.EXPIRE]), st.sampled_from(["", "a", "b"]))
times = st.integers(0, 20).map(float)
operations = st.lists(
    st.tuples(st.sampled_from(["set", "set_earlier", "cancel", "pop"]), keys, times),
    max_size=200,
)


@given(operations)
def test_timers_do_what_a_plain_dictionary_does(operations: list[tuple[str, Key, float]]) -> None:
    timers = Timers()
    model: dict[Key, float] = {}
    for name, key, when in operations:
        if name == "set":
            timers.set(key[0], when, key[1])
            model[key] = when
        elif name == "set_earlier":
            timers.set_earlier(key[0], when, key[1])
            model[key] = min(when, model.get(key, math.inf))
        elif name == "cancel":
            timers.cancel(*key)
            model.pop(key, None)
        else:
            due = timers.pop_due(when)
            earliest = min(model.values(), default=math.inf)
            assert (due is None) == (earliest > when)
            if due is not None:
                assert model.pop(due) == earliest
        assert timers.next_deadline() == min(model.values(), default=math.inf)
        assert all(timers.deadline(*each) == model.get(each) for each in [key, (Timer.PROBE, "")])
        assert timers.is_set(*key) == (key in model)


def test_of_equal_deadlines_the_one_that_was_set_first_falls_due_first() -> None:
    timers = Timers()
    for subject in "bac":
        timers.set(Timer.EXPIRE, 1.0, subject)
    assert [timers.pop_due(1.0) for _ in "abcd"] == [(Timer.EXPIRE, subject) for subject in "bac"] + [None]


def test_setting_a_far_deadline_again_and_again_does_not_grow_the_heap() -> None:
    timers = Timers()
    timers.set(Timer.PROBE, 1.0)
    for count in range(100_000):
        timers.set(Timer.EXPIRE, 15.0 + count, "agent")
        timers.set(Timer.RELAY, 15.0 + count, "1")
        timers.cancel(Timer.RELAY, "1")
    assert len(timers._heap) <= 2 * 2 + SLACK
    assert timers.pop_due(1.0) == (Timer.PROBE, "")
    assert timers.next_deadline() == 15.0 + 99_999
