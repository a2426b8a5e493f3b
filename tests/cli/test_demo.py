"""The demo's parts: what an agent's lines mean, what is said of an agent that fails, and how the picture fits."""

from __future__ import annotations

import os
import signal
import sys

import msgspec
import pytest
import trio

from meshp2p.cli import main
from meshp2p.cli.demo_acts import ACTS
from meshp2p.cli.demo_agents import Agents, DemoFailed
from meshp2p.cli.demo_story import Row, Story, Tone, show_seconds
from meshp2p.cli.demo_view import Line, picture

READY = {"event": "ready", "id": "a", "url": "http://127.0.0.1:1"}
LISTS_B = {"event": "joined", "id": "b", "home": "b"}


def says(*events: object, then: str = "") -> str:
    """A program that prints these events, each a line, and goes on with ``then``."""
    lines = [msgspec.json.encode(event).decode() for event in events]
    return f"import sys\nfor line in {lines!r}: print(line, flush=True)\n{then}"


class Stage:
    """Agents that are these programs."""

    def __init__(self, nursery: trio.Nursery, **programs: str) -> None:
        self.story = Story("test", ACTS)
        self.failures: list[Exception] = []
        self.failed = trio.Event()
        self._programs = programs
        self.agents = Agents(self.story, nursery, self._fail, self._command)

    def _command(self, instance_id: str, mesh: str, capability: str) -> tuple[str, ...]:
        return (sys.executable, "-c", self._programs[instance_id])

    def _fail(self, error: Exception) -> None:
        self.failures.append(error)
        self.failed.set()

    def texts(self) -> list[str]:
        return [f"{entry.who}: {entry.text}" for entry in self.story.entries]


async def failure_of(program: str) -> tuple[str, int]:
    """What is said of an agent that fails, as it is this program, and its process id."""
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery, a=program)
        await stage.agents.start("a", "any")
        pid = stage.agents.by_id["a"].pid
        await stage.failed.wait()
    assert [type(failure) for failure in stage.failures] == [DemoFailed]
    return str(stage.failures[0]), pid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_an_agent_that_dies_is_reported_with_the_last_that_it_said() -> None:
    reason, pid = await failure_of(
        "import sys; print('no room', file=sys.stderr); print('    +-----', file=sys.stderr); sys.exit(3)"
    )
    assert reason == "a, not asked to end, ended with exit code 3: no room"
    assert not is_alive(pid)


async def test_what_an_agent_complains_of_is_told_without_what_moves_the_cursor() -> None:
    complaint = "import sys, signal; print('late by \\x1b[2J1 s', file=sys.stderr, flush=True); signal.pause()"
    told = trio.Event()
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery, a=complaint)
        await stage.agents.start("a", "any")
        stage.story.listener = lambda _: told.set()
        await told.wait()
        nursery.cancel_scope.cancel()
    assert stage.texts()[-1] == r"a: said: late by \x1b[2J1 s"


async def test_an_agent_that_a_stranger_kills_is_reported_with_the_signal() -> None:
    reason, _ = await failure_of("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert reason == "a, not asked to end, ended with SIGKILL, and said nothing of why"


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("print('hello', flush=True); import signal; signal.pause()", "b'hello'"),
        ("print('[1, 2]', flush=True); import signal; signal.pause()", "b'[1, 2]'"),
        ("print('{\"event\": 7}', flush=True); import signal; signal.pause()", "b'{\"event\": 7}'"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\n'); sys.stdout.flush(); input()", "b'\\xff'"),
        ("print('x' * 2_000_000, end='', flush=True); import signal; signal.pause()", f"b'{'x' * 100}'"),
    ],
)
async def test_an_agent_that_prints_garbage_is_reported_with_it_and_ended(program: str, shown: str) -> None:
    reason, pid = await failure_of(program)
    assert reason == f"a printed what is no event: {shown}"
    assert not is_alive(pid)


async def test_no_agent_outlives_its_nursery_whatever_it_does_about_signals() -> None:
    stubborn = "import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n" + says(
        READY, then="signal.pause()"
    )
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery, a=stubborn)
        await stage.agents.start("a", "any")
        await stage.agents.wait_until("it is up", 60, lambda: stage.agents.by_id["a"].state == "up")
        pid = stage.agents.by_id["a"].pid
        nursery.cancel_scope.cancel()
    assert not is_alive(pid)
    assert stage.failures == []


async def test_what_agents_say_is_told_and_counted() -> None:
    events = (
        READY,
        {"event": "joined", "id": "a", "home": "a"},
        LISTS_B,
        {"event": "joined", "id": "g", "home": "b"},
        {"event": "leader", "leader_id": "b", "previous_id": None, "epoch": 0},
        {"event": "leader", "leader_id": "b", "previous_id": "b", "epoch": 2},
        {"event": "an event of a later version", "id": "b"},
        {"event": "suspected", "id": "b", "home": "b"},
        {"event": "recovered", "id": "b", "home": "b"},
        {"event": "died", "id": "b", "home": "b"},
        {"event": "left", "id": "g", "home": "b"},
        {"event": "leader", "leader_id": None, "previous_id": "b", "epoch": 0},
    )
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery, a=says(*events, then="import signal; signal.pause()"))
        await stage.agents.start("a", "any")
        agent = stage.agents.by_id["a"]
        is_leaderless = stage.agents.expect(
            "it knows no leader",
            lambda: (
                agent.members.keys() == {"a"}
                and agent.leader_id is None
                and agent.epoch == 0
                and len(stage.story.entries) > 9
            ),
        )
        await stage.agents.wait_for(is_leaderless, 60)
        nursery.cancel_scope.cancel()
    assert stage.texts() == [
        f"a: starts as process {agent.pid}",
        "a: serves at http://127.0.0.1:1",
        "a: sees b",
        "a: sees g, which b answers for",
        "a: says that b leads, epoch 2",
        "a: suspects b, which does not answer",
        "a: heard from b again",
        "a: holds b dead",
        "a: heard that g deregistered",
        "a: knows no leader",
    ]
    assert agent.members == {"a": False}


async def test_what_did_not_come_is_reported_with_what_the_agents_say_instead() -> None:
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery, a=says(READY, LISTS_B, then="import signal; signal.pause()"))
        await stage.agents.start("a", "any")
        await stage.agents.wait_until("b is seen", 60, lambda: "b" in stage.agents.by_id["a"].members)
        with pytest.raises(DemoFailed, match=r"^not within 0 s: it rains; a says nobody leads and sees b$"):
            await stage.agents.wait_until("it rains", 0, lambda: False)
        nursery.cancel_scope.cancel()


async def test_an_agent_that_was_told_to_leave_must_end_with_0() -> None:
    rude = "import signal, sys; signal.signal(15, lambda *_: sys.exit('I will not'))\n" + says(
        READY, then="signal.pause()"
    )
    async with trio.open_nursery() as nursery:
        stage = Stage(nursery, a=rude)
        await stage.agents.start("a", "any")
        agent = stage.agents.by_id["a"]
        await stage.agents.wait_until("it is up", 60, lambda: agent.state == "up")
        agent.signal(signal.SIGTERM)
        await stage.failed.wait()
    assert str(stage.failures[0]) == "a, asked to leave, ended with exit code 1: I will not"


def shown(line: Line) -> str:
    return "".join(text for text, _ in line)


def a_row(number: int, tone: Tone = Tone.GOOD) -> Row:
    return Row(f"agent{number}", "up", "http://127.0.0.1:65535", "agent1, epoch 12", "4, 1 in doubt", tone, number == 1)


@pytest.mark.parametrize("act_index", range(-1, len(ACTS) + 1))
async def test_the_picture_fits_80_by_24_with_room_for_what_happens(act_index: int) -> None:
    story = Story("demo-123456", ACTS)
    story.rows = lambda: [a_row(number) for number in range(1, 5)]
    story.act_index = act_index
    for number in range(50):
        story.tell(f"entry {number}", who="agent1")
    lines = [shown(line) for line in picture(story, 80, 24)]
    assert len(lines) == 24
    assert lines[-1].endswith("entry 49")
    assert sum("entry" in line for line in lines) >= 7
    assert max(map(len, lines)) <= 80
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 5), (40, 10), (60, 14), (300, 100)])
async def test_a_picture_has_no_more_lines_than_the_terminal(width: int, height: int) -> None:
    story = Story("demo-123456", ACTS)
    story.rows = lambda: [a_row(1, tone) for tone in Tone]
    story.begin_next_act()
    story.tell("first")
    assert len(picture(story, width, height)) <= height


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 ms"), (0.0714, "71 ms"), (0.1, "0.10 s"), (12.345, "12.35 s")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text


@pytest.mark.parametrize("value", ["-1", "11", "nan", "soon", ""])
def test_a_pause_out_of_range_is_refused_in_one_line(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["demo", f"--pause={value}"])
    assert exit_info.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"meshp2p demo: argument --pause: {value!r}: expected seconds from 0 to 10 (see meshp2p demo --help)\n"
    )
