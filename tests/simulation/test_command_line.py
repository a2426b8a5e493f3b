"""What the commands of ``python -m simulations`` share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulations.__main__ import main
from simulations.command_line import names_with, write_json_file


def test_a_report_is_written_into_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "build" / "reports" / "one.json"
    write_json_file(path, {"figures": [1, 2]})
    assert json.loads(path.read_text()) == {"figures": [1, 2]}


def test_names_are_picked_by_words() -> None:
    names = ["cut in halves", "cut off", "killed"]
    assert names_with([], names) == names
    assert names_with(["cut"], names) == names[:2]
    assert names_with(["off", "kill"], names) == names[1:]


@pytest.mark.parametrize("command", ["floods", "lan"])
def test_a_word_that_no_name_contains_is_refused_with_the_names(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--only", "nonsense"]) == 2
    complaint = capsys.readouterr().err
    assert "--only nonsense: no match" in complaint
    assert "rumours of 45 KB" in complaint or "killed process" in complaint


def test_a_mesh_of_too_few_hosts_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lan", "--hosts", "2"]) == 2
    assert "--hosts 2: expected 3 or more" in capsys.readouterr().err
