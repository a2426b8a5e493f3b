"""The chaos loop: its ledger finds each broken promise, and a short run on real processes finds none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio

from meshp2p.core.record import tag_of
from meshp2p.core.uuid7 import MessageIds
from simulations.chaos.ledger import Ledger


class _Draw:
    def randrange(self, start: int, stop: int, /) -> int:
        return start

    def random(self) -> float:
        return 0.0

    def sample(self, population: list[str], k: int, /) -> list[str]:
        return population[:k]


def some_ids(node: str, count: int) -> list[str]:
    ids = MessageIds(tag_of(node), _Draw())  # type: ignore[arg-type]
    return [ids.next(1000) for _ in range(count)]


def test_what_was_accepted_and_not_read_is_missing() -> None:
    ledger = Ledger(["agent"])
    one, other = some_ids("a", 2)
    ledger.note_accepted(one, "r")
    ledger.note_accepted(other, "r")
    ledger.note_read("r", [("s", one)], 1.0)
    assert ledger.missing == [other]
    ledger.note_read("r", [("s", other)], 1.0)
    assert (ledger.missing, ledger.violations) == ([], [])


def test_a_read_after_the_acknowledgement_is_a_violation_and_one_before_it_is_not() -> None:
    ledger = Ledger(["agent"])
    (one,) = some_ids("a", 1)
    ledger.note_read("r", [("s", one)], 1.0)
    ledger.note_read("r", [("s", one)], 2.0)
    assert ledger.violations == []
    ledger.note_acknowledged([one], 3.0)
    ledger.note_read("r", [("s", one)], 4.0)
    assert len(ledger.violations) == 1
    assert "1.00 s after its acknowledgement" in ledger.violations[0]


@pytest.mark.parametrize("recipient", ["agent", "node"])
@pytest.mark.parametrize("cut", [(101.0, 110.0), (10.0, 20.0), (113.0, 120.0), None])
def test_only_a_hosted_agent_may_read_again_and_only_about_the_time_of_a_cut(
    recipient: str, cut: tuple[float, float] | None
) -> None:
    ledger = Ledger(["agent"])
    (one,) = some_ids("a", 1)
    ledger.note_acknowledged([one], 100.0)
    if cut is not None:
        ledger.note_cut(*cut)
    ledger.note_read(recipient, [("s", one)], 112.0)
    is_allowed = recipient == "agent" and cut == (101.0, 110.0)
    assert (ledger.tally.moved, len(ledger.violations)) == ((1, 0) if is_allowed else (0, 1))


def test_order_holds_for_each_source_and_node_alone() -> None:
    ledger = Ledger(["agent"])
    a, b = some_ids("a", 3), some_ids("b", 2)
    ledger.note_read("r", [("s", a[1]), ("s", b[1]), ("t", a[2])], 1.0)
    assert ledger.violations == []
    ledger.note_read("r", [("s", a[0])], 2.0)
    assert len(ledger.violations) == 1


def test_what_a_node_handed_over_comes_in_no_order_with_the_rest() -> None:
    ledger = Ledger(["agent"])
    ids = some_ids("a", 2)
    ledger.note_handed_over("a")
    ledger.note_read("r", [("s", ids[1]), ("s", ids[0])], 1.0)
    assert (ledger.violations, ledger.tally.handed_over) == ([], 1)


@pytest.mark.slow
async def test_a_short_run_breaks_no_promise() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for namespaces and disks of its own")
    try:
        await trio.run_process(["unshare", "--net", "--mount", "true"], capture_stderr=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs namespaces of its own (unshare of util-linux): {error}")
    command = [sys.executable, "-m", "simulations", "chaos", "--minutes", "0.15", "--seed", "1"]
    ended = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    text = ended.stdout.decode() + ended.stderr.decode()
    assert ended.returncode == 0, text
    assert " 0 accepted and not read" in text
