"""What the benchmarks' command lines have in common."""

from __future__ import annotations

import argparse
import signal

import pytest
import trio
import trio.testing

from simulations.benchmarks.command_line import INTERRUPTED, names_among, positive, run_until_signal


def test_a_number_is_positive_or_refused() -> None:
    assert positive("1") == 1
    with pytest.raises(argparse.ArgumentTypeError, match="0: expected 1 or more"):
        positive("0")


def test_names_are_taken_with_commas_between_them_and_none_where_that_is_allowed() -> None:
    assert names_among(["serf", "zenoh"])("zenoh,serf") == ("zenoh", "serf")
    assert names_among(["serf"], may_be_none=True)("none") == ()
    with pytest.raises(argparse.ArgumentTypeError, match=r"^'none': expected one of serf, zenoh$"):
        names_among(["serf", "zenoh"])("none")
    with pytest.raises(argparse.ArgumentTypeError, match=r"^'consul': expected one of serf, or none$"):
        names_among(["serf"], may_be_none=True)("serf,consul")


async def test_a_body_that_ends_says_the_exit_code() -> None:
    async def body(code: int) -> int:
        await trio.lowlevel.checkpoint()
        return code

    assert [await run_until_signal(body, code) for code in (0, 1)] == [0, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_cancels_the_body_and_it_cleans_up(number: signal.Signals) -> None:
    cleaned_up = []

    async def body() -> int:
        signal.raise_signal(number)
        try:
            await trio.sleep_forever()
        finally:
            cleaned_up.append(number)

    assert await run_until_signal(body) == INTERRUPTED == 130
    assert cleaned_up == [number]


async def test_a_body_that_fails_because_of_the_signal_was_interrupted() -> None:
    async def body() -> int:
        signal.raise_signal(signal.SIGINT)
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        return 1

    assert await run_until_signal(body) == INTERRUPTED
