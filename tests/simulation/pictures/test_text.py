from __future__ import annotations

import msgspec
import pytest

from meshp2p.simulation.pictures.text import replay_command
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.virtual.describe import describe_fault, printable
from meshp2p.virtual.faults import Blocked, Crash, Fault, Kind, Lossy, OneWay, Partition
from tests.simulation.pictures.runs import by_hand


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (Options(seed=4), "meshp2p simulate partition --seed 4"),
        (Options(seed=4, nodes=9), "meshp2p simulate partition --seed 4 --nodes 9"),
        (Options(seed=4, duration=60.0), "meshp2p simulate partition --seed 4 --duration 60"),
        (Options(seed=4, through_wire=True), "meshp2p simulate partition --seed 4 --through-wire"),
        (Options(seed=4, ablations=("sync",)), "meshp2p simulate --replay FILE"),
        (Options(seed=4, nodes=9, loss=0.25), "meshp2p simulate partition --seed 4 --nodes 9 --loss 0.25"),
    ],
)
def test_a_command_is_found_that_makes_the_same_schedule(options: Options, command: str) -> None:
    assert replay_command(build_schedule("partition", options)) == command


def test_the_command_is_one_that_the_command_line_takes() -> None:
    from meshp2p.cli import main

    command = replay_command(build_schedule("calm", Options(seed=2, nodes=3, duration=5.0)))
    assert main([*command.split()[1:], "--check", "incarnations", "--json"]) == 0


def test_a_schedule_that_no_options_make_is_replayed_from_its_file() -> None:
    assert replay_command(by_hand().schedule) == "meshp2p simulate --replay FILE"
    changed = msgspec.structs.replace(build_schedule("calm"), calm=1.0)
    assert replay_command(changed) == "meshp2p simulate --replay FILE"


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
