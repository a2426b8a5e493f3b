"""The rule of tests/conftest.py about signals, seen from outside: a run of pytest whose parent ignores them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

TEST = """
import signal, subprocess, sys

def test_a_child_obeys():
    program = "import signal, sys; print([signal.getsignal(int(one)) is signal.SIG_IGN for one in sys.argv[1:]])"
    numbers = [str(int(one)) for one in {signals}]
    shown = subprocess.run([sys.executable, "-c", program, *numbers], stdout=subprocess.PIPE, text=True, check=True)
    assert shown.stdout.split() == ["[False,", "False,", "False,", "False]"]
"""


def run_ignoring(directory: Path) -> subprocess.CompletedProcess[str]:
    program = (
        "import os, signal, sys\nfor one in {}: signal.signal(one, signal.SIG_IGN)\nos.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(directory)]
    numbers = [int(one) for one in SIGNALS]
    return subprocess.run(
        [sys.executable, "-c", program.format(numbers), *command], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("has_rule", [True, False])
def test_children_obey_signals_that_the_parent_of_the_tests_ignores(has_rule: bool, tmp_path: Path) -> None:
    if has_rule:
        shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "test_it.py").write_text(TEST.format(signals=[int(one) for one in SIGNALS]))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = run_ignoring(tmp_path)
    assert (done.returncode == 0) is has_rule, done.stdout
