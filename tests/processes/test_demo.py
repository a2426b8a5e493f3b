"""The whole demo, and its end before its end: no agent outlives it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, str(ROOT / "demo.py"))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def assert_agents_are_gone(output: str) -> None:
    pids = {int(pid) for pid in re.findall(r"starts as process (\d+)", output)}
    assert len(pids) >= 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_it_shows_all_acts_and_a_summary_and_ends_with_0() -> None:
    done = await trio.run_process(
        DEMO, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT, env=environment()
    )
    output = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b""), output
    acts = re.findall(r"^\d\. (.+)$", output, re.MULTILINE)
    assert acts == [
        "They find each other and agree on a leader",
        "Each lists them all over HTTP",
        "The leader is killed",
        "It comes back",
        "An agent that speaks only HTTP",
        "They leave",
    ]
    assert "cirrus  says that boreas leads" in output
    assert "GET /registry/agents at each of 3 nodes gives the same answer" in output
    assert "atlas (leads), boreas, cirrus, dione" in output
    summary = output.split("All went as it should.")[1]
    measured = re.findall(r"^ +[0-9.]+ m?s  to (.+)$", summary, re.MULTILINE)
    assert "agree on the leader, once they see each other" in measured
    assert "have the next leader, from the SIGKILL on" in measured
    assert [line for line in output.splitlines() if len(line) > 80 and "  said: " not in line] == []
    assert "\x1b" not in output
    assert_agents_are_gone(output)


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
    assert complaints == b"demo: failed: [Errno 32] Broken pipe\n"
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
    assert complaints == ("demo: failed: boreas ended with exit status -9\n")
    assert_agents_are_gone(output.decode())
