"""Count lines of code, without blank lines, comments and docstrings."""

from __future__ import annotations

import argparse
import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path

__all__ = ["BUDGETS", "FILE_LINES_MAX", "add_lines", "code_lines", "long_files", "package_lines"]

FILE_LINES_MAX = 400
"""The maximum number of lines of a file, everything counted."""

BUDGETS = {
    "(modules)": 350,
    "cli": 3052,
    "client": 660,
    "contrib": 110,
    "core": 8410,
    "discovery": 1050,
    "guard": 430,
    "http": 2440,
    "net": 3245,
    "node": 5530,
    "recording": 1107,
    "simulation": 9222,
    "store": 1284,
    "testing": 1850,
    "threaded": 1700,
    "trust": 1740,
    "virtual": 1015,
    "wire": 1550,
}
"""The maximum code lines of each package. A package that needs more says in the commit why nothing can be
deleted instead."""

ROOT = Path(__file__).parents[1] / "meshp2p"

_NO_CODE = (
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
)


def code_lines(path: Path) -> int:
    """Return how many lines of this Python file contain code. A string that is a statement of its own is a
    docstring."""
    documented = {line for string in _docstrings(path) for line in range(string.lineno, (string.end_lineno or 0) + 1)}
    coded: set[int] = set()
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in _NO_CODE:
                coded.update(range(token.start[0], token.end[0] + 1))
    return len(coded - documented)


def _docstrings(path: Path) -> Iterator[ast.Expr]:
    for node in ast.walk(ast.parse(path.read_bytes(), path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node


def package_lines(root: Path) -> dict[str, int]:
    """Return the code lines below ``root`` by its subpackages; modules of ``root`` itself count as ``(modules)``."""
    counts: dict[str, int] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        name = parts[0] if len(parts) > 1 else "(modules)"
        counts[name] = counts.get(name, 0) + code_lines(path)
    return counts


def long_files(root: Path) -> dict[Path, int]:
    """Return the files below ``root`` with more than ``FILE_LINES_MAX`` lines, and their lengths, the longest first."""
    lengths = {path: len(path.read_bytes().splitlines()) for path in root.rglob("*.py")}
    long = [item for item in lengths.items() if item[1] > FILE_LINES_MAX]
    return dict(sorted(long, key=lambda item: (-item[1], item[0])))


def add_lines(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    counting = commands.add_parser("lines", help="count the lines of code of each package")
    counting.add_argument("folder", type=Path, nargs="?", default=ROOT, help=f"what to count (default: {ROOT.name}/)")
    counting.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    """Print the counts and the files that are too long; return 0."""
    root: Path = given.folder
    counts = package_lines(root)
    for name, lines in sorted(counts.items(), key=lambda item: -item[1]):
        budget = f" (budget {BUDGETS[name]:,})" if root == ROOT and name in BUDGETS else ""
        print(f"{lines:7,}  {name}{budget}")
    print(f"{sum(counts.values()):7,}  lines of code")
    for path, lines in long_files(root).items():
        print(f"{lines:7,}  {path.relative_to(root)} (more than {FILE_LINES_MAX} lines)")
    return 0
