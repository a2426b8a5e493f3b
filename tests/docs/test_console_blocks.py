"""The console blocks of the README and of each page with an ``on`` or ``file`` mark work, from top to bottom, and print
what the page shows.

The commands of a page run on hosts that are network namespaces on one switch: port 7700 is free there, and nobody else
is discovered. ``on`` marks name the hosts: 10.9.0.1 is the first, 10.9.0.2 the second. Each host has a home directory
of its own, and all commands of a page share one working directory. What differs from run to run is masked.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from simulations.lan.network import Host, open_switch
from tests.docs.test_code_blocks import BLOCKS, ROOT, Block
from tests.hosts.programs import skip_without_namespaces

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # a page starts up to ten processes, one after another

RAN: Final = ("meshp2p ", "curl ", "python ", "pytest ")
"""Commands that are run; what installs is run by ``make test`` itself."""
STAY: Final = ("meshp2p up", "meshp2p invite", "python painter.py")
"""Commands that run until the end, each in a terminal of its own."""
KILL: Final = "pkill -9 -f "
"""A command that kills the terminal of a program, and none outside of the page."""
CODE: Final = re.compile(r"\d+-[a-z]+-[a-z]+-[a-z]+")
"""The code of an invitation, which another command reads."""

MASKS: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "MESH"),
    (re.compile(r"epoch \d+"), "epoch N"),
    (CODE, "CODE"),
    (re.compile(r"\b[\w.-]+@[\w.-]+"), "USER@MACHINE"),
    (re.compile(r"\b[\w.-]+:(77\d\d) "), r"HOST:\1 "),
    (re.compile(r"\b[\w.-]+:\d{5} "), "HOST:PORT "),
    (re.compile(r'"peers":\[.*\]'), '"peers":[...]'),
    (re.compile(r'"should_sync":(true|false)'), '"should_sync":BOOL'),
    (re.compile(r"in \d+\.\d+ ?s\b"), "in N s"),
    (re.compile(r"\(\d+ times"), "(N times"),
    (re.compile(r" +"), " "),
)


def masked(text: str) -> list[str]:
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def steps(block: Block) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.source.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ ").strip(), []))
        elif found:
            found[-1][1].append(line)
    return found


class Terminal:
    """A command that runs until the end, what it has printed so far, and what it has yet to print."""

    def __init__(self, command: list[str], environment: dict[str, str], directory: Path, shown: list[str]) -> None:
        self.printed = ""
        self.expected = masked("\n".join(shown))
        self.process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait_for(self, lines: list[str]) -> None:
        """Return when these lines were printed, in this order, with others between them."""
        assert self.process.stdout is not None
        while True:
            printed = iter(masked(self.printed))
            if all(line in printed for line in lines):
                return
            line = self.process.stdout.readline()
            assert line, f"{lines} expected:\n{self.printed}"
            sys.stdout.write(line)  # shown if the test fails
            self.printed += line

    def runs(self, program: str) -> bool:
        assert isinstance(self.process.args, list)
        return str(self.process.args[-1]).endswith(program)

    def wait_until_settled(self) -> None:
        """Wait for the lines up to the one about the leader, or for the first one: later ones may need other
        commands."""
        leader = [number for number, line in enumerate(self.expected) if line.startswith("leader is")]
        self.wait_for(self.expected[: leader[0] + 1 if leader else 1])


class Page:
    """The run of a page."""

    def __init__(self, hosts: dict[str, Host], directory: Path) -> None:
        self.terminals: list[Terminal] = []
        self._hosts = hosts
        self._host = next(iter(hosts.values()))
        self._directory = directory / "page"
        self._directory.mkdir()
        binaries = directory / "bin"
        binaries.mkdir()
        programs = {"meshp2p": "-m meshp2p", "python": "-u -W error", "pytest": "-m pytest -p no:cacheprovider"}
        for name, arguments in programs.items():
            (binaries / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
            (binaries / name).chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MESHP2P_")}
        for name in ("http_proxy", "https_proxy", "all_proxy", "XDG_DATA_HOME", "CI"):
            kept.pop(name, None)
            kept.pop(name.upper(), None)
        self._environment = kept | {
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def read(self, block: Block) -> None:
        """Do what a block says."""
        if block.mark.startswith("file: "):
            (self._directory / block.mark.removeprefix("file: ")).write_text(block.source)
        if block.mark == "printed":
            self.terminals[-1].expected += masked(block.source)
        if block.language != "console" or block.mark.startswith("not run: "):
            return
        if block.mark.startswith("on: "):
            self._host = self._hosts[block.mark.removeprefix("on: ")]
        for command, shown in steps(block):
            if command.startswith(RAN):
                self._run(command, shown)
            if command.startswith(KILL):
                self._kill(command.removeprefix(KILL))

    def _run(self, command: str, shown: list[str]) -> None:
        words = self._host.command("sh", "-c", f"exec {command}" if command.startswith(STAY) else command)
        home = self._directory.parent / f"home-{self._host.name}"
        home.mkdir(exist_ok=True)
        environment = self._environment | {"HOME": str(home)}
        if command.startswith(STAY):
            self.terminals.append(Terminal(words, environment, self._directory, shown))
            if not shown:
                (own_id,) = re.findall(r"--id (\S+)", command)
                self.terminals[-1].expected = [f"joined {own_id}"]
            self.terminals[-1].wait_until_settled()
            return
        self.wait()
        typed = [CODE.findall(terminal.printed)[-1] for terminal in self.terminals if CODE.search(terminal.printed)]
        done = subprocess.run(
            words,
            cwd=self._directory,
            env=environment,
            input="\n".join(typed),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        wanted = masked("\n".join(line for line in shown if not line.startswith("code: ")))
        assert not shown or masked(done.stdout) == wanted, command

    def _kill(self, program: str) -> None:
        self.wait()
        (terminal,) = (terminal for terminal in self.terminals if terminal.runs(program))
        terminal.process.kill()

    def wait(self) -> None:
        """Wait until all has been printed that is shown."""
        for terminal in self.terminals:
            terminal.wait_for(terminal.expected)

    def close(self) -> None:
        for terminal in self.terminals:
            terminal.process.kill()
            terminal.process.communicate()


@contextlib.contextmanager
def running(name: str, directory: Path) -> Iterator[Page]:
    """Run the blocks of a page; what it started runs until the end of the ``with`` block."""
    blocks = [block for block in BLOCKS if block.place.startswith(f"{name}:")]
    hosts = dict.fromkeys(block.mark.removeprefix("on: ") for block in blocks if block.mark.startswith("on: "))
    with skip_without_namespaces(), open_switch(*(hosts or ["here"])) as network:
        page = Page(network.hosts, directory)
        try:
            for block in blocks:
                page.read(block)
            page.wait()
            yield page
        finally:
            page.close()


MARKED: Final = sorted({block.place.partition(":")[0] for block in BLOCKS if block.mark.startswith(("on: ", "file: "))})


@pytest.mark.parametrize("name", MARKED)
def test_the_console_blocks_of_a_page_print_what_it_shows(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path):
        pass


def test_the_console_blocks_of_the_readme_print_what_it_shows(tmp_path: Path) -> None:
    with running("README.md", tmp_path) as page:
        assert len(page.terminals) == 2
        page.terminals[0].process.kill()
        blocks = (block for block in BLOCKS if block.place.startswith("README.md:"))
        (told,) = (block for block in blocks if block.source.startswith("suspected painter-1"))
        page.terminals[1].wait_for(masked(told.source))


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark.startswith("file: ")], ids=lambda b: b.place)
def test_a_file_of_a_page_is_used_by_a_command_of_it(block: Block) -> None:
    page, name = block.place.partition(":")[0], block.mark.removeprefix("file: ")
    commands = [words for other in BLOCKS if other.place.startswith(f"{page}:") for words, _ in steps(other)]
    assert any(command.startswith(RAN) and name in command for command in commands), block.place
