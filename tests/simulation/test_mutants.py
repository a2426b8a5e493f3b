"""The list of planted faults: each still fits the source, and both instruments really run with the fault planted."""

from __future__ import annotations

import pytest

from meshp2p.errors import ConfigError
from simulations.mutants.command import Finding, complaints, table_lines
from simulations.mutants.hunt import BASELINE, RUNS_MAX, Catch, hunted, planned_runs
from simulations.mutants.planted import Mutant, copied, read_mutants
from simulations.mutants.unit import failing_test

MUTANTS = {mutant.name: mutant for mutant in read_mutants()}


def test_every_listed_fault_fits_the_source_in_one_place_and_changes_it() -> None:
    assert len(MUTANTS) >= 80
    for mutant in MUTANTS.values():
        source = mutant.path().read_text()
        assert mutant.plant(source) != source, mutant.name
        assert mutant.lines(source), mutant.name
        assert mutant.story.endswith("."), mutant.name


def test_a_fault_whose_text_is_gone_or_stands_twice_is_refused_with_the_remedy() -> None:
    mutant = Mutant("gone", "nodes", "A story.", old="return 1", new="return 2")
    for source in ("def f():\n    return 3\n", "def f():\n    return 1\n\ndef g():\n    return 1\n"):
        with pytest.raises(ConfigError, match=r"'gone': its old text stands [02] times .* adapt it in"):
            mutant.plant(source)
    with pytest.raises(ConfigError, match="makes no Python"):
        Mutant("broken", "nodes", "A story.", old="return 3", new="return (").plant("def f():\n    return 3\n")


def test_the_lines_of_a_fault_are_those_of_the_statements_that_it_touches() -> None:
    source = (
        "def f(x):\n    y = (\n        x\n    )\n    if y:\n        y += 1\n    else:\n        y += 2\n    return y\n"
    )

    def lines(old: str) -> frozenset[int]:
        return Mutant("m", "nodes", "A story.", old=old, new="").lines(source)

    assert lines("        x\n") == {2, 3, 4}
    assert lines("y += 2") == {8}
    assert lines("    else:\n        y += 2") == {7, 8}
    assert lines("if y:") >= {5, 6}
    assert Mutant("m", "nodes", "A story.", old="A = 1", new="A = 2").lines("A = 1\n") == frozenset()


def test_a_copy_has_the_fault_and_the_checkout_has_not() -> None:
    mutant = MUTANTS["ring-step-shares-a-divisor"]
    with copied(mutant) as copy:
        assert mutant.new in mutant.path(copy).read_text()
        assert mutant.old in mutant.path().read_text()
    assert not copy.exists()


@pytest.mark.long
def test_the_unit_tests_catch_a_planted_fault() -> None:
    mutant = MUTANTS["local-health-is-never-regained"]
    with copied(mutant) as copy:
        assert failing_test(copy, mutant.module).startswith("small_parts.py::test_local_health")


def test_the_simulator_catches_a_planted_fault_and_finds_nothing_without_it() -> None:
    number = 1 + planned_runs().index(("refused", 0))
    with copied(MUTANTS["one-refusal-is-a-verdict"]) as copy:
        caught = hunted(copy, [number])
    assert caught is not None
    assert (caught.scenario, caught.seed, caught.run) == ("refused", 0, number)
    with copied() as copy:
        assert hunted(copy, [number]) is None


def test_the_runs_are_as_many_as_a_fault_has_to_survive_and_none_is_run_twice() -> None:
    runs = planned_runs()
    assert len(runs) == len(set(runs)) == RUNS_MAX
    assert sum(scenario == "swarm" for scenario, _ in runs) > 0


def test_the_table_counts_what_each_instrument_caught_and_says_why_the_rest_survives() -> None:
    caught = Mutant("one", "nodes", "A story.", old="a", new="b")
    survivor = Mutant("two", "nodes", "A story.", old="a", new="b", no_run="No run is that long.")
    lines = list(
        table_lines(
            [
                (caught, Finding("one", "nodes.py::test_it", Catch("epochs", 7, "swarm", 3, "two leaders"), 150)),
                (survivor, Finding("two", "", "survived", 12)),
            ]
        )
    )
    assert "| one | nodes | nodes.py::test_it | epochs | run 7 |" in lines
    assert "| two | nodes | no: UNEXPLAINED | no: No run is that long. (reached in 12 runs) |  |" in lines
    assert lines[-2:] == ["unit tests: 1 of 2 caught (50%)", "simulator: 1 of 2 caught (50%)"]


def test_what_survives_without_an_explanation_fails_and_an_explanation_of_what_is_caught_is_stale() -> None:
    caught, survived = Catch("epochs", 7, "swarm", 3, "two leaders"), "survived"
    plain = Mutant("plain", "nodes", "A story.", old="a", new="b")
    explained = Mutant("explained", "nodes", "A story.", old="a", new="b", no_test="So.", no_run="So.")
    assert list(complaints([(plain, Finding("plain", "a test", caught))])) == []
    shares = list(complaints([(explained, Finding("explained", "", survived))]))
    assert [line.split(":")[0] for line in shares] == ["FAILED unit tests", "FAILED simulator"]
    assert list(complaints([(plain, Finding("plain", "", survived))]))[:2] == [
        "FAILED plain: no unit test catches it, and `no_test` does not say why",
        "FAILED plain: no run catches it, and `no_run` does not say why",
    ]
    assert list(complaints([(explained, Finding("explained", "a test", caught))])) == [
        "STALE explained: a test catches it: remove `no_test`",
        "STALE explained: epochs catches it, run 7: remove `no_run`",
    ]


def test_figures_that_differ_catch_what_no_checker_does() -> None:
    mutant = MUTANTS["told-half-as-often"]
    with copied(mutant) as copy:
        caught = hunted(copy, [], ("calm",))
    assert caught is not None
    assert (caught.checker, caught.scenario) == (BASELINE, "calm")
    assert "caught in the simulator by | in |" in next(iter(table_lines([(mutant, Finding(mutant.name, "", caught))])))
