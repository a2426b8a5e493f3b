from __future__ import annotations

from meshp2p.simulation.pictures import timeline
from meshp2p.simulation.simulation import Simulation
from tests.simulation.pictures.runs import a_partition, by_hand

BY_HAND = """\
by-hand, seed 7: 3 nodes, 10.0 virtual seconds; a column is 0.17 s

       0           2           4           6           8
fault                    [ Partition  A: n0 n1 | B: n2 ======]
fault                                        Crash  n1 [==========]
n0     ......AAAAAAAAAAAAAAAAAAAAAAAA?AAAAAAAAAAAx................!
n1     ......AAAAAAAAAAAAAAAAAAAAAAAA?AAAAAAAAAAAAAAAAA
n2     ......AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA~~~

who leads: A = n0  . = nobody
signs: ! violation  x declares dead  ? suspects  + sees refuted  < left or revoked  ~ stands still  blank: does not run

     0.000s  n0, n1, n2: starts
     1.000s  n0, n1, n2: thinks that n0 leads, epoch 1
     3.000s  fault begins: Partition  A: n0 n1 | B: n2
     5.000s  n0: suspects n2: no answer to a probe; it has at most 2 s to refute
     5.001s  n1: suspects n2: heard: it did not answer n0
     7.000s  n0: declares n2 dead: it did not refute within 2 s; found unresponsive by n0
     7.000s  n0: knows no leader
     8.000s  fault begins: Crash  n1
     8.000s  n1: ends (killed)
     9.000s  fault ends: Partition  A: n0 n1 | B: n2
     9.500s  n2: stands still (asleep)
    10.000s  n0: VIOLATION of convergence: n0 misses n1
"""


def test_a_small_run_as_lines() -> None:
    run = by_hand(message="n0 misses n1")
    assert timeline(run.trace, run.schedule, width=67) == BY_HAND


def test_lanes_keep_to_the_width() -> None:
    run = a_partition()
    for width in (40, 80, 132):
        lines = timeline(run.trace, run.schedule, width).splitlines()
        lanes = [line for line in lines if line.startswith("n")]
        assert len(lanes) == 5
        assert {len(line) for line in lanes} == {width}
        assert all(len(line) <= width for line in lines if line.startswith("fault"))


def test_names_cannot_move_the_cursor() -> None:
    run = by_hand("\x1b[2Jn0", "n\n1", "n2\u202e")
    text = timeline(run.trace, run.schedule)
    assert all(char.isprintable() for char in text.replace("\n", ""))
    assert "\\x1b[2Jn0" in text


def test_an_empty_trace_has_an_empty_timeline() -> None:
    schedule = by_hand().schedule
    simulation = Simulation(schedule, trace=True)
    assert simulation.trace is not None
    assert "who leads: nobody" in timeline(simulation.trace, schedule)
