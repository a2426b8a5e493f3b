"""The demo's agents: ``meshp2p up --json``, each a process of its own, and what each of them says.

All that the demo knows of an agent is what the process prints, timed by this process's clock when the line arrives.
"""

from __future__ import annotations

import collections
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import trio

from meshp2p.cli.demo_story import Row, Story, Tone
from meshp2p.cli.output import printable

__all__ = ["Agent", "Agents", "DemoFailed", "Expectation", "node_command"]

LINE_BYTES_MAX: Final = 1 << 20
"""The longest line that is taken from an agent. Chosen, not measured."""

STDERR_LINES_MAX: Final = 12
"""So much of what an agent said on its standard error is kept. Chosen, not measured."""


class DemoFailed(Exception):
    """The demo did not show what it promises. The message is one line."""


class Line(msgspec.Struct):
    """One line that an agent printed: the fields that the demo reads, of those that ``meshp2p up --json`` prints."""

    event: str
    id: str | None = None
    url: str | None = None
    home: str | None = None
    leader_id: str | None = None
    epoch: int = 0


def node_command(instance_id: str, mesh: str, capability: str) -> tuple[str, ...]:
    """How to start a node that knows only its id and its mesh, and that only this machine reaches."""
    return (
        *(sys.executable, "-m", "meshp2p.cli", "up", "--json", "--id", instance_id, "--mesh", mesh),
        *("--host", "127.0.0.1", "--port", "0", "--capability", capability),
    )


class Agent:
    """One process, and what is known of it by what it printed."""

    def __init__(self, instance_id: str, command: tuple[str, ...]) -> None:
        self.id = instance_id
        self.state: str = "starting"
        self.pid: int = 0
        self.url: str | None = None
        self.members: dict[str, bool] = {}
        """By id, whether it is suspected."""
        self.leader_id: str | None = None
        self.epoch = 0
        self.stderr: collections.deque[str] = collections.deque(maxlen=STDERR_LINES_MAX)
        self.end_is_expected: bool = False
        self._command = command

    @property
    def is_running(self) -> bool:
        return self.state in ("starting", "up", "leaving")

    def names(self, leader_id: str, *, epoch_above: int) -> bool:
        """Whether it says that this one leads, and has its claim of a greater epoch."""
        return self.leader_id == leader_id and self.epoch > epoch_above

    async def run(
        self,
        heard: Callable[[Line, float], None],
        complained: Callable[[str], None],
        ended: Callable[[int], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run the process to its end: ``heard`` is called with each line and the time it arrived, ``complained``
        with each of standard error, ``ended`` with the exit code. It is killed when this is cancelled.

        Raises :class:`DemoFailed` when it cannot be started or says what is no event; then it has ended too.
        """
        try:
            with trio.CancelScope(shield=True):
                process = await trio.lowlevel.open_process(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is for the demo, which then ends its agents
                )
        except OSError as error:
            raise DemoFailed(f"{self.id} cannot be started: {error}") from error
        self.pid = process.pid
        failures: list[DemoFailed] = []
        try:
            task_status.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_stderr, process, complained)
                try:
                    await self._read_events(process, heard)
                except DemoFailed as failure:
                    failures.append(failure)
                    nursery.cancel_scope.cancel()
            if not failures:
                ended(await process.wait())
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
                for stream in (process.stdout, process.stderr):
                    if stream is not None:
                        await stream.aclose()
        if failures:
            raise failures[0]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal that ends it."""
        self.end_is_expected = True
        self.state = "killed" if number is signal.SIGKILL else "leaving"
        os.kill(self.pid, number)

    async def _read_events(self, process: trio.Process, heard: Callable[[Line, float], None]) -> None:
        stream = process.stdout
        if stream is None:
            return
        text = b""
        async for data in stream:
            now = trio.current_time()
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                heard(self._decode(line), now)
            if len(text) > LINE_BYTES_MAX:
                self._decode(text)

    def _decode(self, line: bytes) -> Line:
        try:
            if len(line) <= LINE_BYTES_MAX:
                return msgspec.json.decode(line, type=Line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        raise DemoFailed(f"{self.id} printed what is no event: {line[:100]!r}")

    async def _read_stderr(self, process: trio.Process, complained: Callable[[str], None]) -> None:
        if process.stderr is None:
            return
        text = ""
        async for data in process.stderr:
            *lines, text = (text + data.decode(errors="replace")).split("\n")
            for line in lines:
                self._keep_complaint(line, complained)
            text = text[-LINE_BYTES_MAX:]
        self._keep_complaint(text, complained)

    def _keep_complaint(self, line: str, complained: Callable[[str], None]) -> None:
        if line.strip():
            self.stderr.append(printable(line.rstrip()))
            complained(self.stderr[-1])

    def row(self) -> Row:
        """It as a row of the table."""
        suspects = sum(self.members.values())
        doubts = f", {suspects} in doubt" if suspects else ""
        if self.state != "up":
            tone = Tone.BAD if self.state == "killed" else Tone.PLAIN
            return Row(self.id, self.state, self.url or "", "", "", tone, False)
        leader = "nobody" if self.leader_id is None else self.leader_id
        claim = f", epoch {self.epoch}" if self.epoch else ""
        tone = Tone.DOUBT if suspects else Tone.GOOD
        sees = f"{len(self.members)}{doubts}"
        return Row(self.id, self.state, self.url or "", leader + claim, sees, tone, self.leader_id == self.id)


class Expectation:
    """Something that should become so, and ``at`` when it first was."""

    def __init__(self, what: str, holds: Callable[[], bool]) -> None:
        self.what = what
        self.met: trio.Event = trio.Event()
        self.at: float = math.inf
        self._holds = holds

    def look(self, now: float) -> bool:
        """Whether it is, or was, so."""
        if not self.met.is_set() and self._holds():
            self.at = now
            self.met.set()
        return self.met.is_set()


class Agents:
    """All of them. ``fail`` is told when one ends or speaks as it should not."""

    def __init__(
        self,
        story: Story,
        nursery: trio.Nursery,
        fail: Callable[[Exception], None],
        make_command: Callable[[str, str, str], tuple[str, ...]] = node_command,
    ) -> None:
        self.story = story
        self.by_id: dict[str, Agent] = {}
        self._nursery = nursery
        self._fail = fail
        self._make_command = make_command
        self._expectations: list[Expectation] = []

    def running(self) -> list[Agent]:
        """Those that run, by id."""
        return [agent for _, agent in sorted(self.by_id.items()) if agent.is_running]

    async def start(self, instance_id: str, capability: str) -> None:
        """Start a process under this id; it takes the place of one that has ended."""
        agent = Agent(instance_id, self._make_command(instance_id, self.story.mesh, capability))
        self.by_id[instance_id] = agent
        await self._nursery.start(self._run, agent)
        self.story.tell(f"starts as process {agent.pid}", who=instance_id)

    def expect(self, what: str, holds: Callable[[], bool]) -> Expectation:
        """Note from now on when ``holds()`` is true for the first time."""
        expectation = Expectation(what, holds)
        self._expectations.append(expectation)
        expectation.look(trio.current_time())
        return expectation

    async def wait_for(self, expectation: Expectation, limit: float) -> float:
        """Return the time at which it was first so: when the line arrived that made it so.

        Raises :class:`DemoFailed`, which says what was waited for and what the agents say instead, after ``limit``
        seconds.
        """
        with trio.move_on_after(limit):
            await expectation.met.wait()
            return expectation.at
        states = "; ".join(_say_state(agent) for _, agent in sorted(self.by_id.items()))
        raise DemoFailed(f"not within {limit:g} s: {expectation.what}; {states}")

    async def wait_until(self, what: str, limit: float, holds: Callable[[], bool]) -> float:
        """Expect it and wait for it."""
        return await self.wait_for(self.expect(what, holds), limit)

    async def _run(self, agent: Agent, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            await agent.run(
                partial(self._heard, agent),
                partial(self._complained, agent),
                partial(self._ended, agent),
                task_status=task_status,
            )
        except DemoFailed as failure:
            self._fail(failure)

    def _heard(self, agent: Agent, line: Line, at: float) -> None:
        told = _take(agent, line)
        if told is not None:
            self.story.tell(told[0], who=agent.id, tone=told[1], at=at)
        self._wake(at)

    def _complained(self, agent: Agent, line: str) -> None:
        self.story.tell(f"said: {line}", who=agent.id, tone=Tone.DOUBT)

    def _ended(self, agent: Agent, exit_code: int) -> None:
        was_killed = agent.state == "killed"
        if not agent.end_is_expected or exit_code != (-signal.SIGKILL if was_killed else 0):
            words = [line.strip(" |+-") for line in agent.stderr]  # without the frame of a group of exceptions
            said = next((f": {line}" for line in reversed(words) if line), ", and said nothing of why")
            asked = f"asked to {'die' if was_killed else 'leave'}" if agent.end_is_expected else "not asked to end"
            agent.state = "ended"
            self._fail(DemoFailed(f"{agent.id}, {asked}, ended with {_say_exit(exit_code)}{said}"))
            return
        if not was_killed:
            agent.state = "left"
        self._wake(trio.current_time())

    def _wake(self, at: float) -> None:
        self._expectations = [expectation for expectation in self._expectations if not expectation.look(at)]


def _take(agent: Agent, line: Line) -> tuple[str, Tone] | None:
    """Change what is known of the agent by what it said, and say it for people; None where it is of no interest."""
    name = line.id or ""
    is_hosted = line.home is not None and line.home != line.id
    match line.event:
        case "ready":
            agent.state, agent.url = "up", line.url
            return f"serves at {line.url}", Tone.PLAIN
        case "joined":
            agent.members[name] = False
            if name == agent.id:
                return None
            return f"sees {name}{f', which {line.home} answers for' if is_hosted else ''}", Tone.PLAIN
        case "suspected":
            agent.members[name] = True
            return f"suspects {name}, which does not answer", Tone.DOUBT
        case "recovered":
            agent.members[name] = False
            return f"heard from {name} again", Tone.GOOD
        case "died":
            agent.members.pop(name, None)
            return f"holds {name} dead", Tone.BAD
        case "left" if line.id is not None:
            agent.members.pop(name, None)
            return f"heard that {name} {'deregistered' if is_hosted else 'leaves'}", Tone.PLAIN
        case "left":
            return "has left the mesh", Tone.PLAIN
        case "leader":
            agent.leader_id, agent.epoch = line.leader_id, line.epoch
            if line.leader_id is None:
                return "knows no leader", Tone.DOUBT
            if line.epoch == 0:
                return None  # its claim is on its way
            leads = "leads" if line.leader_id == agent.id else f"says that {line.leader_id} leads"
            return f"{leads}, epoch {line.epoch}", Tone.GOOD
        case _:
            return None


def _say_state(agent: Agent) -> str:
    if agent.state != "up":
        return f"{agent.id} is {agent.state}"
    members = ", ".join(f"{name}{' (suspected)' if is_suspect else ''}" for name, is_suspect in agent.members.items())
    leader = "nobody leads" if agent.leader_id is None else f"{agent.leader_id} leads in epoch {agent.epoch}"
    return f"{agent.id} says {leader} and sees {members or 'nobody'}"


def _say_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"
