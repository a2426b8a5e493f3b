"""The rule of tests/conftest.py, seen from outside: a run of pytest in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def run_pytest(directory: Path, *, ci: bool) -> subprocess.CompletedProcess[str]:
    """Run pytest over both files with our conftest beside them."""
    shutil.copy(CONFTEST, directory / "conftest.py")
    (directory / "test_it.py").write_text(SKIPPED_TEST)
    (directory / "test_file.py").write_text(SKIPPED_FILE)
    (directory / "pytest.ini").write_text("[pytest]\n")
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "PYTEST_ADDOPTS"}}
    if ci:
        environment["CI"] = "true"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:trio", "-rf", "--color=no"]
    command.append("--continue-on-collection-errors")
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


def test_a_skip_fails_in_ci_with_its_reason_and_an_expected_failure_does_not(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, ci=True)
    assert result.returncode != 0, result.stdout
    assert result.stdout.count("in CI no test is: Skipped: needs a second network card") == 2
    assert "1 xfailed, 2 errors" in result.stdout


def test_a_skip_is_no_failure_elsewhere(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, ci=False)
    assert result.returncode == 0, result.stdout
    assert "2 skipped, 1 xfailed" in result.stdout
