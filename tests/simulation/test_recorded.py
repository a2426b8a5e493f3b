"""``meshp2p simulate --replay`` with the recording of a node: what it shows, and how it refuses other files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from meshp2p.cli import main
from meshp2p.recording.recording import FILE_BYTES_MAX, Recording, dump_recording
from meshp2p.virtual.faults import Crash
from tests.recording.recorded_runs import record_run
from tests.simulation.simulated import a_schedule


@pytest.fixture(scope="module")
def recording() -> Recording:
    """What n0 saw while n1 crashed."""
    _, processes = record_run(a_schedule(Crash(node="n1", begin=30.0, is_silent=True), nodes=3))
    found = processes[0].take()
    assert found is not None
    return found


def replay(path: Path, data: bytes, *options: str) -> int:
    file = path / "node.recording"
    file.write_bytes(data)
    return main(["simulate", "--replay", str(file), *options])


def test_it_shows_what_the_node_saw_with_the_evidence(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(tmp_path, dump_recording(recording)) == 0
    shown = capsys.readouterr().out
    assert "node n0 of mesh simulated" in shown
    assert "n0: declares n1 dead" in shown
    assert "n0: declares n1 dead: it did not refute within 4 s; found unresponsive by n0" in shown
    states = len(recording.segments) - 1
    assert f"compared {states} states: the same effects and states" in shown


def test_the_trace_has_each_input_and_effect(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(tmp_path, dump_recording(recording), "--trace") == 0
    shown = capsys.readouterr().out
    assert "receive from n2: Ping" in shown
    assert "send to n2: Ack" in shown
    assert "n0  timer" in shown


def test_the_page_is_that_of_a_simulated_run(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert replay(tmp_path, dump_recording(recording), "--html", str(page), "--json") == 0
    assert "recording of n0 (test)" in page.read_text()
    assert '"file":""' in page.read_text()
    assert json.loads(capsys.readouterr().out)["violations"] == []


def test_a_difference_is_told_and_is_a_failure(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, *others = recording.segments
    mixed = msgspec.structs.replace(first, steps=second.steps)
    changed = msgspec.structs.replace(recording, segments=(mixed, second, *others))
    assert replay(tmp_path, dump_recording(changed)) == 1
    shown = capsys.readouterr().out
    assert "DIFFERENCES" in shown
    assert "the state differs" in shown


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data[: len(data) // 2], "the recording is damaged"),
        (lambda data: data[:20], "the recording is damaged"),
        (lambda data: data.replace(b"recording 2", b"recording 9", 1), "not a recording of this version"),
        (lambda data: data + bytes(FILE_BYTES_MAX), "at most"),
        (lambda data: b"", "not a replay file"),
        (lambda data: b"\xff\x00", "not a replay file"),
    ],
)
def test_a_file_that_is_no_recording_gets_one_clear_line(
    recording: Recording,
    change: Callable[[bytes], bytes],
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert replay(tmp_path, change(dump_recording(recording))) == 2
    complaint = capsys.readouterr().err
    assert why in complaint
    assert len(complaint.splitlines()) == 1


def test_a_file_that_is_not_there_gets_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--replay", str(tmp_path / "none")]) == 2
    assert "No such file or directory" in capsys.readouterr().err
