"""The chaos loop: its ledger finds each broken promise, and a short run on real processes finds none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio

from meshp2p.core.mail.uuid7 import MessageIds
from meshp2p.core.record import tag_of
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
    ledger = Ledger(["a", "b"], ["agent"])
    one, other = some_ids("a", 2)
    ledger.note_accepted(one, "r")
    ledger.note_accepted(other, "r")
    ledger.note_read("r", [("s", one)], "", 1.0)
    assert ledger.missing == [other]
    ledger.note_read("r", [("s", other)], "", 1.0)
    assert (ledger.missing, ledger.violations) == ([], [])


def test_a_read_after_the_acknowledgement_is_a_violation_and_one_before_it_is_not() -> None:
    ledger = Ledger(["a", "b"], ["agent"])
    (one,) = some_ids("a", 1)
    ledger.note_read("r", [("s", one)], "", 1.0)
    ledger.note_read("r", [("s", one)], "", 2.0)
    assert ledger.violations == []
    ledger.faults += [(-30.0, "stop a"), (2.5, "cut a"), (5.0, "end of cut a")]
    ledger.note_acknowledged([one], "r", 3.0, "b")
    ledger.note_read("r", [("s", one)], "", 4.0)
    assert len(ledger.violations) == 1
    assert (
        "1.00 s after r (by b) took its acknowledgement; faults, in seconds from then: -0.5 cut a"
        in (ledger.violations[0])
    )


def probe(ledger: Ledger, node: str, begin: int, end: int) -> None:
    """It answers from the one second to the other, and then no more."""
    for second in range(begin, end + 1):
        ledger.contacts.note_probe(node, second, second, is_answered=True)
    ledger.contacts.note_probe(node, end + 1, end + 1, is_answered=False)


@pytest.mark.parametrize(
    ("recipient", "took", "handed_out", "well", "is_allowed"),
    [
        ("agent", "b", "c", [], True),
        ("node", "b", "c", [], False),  # a node does not move
        ("agent", "b", "b", [], False),  # the home that took it knows
        ("agent", "b", "c", ["a", "b", "c"], False),  # the acknowledgement came to the holder, and from there to c
        ("agent", "b", "c", ["a", "b"], True),  # c was not told
        ("agent", "b", "c", ["a", "c"], True),  # nor was the holder
        ("agent", "a", "c", ["c"], True),
        ("agent", "a", "c", ["a", "c"], False),
        ("agent", "", "c", [], True),
    ],
)
def test_only_an_agent_that_moved_may_read_again_and_only_if_its_homes_and_the_holder_never_met(
    recipient: str, took: str, handed_out: str, well: list[str], is_allowed: bool
) -> None:
    ledger = Ledger(["a", "b", "c"], ["agent"])
    (one,) = some_ids("a", 1)
    ledger.note_acknowledged([one], took, 100.0)
    for node in ("a", "b", "c"):
        probe(ledger, node, 50, 99)
        if node in well:
            probe(ledger, node, 110, 130)
    ledger.note_read(recipient, [("s", one)], handed_out, 140.0)
    assert (ledger.tally.moved, len(ledger.violations)) == ((1, 0) if is_allowed else (0, 1))


@pytest.mark.parametrize(
    ("home_at", "left_at", "well", "is_allowed"),
    [
        (60.0, None, ["a", "b", "c"], True),  # d was the home, and may hold it
        (20.0, None, ["a", "b", "c"], False),  # d was the home long before
        (60.0, None, ["a", "b", "c", "d"], False),  # d was told
        (None, 70.0, ["a", "b", "c"], True),  # the node that accepted it may have handed it over to d
        (None, 20.0, ["a", "b", "c"], False),
        (None, None, ["a", "b", "c"], False),
    ],
)
def test_an_agent_may_read_again_what_a_second_holder_has_that_was_not_told(
    home_at: float | None, left_at: float | None, well: list[str], is_allowed: bool
) -> None:
    ledger = Ledger(["a", "b", "c", "d"], ["agent"])
    (one,) = some_ids("a", 1)
    ledger.note_accepted(one, "agent", 50.0)
    if home_at is not None:
        ledger.note_home("agent", "d", home_at)
    if left_at is not None:
        ledger.faults.append((left_at, "restart a"))
    ledger.note_acknowledged([one], "b", 100.0)
    for node in well:
        probe(ledger, node, 110, 130)
    ledger.note_read("agent", [("s", one)], "c", 140.0)
    assert (ledger.tally.moved, len(ledger.violations)) == ((1, 0) if is_allowed else (0, 1))


def test_a_node_whose_disk_is_full_was_not_told() -> None:
    ledger = Ledger(["a", "b"], ["agent"])
    ledger.contacts.note_disk("a", is_full=True)
    for node in ("a", "b"):
        probe(ledger, node, 10, 30)
    assert not ledger.contacts.has_met("a", "b", 0, 40)
    ledger.contacts.note_disk("a", is_full=False)
    for node in ("a", "b"):
        probe(ledger, node, 40, 60)
    assert ledger.contacts.has_met("a", "b", 0, 60)


def test_nodes_that_were_well_one_after_the_other_have_not_met() -> None:
    ledger = Ledger(["a", "b"], ["agent"])
    probe(ledger, "a", 1, 20)
    probe(ledger, "b", 17, 40)
    assert not ledger.contacts.has_met("a", "b", 0, 40)
    probe(ledger, "a", 30, 38)
    assert ledger.contacts.has_met("a", "b", 0, 40)
    assert not ledger.contacts.has_met("a", "b", 33, 40)


def test_order_holds_for_each_source_and_node_alone() -> None:
    ledger = Ledger(["a", "b"], ["agent"])
    a, b = some_ids("a", 3), some_ids("b", 2)
    ledger.note_read("r", [("s", a[1]), ("s", b[1]), ("t", a[2])], "", 1.0)
    assert ledger.violations == []
    ledger.note_read("r", [("s", a[0])], "", 2.0)
    assert len(ledger.violations) == 1


@pytest.mark.long
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
