"""The whole demo: without a terminal, on one, and ended before its end."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from meshp2p.cli.demo_acts import ACTS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, "-m", "meshp2p.cli", "demo")
ON_TERMINAL = (
    *(sys.executable, "-c"),
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])",
)
"""Makes standard input the controlling terminal, so that Ctrl-C is a signal, and becomes the rest of its arguments."""

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}


def assert_agents_are_gone(output: str) -> None:
    pids = {int(pid) for pid in re.findall(r"starts as process (\d+)", output)}
    assert len(pids) >= 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


class Terminal:
    """A terminal of 80 columns and 24 lines with the demo on it."""

    def __init__(self, process: trio.Process, master: int, slave: int) -> None:
        self.process = process
        self.output = b""
        self._slave = slave
        self._is_slave_closed = False
        self._stream = trio.lowlevel.FdStream(master)
        self.before = termios.tcgetattr(slave)

    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self._slave)

    async def type(self, keys: bytes) -> None:
        await self._stream.send_all(keys)

    async def read_until(self, is_enough: Callable[[bytes], bool]) -> None:
        """Read until it is, which must be before the demo ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_for_end, nursery)
            while not is_enough(self.output):
                self.output += await self._stream.receive_some()
            nursery.cancel_scope.cancel()
        assert is_enough(self.output), self.output

    async def read_to_end(self) -> int:
        """Read all that is printed, and return the exit code."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_all)
            code = await self.process.wait()
            self.after = self.attributes()
            self.close_slave()  # then reading ends, when all was read
        return code

    def close_slave(self) -> None:
        if not self._is_slave_closed:
            self._is_slave_closed = True
            os.close(self._slave)

    async def aclose(self) -> None:
        self.close_slave()
        await self._stream.aclose()

    async def _read_all(self) -> None:
        try:
            while True:
                self.output += await self._stream.receive_some()
        except trio.BrokenResourceError:
            pass

    async def _wait_for_end(self, nursery: trio.Nursery) -> None:
        await self.process.wait()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_terminal(*arguments: str) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    command = (*ON_TERMINAL, *DEMO, *arguments)
    process = await trio.lowlevel.open_process(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=ROOT, env=environment()
    )
    terminal = Terminal(process, master, slave)
    try:
        yield terminal
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()  # it takes its agents along
            await process.wait()
            await terminal.aclose()


async def test_without_a_terminal_it_prints_lines_and_a_summary_and_ends_with_0() -> None:
    done = await trio.run_process(
        DEMO, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT, env=environment()
    )
    output = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b""), output
    for number, act in enumerate(ACTS, 1):
        assert f"\n\n{number}. {act.title}\n" in output
    assert "cirrus  says that boreas leads" in output
    assert "GET /registry/agents at each of 3 nodes gives the same answer" in output
    assert "atlas (leads), boreas, cirrus, dione" in output
    summary = output.split(f"All {len(ACTS)} acts went as they should.")[1]
    measured = re.findall(r"^ +[0-9.]+ m?s  to (.+)$", summary, re.MULTILINE)
    assert "agree on the leader, once they see each other" in measured
    assert "have the next leader, from the SIGKILL on" in measured
    assert [line for line in output.splitlines() if len(line) > 80 and "  said: " not in line] == []
    assert "\x1b" not in output
    assert_agents_are_gone(output)


async def test_on_a_terminal_it_draws_and_gives_the_terminal_back_with_the_summary_on_it() -> None:
    async with open_terminal("--pause", "0") as terminal:
        code = await terminal.read_to_end()
        drawn, _, after = terminal.output.partition(LEAVE)
        assert code == 0, terminal.output
        assert terminal.after == terminal.before
    assert drawn.startswith(ENTER)
    assert b"4/7 The leader is killed" in drawn
    assert after.decode().startswith("\r\nAll 7 acts went as they should.")
    assert b"\x1b" not in after
    assert_agents_are_gone(drawn.decode())


async def test_ctrl_c_gives_the_terminal_back_and_ends_the_agents_with_130() -> None:
    async with open_terminal() as terminal:
        await terminal.read_until(lambda output: b"sees atlas" in output)
        assert terminal.attributes() != terminal.before
        await terminal.type(b"what is typed is not shown\x03")
        code = await terminal.read_to_end()
        drawn, _, after = terminal.output.partition(LEAVE)
        assert (code, after) == (130, b"meshp2p demo: interrupted; its agents were killed\r\n")
        assert terminal.after == terminal.before
    assert b"not shown" not in drawn
    assert_agents_are_gone(drawn.decode())


async def test_a_reader_that_goes_away_ends_it_and_its_agents() -> None:
    process = await trio.lowlevel.open_process(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    output = b""
    while b"cirrus  starts as process" not in output or not output.endswith(b"\n"):
        output += await process.stdout.receive_some()
    await process.stdout.aclose()
    complaints = b"".join([data async for data in process.stderr])
    await process.stderr.aclose()
    assert await process.wait() == 1
    assert complaints == b"meshp2p: standard output cannot be written: Broken pipe\n"
    assert_agents_are_gone(output.decode())


async def test_sigterm_ends_it_and_its_agents() -> None:
    process = await trio.lowlevel.open_process(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment()
    )
    assert process.stdout is not None
    output = b""
    async for data in process.stdout:
        output += data
        if b"cirrus  starts as process" in output:
            process.send_signal(signal.SIGTERM)
    await process.stdout.aclose()
    assert await process.wait() == 128 + signal.SIGTERM
    assert_agents_are_gone(output.decode())


async def test_an_agent_that_dies_in_between_ends_it_with_1_and_the_reason() -> None:
    process = await trio.lowlevel.open_process(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment()
    )
    assert process.stdout is not None
    assert process.stderr is not None
    output = b""
    has_killed = False
    async for data in process.stdout:
        output += data
        found = re.search(rb"boreas  starts as process (\d+)\n", output)
        if found is not None and not has_killed:
            has_killed = True
            os.kill(int(found[1]), signal.SIGKILL)
    complaints = b"".join([data async for data in process.stderr]).decode()
    await process.stdout.aclose()
    await process.stderr.aclose()
    assert await process.wait() == 1
    assert complaints == (
        "meshp2p demo: failed in act 1 (they find each other):"
        " boreas, not asked to end, ended with SIGKILL, and said nothing of why\n"
    )
    assert_agents_are_gone(output.decode())
