"""What the README and the docs show, runs.

The convention, which CONTRIBUTING.md tells authors:

- A ``python`` block is a whole program. It compiles, and it runs in a fresh process and an empty directory, with
  warnings as errors, to exit status 0.
- ``<!-- not run: REASON -->`` on the line above: it only compiles.
- ``<!-- continues -->`` on the line above: it runs after the ``python`` block before it on the page, in one program.
- ``<!-- file: NAME -->`` on the line above: it is saved under that name, and a console block of the page runs it
  (``test_console_blocks.py``).
- ``<!-- on: HOST -->`` above a ``console`` block: the commands of the page are run for real, those on this host.
- ``<!-- printed -->`` above a ``text`` block: the last command that stays running on that page prints these lines.
- Calls awaited outside of a function make a ``python`` block a cell of a notebook: it runs in a running loop.
- In a ``console`` block each line ``$ meshp2p ...`` names a command that exists and options that it has: the words
  before a pipe, a redirection or a ``&`` are run with ``--help`` after them, so that nothing is started.
- A block in ``json``, ``yaml``, ``toml`` or ``ini`` is valid, and the commands and variables of ours in it exist.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import importlib
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from meshp2p.cli import main
from meshp2p.node import settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(
    r"^(?:[ ]*<!-- (?P<mark>not run: \S[^\n]*|continues|printed|file: \S+|on: \w+) -->\n)?"
    r"^(?P<fence>[ ]*```)(?P<language>\w+)[^\n]*\n(?P<source>.*?)^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
SHELL_OPERATORS = frozenset("|&;<>()")
NOTEBOOK = """\
import ast, asyncio, sys
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
asyncio.run(eval(code, {"__name__": "__main__"}))
"""
"""A program that runs another one as a notebook runs its cells: ``await`` needs no function."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. ``mark`` is the comment above it or empty; ``context`` is what it continues or empty."""

    place: str
    language: str
    mark: str
    source: str
    context: str = ""

    @property
    def program(self) -> str:
        return self.context + self.source


def find_blocks(text: str, page: str) -> Iterator[Block]:
    """The blocks of a page in their order, each with its line number for a place."""
    program = ""
    for match in BLOCK.finditer(text):
        place = f"{page}:{text.count(chr(10), 0, match.start('fence')) + 1}"
        mark, source = match["mark"] or "", textwrap.dedent(match["source"])
        block = Block(place, match["language"], mark, source, context=program if mark == "continues" else "")
        if block.language == "python":
            program = block.program
        yield block


def find_commands(source: str) -> Iterator[list[str]]:
    """The words of each ``$ meshp2p ...`` line of a console block, without the program's own name."""
    for line in source.replace("\\\n", " ").splitlines():
        if not line.startswith("$ "):
            continue
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= SHELL_OPERATORS:
                break
            if words or "=" not in word:  # NAME=VALUE before the command is its environment
                words.append(word)
        if words and Path(words[0]).name == "meshp2p":
            yield words[1:]


BLOCKS = [block for page in PAGES for block in find_blocks(page.read_text(), str(page.relative_to(ROOT)))]


def blocks_in(*languages: str) -> pytest.MarkDecorator:
    """A parameter ``block`` that is each block in one of these languages. A block that another continues is left out:
    it is part of that one's program."""
    continued = {block.context for block in BLOCKS}
    blocks = [block for block in BLOCKS if block.language in languages and block.program not in continued]
    chosen = [pytest.param(block, id=block.place) for block in blocks]
    return pytest.mark.parametrize("block", chosen)


def run_python(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run this Python on our package, whether or not it is installed."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@cache
def help_of(words: tuple[str, ...]) -> str:
    """What ``meshp2p WORDS --help`` prints; fails the test where there is no such command."""
    printed, complaints = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(complaints),
        pytest.raises(SystemExit) as ended,
    ):
        main([*words, "--help"])
    assert ended.value.code == 0, f"meshp2p {shlex.join(words)}: {complaints.getvalue()}"
    return printed.getvalue()


@blocks_in("python")
def test_a_python_block_runs(block: Block, tmp_path: Path) -> None:
    code = compile(block.program, block.place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if block.mark.startswith(("not run", "file")):
        return
    program = tmp_path / "program.py"
    program.write_text(block.program)
    empty = tmp_path / "empty"
    empty.mkdir()
    runner = ("-c", NOTEBOOK) if code.co_flags & inspect.CO_COROUTINE else ()
    result = run_python(*runner, str(program), directory=empty)
    assert result.returncode == 0, f"{block.place}:\n{result.stdout}{result.stderr}"


def find_commands_in_file(source: str) -> Iterator[list[str]]:
    """The words of each command in a unit of systemd, a manifest or a Dockerfile, without the program's own name."""
    for command in re.findall(r"(?<![.\w-])meshp2p ([a-z][^\"'&|;#\n]*)", source):
        yield command.split()


@blocks_in("console", "yaml", "ini", "dockerfile")
def test_a_block_names_commands_and_options_that_exist(block: Block) -> None:
    find = find_commands if block.language == "console" else find_commands_in_file
    for words in find(block.source):
        before_dashes = words[: words.index("--")] if "--" in words else words
        known = help_of(tuple(before_dashes)) + help_of(())
        for word in before_dashes:
            option = word.partition("=")[0]
            exists = re.search(rf"{re.escape(option)}(?![\w-])", known) is not None
            assert exists or not option.startswith("--"), f"{block.place}: no option {option}"


PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": lambda text: list(importlib.import_module("yaml").safe_load_all(text)),
    "ini": lambda text: configparser.ConfigParser(strict=False, interpolation=None).read_string(text),
}


@blocks_in(*PARSERS)
def test_a_block_of_data_is_valid(block: Block) -> None:
    PARSERS[block.language](block.source)


@blocks_in("console", "dockerfile", "ini", "yaml")
def test_a_block_names_variables_that_exist(block: Block) -> None:
    named = set(re.findall(r"\bMESHP2P_(?!PYTHONS\b|REWRITE_)[A-Z_]+\b", block.source))
    assert named <= settings._KEYS.keys() | {*settings._OTHER_VARIABLES}, block.place


def test_only_the_marks_of_the_convention_stand_above_a_block() -> None:
    mark = re.compile(r"^[ ]*<!-- (?:not run|continues|printed|file|on)\b.*-->\n", re.MULTILINE)
    for page in PAGES:
        text = page.read_text()
        assert len(mark.findall(text)) == len([match for match in BLOCK.finditer(text) if match["mark"]]), page


def test_the_blocks_of_a_page_are_found_with_their_marks_and_places() -> None:
    page = textwrap.dedent(
        """\
        ```python
        a = 1
        ```

        <!-- continues -->
        ```python
        assert a == 1
        ```

        - in a list
          <!-- not run: for ever -->
          ```python
          while True:
              pass
          ```
        """
    )
    first, second, third = find_blocks(page, "page.md")
    assert first == Block("page.md:1", "python", "", "a = 1\n")
    assert second == Block("page.md:6", "python", "continues", "assert a == 1\n", context="a = 1\n")
    assert third == Block("page.md:12", "python", "not run: for ever", "while True:\n    pass\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("$ meshp2p doctor", ["doctor"]),
        (
            "$ NAME=value meshp2p run --port 7701 --join '[::1]:7700' &",
            ["run", "--port", "7701", "--join", "[::1]:7700"],
        ),
        ("$ meshp2p run \\\n    --port=7701", ["run", "--port=7701"]),
        ("$ .venv/bin/meshp2p list --json | jq .", ["list", "--json"]),
        ("$ meshp2p list >list.txt 2>&1  # kept", ["list"]),
    ],
)
def test_a_command_ends_where_the_shell_takes_over(line: str, words: list[str]) -> None:
    assert list(find_commands(line)) == [words]


@pytest.mark.parametrize("line", ["meshp2p is printed here", "$ curl localhost:7700/health", "$ pip install meshp2p"])
def test_other_lines_are_no_commands_of_ours(line: str) -> None:
    assert list(find_commands(line)) == []
