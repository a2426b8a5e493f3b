"""Age is elapsed time, whatever the wall clock shows, and whether or not a process ran."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.store.age import AgeClock, Moment, read_moment

DAY = 86_400.0
START = Moment(1_700_000_000.0, 5_000.0, "boot")


def later(at: Moment, seconds: float, step: float = 0.0, boot: str | None = None) -> Moment:
    """So much later, where the wall clock was set by so much; ``boot`` is another one."""
    uptime = at.uptime + seconds if boot is None else 10.0
    return Moment(at.wall + seconds + step, uptime, at.boot if boot is None else boot)


def kept(clock: AgeClock) -> bytes:
    mark = clock.new_mark()
    assert mark is not None
    clock.note_kept()
    return mark


@pytest.mark.parametrize("step", [3 * DAY, -400 * DAY, 400 * DAY, 20 * 365 * DAY, 0.0])
def test_a_wall_clock_that_is_set_changes_nothing_within_a_boot(step: float) -> None:
    now = START
    clock = AgeClock(None, lambda: now)
    mark = kept(clock)
    now = later(now, 60, step)
    assert clock.read() == pytest.approx(60)
    assert AgeClock(mark, lambda: now).read() == pytest.approx(60)


@pytest.mark.parametrize("step", [3 * DAY, -400 * DAY, 400 * DAY])
def test_a_clock_that_was_set_while_a_process_ran_is_marked_and_so_a_reboot_counts_only_what_passed(
    step: float,
) -> None:
    now = START
    clock = AgeClock(None, lambda: now)
    kept(clock)
    now = later(now, 60)
    assert clock.new_mark() is None
    now = later(now, 60, step)
    mark = kept(clock)
    now = later(now, 300, boot="another")
    again = AgeClock(mark, lambda: now)
    assert again.read() == pytest.approx(420)
    assert again.new_mark() is not None


def test_a_clock_that_went_back_over_a_reboot_counts_nothing() -> None:
    now = START
    mark = kept(AgeClock(None, lambda: now))
    now = later(now, 60, -400 * DAY, boot="another")
    assert AgeClock(mark, lambda: now).read() == 0.0


def test_a_machine_that_does_not_tell_its_boot_is_marked_each_time() -> None:
    now = Moment(1_700_000_000.0, 1.0, "")
    clock = AgeClock(None, lambda: now)
    kept(clock)
    now = Moment(now.wall + 30, 31.0, "")
    mark = kept(clock)
    now = Moment(now.wall + 30, 2.0, "")
    assert AgeClock(mark, lambda: now).read() == pytest.approx(60)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e9, 1e9), st.booleans()), max_size=10))
def test_within_one_boot_it_is_the_sum_of_what_passed(steps: list[tuple[float, float, bool]]) -> None:
    now = START

    def read() -> Moment:
        return now

    clock = AgeClock(None, read)
    mark = kept(clock)
    passed = 0.0
    for seconds, step, is_restart in steps:
        now = later(now, seconds, step)
        passed += seconds
        mark = clock.new_mark() or mark
        clock.note_kept()
        if is_restart:
            clock = AgeClock(mark, read)
        assert clock.read() == pytest.approx(passed, abs=1e-3)


def test_what_is_no_mark_is_refused() -> None:
    for mark in (b"", b"{}", b"[1]", b"\xff"):
        with pytest.raises(msgspec.DecodeError):
            AgeClock(mark)


def test_this_machine_tells_its_time() -> None:
    one, other = read_moment(), read_moment()
    assert other.uptime >= one.uptime
    assert one.boot == other.boot
    assert msgspec.json.decode(msgspec.json.encode(one), type=Moment) == one
