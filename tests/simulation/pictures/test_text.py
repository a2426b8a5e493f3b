from __future__ import annotations

from pathlib import Path

import pytest

from meshp2p.cli import main
from meshp2p.virtual.describe import describe_fault, printable
from meshp2p.virtual.faults import Blocked, Crash, Fault, Kind, Lossy, OneWay, Partition
from tests.simulation.pictures.pages import Page


@pytest.mark.parametrize(
    "options",
    [
        "--seed 4",
        "--seed 4 --nodes 4",
        "--seed 4 --duration 6.5 --through-wire",
        "--seed 4 --nodes 4 --duration 6 --loss 0.25 --delay 0.01 --check=incarnations --check=epochs",
    ],
)
def test_the_page_tells_the_command_that_repeats_the_run(options: str, tmp_path: Path) -> None:
    command = f"meshp2p simulate calm {options}"
    path = tmp_path / "run.html"
    assert main([*command.split()[1:], "--html", str(path), "--json"]) == 0
    assert Page(path.read_text(encoding="utf-8")).texts["command"] == command


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Partition(groups=(("a", "b"), ("c",))), "Partition  A: a b | B: c"),
        (
            Partition(groups=(("a",), ("c",)), kinds=(Kind.UDP,), period=2.5),
            "Partition  A: a | B: c, kinds udp, period 2.5",
        ),
        (OneWay(senders=("a",), receivers=("b", "c")), "OneWay  from a nothing reaches b c"),
        (Lossy(probability=0.1), "Lossy, probability 0.1"),
        (Blocked(nodes=tuple("abcdefghijk"), kinds=(Kind.UDP, Kind.TCP)), "Blocked  a b c d e f g h +3, kinds udp+tcp"),
        (Crash(node="a", is_silent=True, keeps_state=False), "Crash  a, is silent, keeps state no"),
    ],
)
def test_a_fault_is_told_by_what_is_not_its_default(fault: Fault, words: str) -> None:
    assert describe_fault(fault) == words


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert printable("a\x1b[31m\u2028ü") == "a\\x1b[31m\\u2028ü"
