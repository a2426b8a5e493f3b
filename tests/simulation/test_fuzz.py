"""The fuzzer: that it finds nothing for a while, and that it would."""

from __future__ import annotations

import msgpack
import pytest

from meshp2p.core.directory.members import Members
from meshp2p.core.map_entry import Stamp
from meshp2p.core.maps.hybrid_clock import HybridClock
from simulations.__main__ import main
from simulations.fuzz.fuzzer import LIFE_INPUTS, run_life
from simulations.fuzz.target import Kind, golden_bodies

LIVES = 25
"""Of each of the parts below: about 12 s of processor time in all."""


@pytest.mark.parametrize("part", range(2))
def test_whatever_is_sent_nothing_escapes_and_what_goes_out_is_decodable(part: int) -> None:
    for seed in range(part * LIVES, (part + 1) * LIVES):
        inputs, finding = run_life(seed)
        assert finding is None, finding
        assert inputs > LIFE_INPUTS / 2


def test_a_life_is_repeated_by_its_seed() -> None:
    assert run_life(7) == run_life(7)


def test_each_golden_vector_comes_in_by_some_way() -> None:
    for kind in Kind:
        assert len(golden_bodies()[kind]) > 8
        for body in golden_bodies()[kind]:
            assert isinstance(msgpack.unpackb(body), list)


def test_a_fault_that_is_planted_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A stamp whose count grows past what a peer reads: once a real one."""

    def tick(self: HybridClock, wall_ms: int) -> Stamp:
        return Stamp(wall_ms, 1 << 70, self._node)

    monkeypatch.setattr(HybridClock, "tick", tick)
    seed = next(seed for seed in range(100) if run_life(seed)[1] is not None)
    assert main(["fuzz", "--life", str(seed)]) == 1
    assert "OverflowError" in capsys.readouterr().out


def test_a_node_that_is_taken_for_a_hosted_instance_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record at home at a hosted instance, then the word that it is dead: once a real one."""
    monkeypatch.setattr(Members, "has_node", lambda self, instance_id: instance_id in self.records)
    assert any(run_life(seed)[1] is not None for seed in range(200))


def test_the_command_says_how_much_it_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "--life", "3"]) == 0
    assert capsys.readouterr().out.endswith(" inputs, 0 laws broken\n")
    assert main(["fuzz", "--minutes", "0"]) == 2
