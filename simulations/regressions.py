"""Seeds that failed in the past, each with its smallest schedule and a description of the fault."""

from __future__ import annotations

from pathlib import Path

import msgspec

from meshp2p.simulation.replay import read_replay
from meshp2p.simulation.simulation import Result, run

__all__ = ["Regression", "read_regressions", "run_regression"]

FILE = Path(__file__).with_name("regressions.toml")


class Regression(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fixed fault: the scenario and seed that showed it, the checker that noticed, the file (beside this one) with
    the shrunk schedule, and a one-line description."""

    name: str
    scenario: str
    seed: int
    checker: str
    replay: str
    story: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    regression: tuple[Regression, ...] = ()


def read_regressions(path: Path = FILE) -> tuple[Regression, ...]:
    return msgspec.toml.decode(path.read_bytes(), type=_File).regression


def run_regression(regression: Regression) -> Result:
    """Run the smallest schedule, which must have no violation."""
    schedule, _ = read_replay(FILE.parent / regression.replay)
    return run(schedule)
