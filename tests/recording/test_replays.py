"""A recorded machine does again what it did, and recording it changes nothing."""

from __future__ import annotations

import pytest

from meshp2p.recording.comparing import first_difference
from meshp2p.recording.recorder import RecorderLimits
from meshp2p.recording.recording import Recording, dump_recording, load_recording
from meshp2p.recording.replaying import Replay
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import Schedule
from meshp2p.simulation.simulation import run
from tests.recording.recorded_runs import RecordedProcess, record_run


def a_swarm(seed: int, nodes: int = 5) -> Schedule:
    return build_schedule("swarm", Options(seed=seed, nodes=nodes))


def replays(process: RecordedProcess, recording: Recording) -> None:
    """The recording of a whole process replays to the same effects and states."""
    replay = Replay(load_recording(dump_recording(recording)))
    outcomes = process.machine.outcomes
    for place, step in enumerate(replay.run()):
        outcome = step.outcome[1] if step.name == "open_map" and step.outcome else step.outcome  # not the replica
        assert not first_difference(outcomes[place], outcome), (process.name, step)
    assert not replay.differences
    assert place + 1 == len(outcomes)
    assert replay.compared == len(recording.segments) - 1


def check_replays(schedule: Schedule) -> None:
    _, processes = record_run(schedule)
    for process in processes:
        recording = process.take()
        assert recording is not None, process.recorder.pause
        replays(process, recording)


@pytest.mark.parametrize("seed", range(1, 6))
def test_each_node_of_a_run_with_random_faults_replays_to_equal_effects_and_states(seed: int) -> None:
    check_replays(a_swarm(seed))


@pytest.mark.long
def test_each_node_of_a_hundred_runs_with_random_faults_replays() -> None:
    for seed in range(100, 200):
        check_replays(a_swarm(seed, nodes=3 + seed % 5))


@pytest.mark.parametrize("scenario", ["homes", "restart", "partition"])
def test_recording_all_nodes_leaves_a_run_unchanged(scenario: str) -> None:
    schedule = build_schedule(scenario, Options(seed=3, nodes=5))
    simulation, _ = record_run(schedule, RecorderLimits())
    assert simulation.digest.hexdigest() == run(schedule).digest
