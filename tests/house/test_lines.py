"""The counter of code lines."""

from __future__ import annotations

from pathlib import Path

from simulations.lines import BUDGETS, FILE_LINES_MAX, ROOT, code_lines, long_files, package_lines

SOURCE = '''"""A module.

Its docstring has three lines.
"""

import os  # a comment beside code

# a comment
NAMES = (
    "one",

    "two",  # blank and comment lines within a statement count no more than elsewhere
)
"""What the constant is."""


def text() -> str:
    """Return text."""
    return """a string
that is code"""
'''


def test_blank_lines_comments_and_docstrings_are_no_code(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    assert code_lines(path) == 1 + 4 + 3


def test_lines_are_counted_by_package(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "a.py").write_text("A = 1\nB = 2\n")
    (tmp_path / "c.py").write_text("C = 3\n")
    assert package_lines(tmp_path) == {"core": 2, "(modules)": 1}


def test_a_file_is_long_by_all_of_its_lines(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("# text\n" * (FILE_LINES_MAX + 1))
    (tmp_path / "fits.py").write_text("# text\n" * FILE_LINES_MAX)
    assert long_files(tmp_path) == {tmp_path / "long.py": FILE_LINES_MAX + 1}


def test_no_file_of_the_package_is_long() -> None:
    long = {str(path.relative_to(ROOT)): lines for path, lines in long_files(ROOT).items()}
    assert long == {}, f"at most {FILE_LINES_MAX} lines: move one thing into a module of its own"


def test_each_package_is_within_its_budget() -> None:
    counts = package_lines(ROOT)
    assert counts.keys() == BUDGETS.keys()
    over = {name: f"{lines} lines, at most {BUDGETS[name]}" for name, lines in counts.items() if lines > BUDGETS[name]}
    assert over == {}, "delete code, or raise the budget in simulations/lines.py and say why"
