"""The console blocks of the README work from top to bottom, and print what the README shows.

All of them run in one network namespace of their own, so that port 7700 is free and nobody else is discovered. Each
``meshp2p up`` gets a terminal of its own and runs until the end. What differs from run to run is masked.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from simulations.namespaces import Namespace, explaining, open_namespaces
from tests.docs.test_code_blocks import Block, find_blocks
from tests.hosts.programs import skip_without_namespaces

ROOT = Path(__file__).parents[2]
BLOCKS: Final = list(find_blocks((ROOT / "README.md").read_text(), "README.md"))
RAN: Final = ("meshp2p", "curl")
"""Commands that are run; what installs is run by ``make test`` itself."""

MASKS: Final = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"epoch \d+"), "epoch N"),
    (re.compile(r"\b[\w.-]+:(77\d\d) "), r"HOST:\1 "),
    (re.compile(r'"peers":\[.*\]'), '"peers":[...]'),
    (re.compile(r'"should_sync":(true|false)'), '"should_sync":BOOL'),
    (re.compile(r" +"), " "),
)


def masked(text: str) -> list[str]:
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def steps(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that is shown for it."""
    found: list[tuple[str, str]] = []
    for line in block.source.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line.removeprefix("$ ").strip(), ""))
        elif found:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


class Terminal:
    """A command that runs until the end, and what it has printed so far."""

    def __init__(self, command: str, namespace: Namespace, environment: dict[str, str], directory: Path) -> None:
        self.printed = ""
        self.process = subprocess.Popen(
            namespace.command("sh", "-c", f"exec {command}"),
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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
            self.printed += line


@pytest.mark.timeout(120)
def test_the_console_blocks_of_the_readme_print_what_it_shows(tmp_path: Path) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "meshp2p").write_text(f'#!/bin/sh\nexec {sys.executable} -m meshp2p "$@"\n')
    (binaries / "meshp2p").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }
    terminals: list[Terminal] = []
    ran: list[str] = []
    console = [block for block in BLOCKS if block.language == "console"]
    with skip_without_namespaces(), open_namespaces(1) as (namespace,):
        with explaining():
            namespace.ip("link set lo up")
        try:
            for command, shown in itertools.chain.from_iterable(map(steps, console)):
                if not command.startswith(RAN):
                    continue
                ran.append(command)
                if command.startswith("meshp2p up"):
                    terminals.append(Terminal(command, namespace, environment, tmp_path))
                    lines = masked(shown)
                    terminals[-1].wait_for(lines[:4] if lines else ["joined writer-1"])
                    if not lines:
                        terminals[0].wait_for(["joined writer-1"])
                    continue
                done = subprocess.run(
                    namespace.command("sh", "-c", command),
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
                if shown:
                    assert masked(done.stdout) == masked(shown), command
            assert [command.startswith("meshp2p up") for command in ran].count(True) == 2, ran
            assert len(ran) >= 10, ran

            terminals[0].process.kill()
            (told,) = (block for block in BLOCKS if block.source.startswith("suspected painter-1"))
            terminals[1].wait_for(masked(told.source))
        finally:
            for terminal in terminals:
                terminal.process.kill()
                terminal.process.communicate()
