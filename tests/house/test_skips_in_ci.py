"""The rule of tests/conftest.py, seen from outside: a run of pytest in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPPED_TEST = """
import pytest

@pytest.mark.skip(reason="needs a second network card")
def test_two_cards():
    raise AssertionError

@pytest.mark.xfail(reason="not built yet", strict=True)
def test_what_is_to_come():
    raise AssertionError
"""

SKIPPED_FILE = """
import pytest

pytest.skip("needs a second network card", allow_module_level=True)
"""


def run_pytest(directory: Path, source: str, *, ci: bool) -> subprocess.CompletedProcess[str]:
    """Run pytest over one test file with our conftest beside it."""
    shutil.copy(CONFTEST, directory / "conftest.py")
    (directory / "test_it.py").write_text(source)
    (directory / "pytest.ini").write_text("[pytest]\n")
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}}
    if ci:
        environment["CI"] = "true"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:trio", "-rf", "--color=no"]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("source", [SKIPPED_TEST, SKIPPED_FILE], ids=["test", "file"])
def test_a_skip_fails_in_ci_with_its_reason(tmp_path: Path, source: str) -> None:
    result = run_pytest(tmp_path, source, ci=True)
    assert result.returncode != 0, result.stdout
    assert "in CI no test is: Skipped: needs a second network card" in result.stdout


def test_a_skip_is_no_failure_elsewhere(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, SKIPPED_TEST, ci=False)
    assert result.returncode == 0, result.stdout
    assert "1 skipped, 1 xfailed" in result.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, SKIPPED_TEST, ci=True)
    assert "1 xfailed, 1 error" in result.stdout
