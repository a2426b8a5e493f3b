"""Shows a small mesh at work on this machine. ``make demo`` runs it.

Three agents, each a process ``meshp2p up --json``, find one another, agree on a leader, lose it and get it back. This
script learns of an agent only from what it prints and from its HTTP interface.

Exit status: 0 if all was shown, 1 if not (standard error says why), 128 and the number of the signal that ended it.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

import trio

CAPABILITIES = {"atlas": "plan", "boreas": "summarise", "cirrus": "translate"}
FIRST, SECOND, THIRD = CAPABILITIES
GUEST = "dione"  # it speaks only HTTP

LIMIT = 60.0  # seconds that anything may take: ten times what it takes; chosen, not measured
PAUSE = 1.5 if sys.stdout.isatty() else 0.0  # seconds to read after each act; chosen, not measured
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class DemoFailed(Exception):
    """The demo did not show what it promises. The message is one line."""


class Agent:
    """One process, and what it has said of the mesh."""

    def __init__(self, name: str, mesh: str) -> None:
        self.name = name
        self.url: str = ""
        self.members: set[str] = set()
        self.suspects: set[str] = set()
        self.leader: str | None = None
        self.epoch: int = 0
        self.end_expected: int | None = None
        """The exit status with which it is to end; None while it is to run."""
        self.has_ended: bool = False
        self.process: trio.Process
        self.command: list[str] = [
            *(sys.executable, "-m", "meshp2p", "up", "--json", "--id", name, "--mesh", mesh),
            *("--host", "127.0.0.1", "--port", "0", "--capability", CAPABILITIES[name]),
        ]

    def end(self, number: signal.Signals) -> None:
        """Send a signal that ends it."""
        self.end_expected = -number if number is signal.SIGKILL else 0
        self.process.send_signal(number)

    def take(self, event: dict[str, Any]) -> str:
        """Note an event that it printed. Returns a line about it, empty if it needs none."""
        kind, member = event.get("type"), event.get("instance") or event.get("leader") or {}
        who, home = str(member.get("instance_id")), member.get("home")
        match kind:
            case "ready":
                self.url = event["url"]
                return f"serves at {self.url}"
            case "member_joined":
                self.members.add(who)
                hosted = f", which {home} answers for" if home != who else ""
                return f"sees {who}{hosted}" if who != self.name else ""
            case "member_suspected":
                self.suspects.add(who)
                return f"suspects {who}, which does not answer"
            case "member_recovered":
                self.suspects.discard(who)
                return f"heard from {who} again"
            case "member_died" | "member_left":
                self.members.discard(who)
                self.suspects.discard(who)
                return f"declares {who} dead" if kind == "member_died" else f"heard that {who} left"
            case "leader_changed":
                self.leader, self.epoch = member.get("instance_id"), member.get("epoch", 0)
                leads = "leads" if self.leader == self.name else f"says that {self.leader} leads"
                return f"{leads}, epoch {self.epoch}" if self.leader and self.epoch else ""
            case _:
                return ""

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send an HTTP request to its node; the answer's JSON. Blocks. Raises :class:`DemoFailed`."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise DemoFailed(f"{method} {path} at {self.name}: {error}") from error
        finally:
            connection.close()
        if response.status >= 300:
            raise DemoFailed(f"{method} {path} at {self.name}: {response.status} {data.decode(errors='replace')}")
        return json.loads(data) if data else None


class Demo:
    """The agents, and the clock that every printed line shows."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.agents: dict[str, Agent] = {}
        self.measured: list[str] = []
        self._nursery = nursery
        self._mesh = f"demo-{secrets.token_hex(3)}"  # no other mesh has this name
        self._began = trio.current_time()
        self._changed = trio.Event()
        self._acts = 0

    # What is shown

    async def begin(self, title: str, text: str) -> None:
        """Begin an act."""
        if self._acts:
            await trio.sleep(PAUSE)
        self._acts += 1
        print(f"\n{self._acts}. {title}")
        print(textwrap.fill(text, 80, initial_indent="   ", subsequent_indent="   "), flush=True)

    def tell(self, who: str, text: str) -> None:
        print(f"{trio.current_time() - self._began:7.2f}  {who:6}  {text}", flush=True)

    def measure(self, what: str, began: float) -> None:
        """Print how long something took that ends now."""
        seconds = trio.current_time() - began
        shown = f"{seconds * 1000:.0f} ms" if seconds < 0.1 else f"{seconds:.2f} s"
        self.measured.append(f"{shown:>7}  {what}")
        self.tell("", f"{shown} {what}")

    # Agents

    async def start(self, name: str) -> None:
        self.agents[name] = agent = Agent(name, self._mesh)
        await self._nursery.start(self._run, agent)

    async def _run(self, agent: Agent, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the process to its end, which must be the expected one. It is killed if this is cancelled."""
        with trio.CancelScope(shield=True):
            agent.process = await trio.lowlevel.open_process(
                agent.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends its agents
            )
        stdout, last = agent.process.stdout, ""
        assert stdout is not None  # noqa: S101 - it is a pipe
        try:
            self.tell(agent.name, f"starts as process {agent.process.pid}")
            task_status.started()
            rest = b""
            async for data in stdout:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    last = self._take(agent, line.decode(errors="replace")) or last
            status = await agent.process.wait()
        finally:
            with trio.CancelScope(shield=True):
                if agent.process.returncode is None:
                    agent.process.kill()
                await agent.process.wait()
                await stdout.aclose()
        if status != agent.end_expected:
            raise DemoFailed(f"{agent.name} ended with exit status {status}{f': {last}' if last else ''}")
        agent.has_ended = True
        self._wake()

    def _take(self, agent: Agent, line: str) -> str:
        """Tell what an agent printed; the line, if it is no event."""
        complaint = ""
        try:
            text = agent.take(json.loads(line))
        except ValueError:
            complaint = line if line.isprintable() else ascii(line)
            text = f"said: {complaint}"
        if text:
            self.tell(agent.name, text)
        self._wake()
        return complaint

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def staying(self) -> list[Agent]:
        """The agents that run and were not told to end."""
        return [agent for _, agent in sorted(self.agents.items()) if agent.end_expected is None]

    # What is waited for

    async def wait_until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait for what agents say. Raises :class:`DemoFailed` after ``LIMIT`` seconds."""
        with trio.move_on_after(LIMIT):
            while not holds():
                await self._changed.wait()
            return
        seen = "; ".join(f"{each.name} sees {sorted(each.members)}, led by {each.leader}" for each in self.staying())
        raise DemoFailed(f"not within {LIMIT:g} s: {what}; {seen}")

    async def wait_for_members(self, names: Collection[str]) -> None:
        wanted = set(names)
        await self.wait_until(
            f"each lists {sorted(wanted)}", lambda: all(each.members == wanted for each in self.staying())
        )

    async def wait_for_leader(self, name: str, *, above: int = 0) -> None:
        """Wait until all say that this one leads, in one epoch above that."""

        def is_agreed() -> bool:
            claims = {(each.leader, each.epoch) for each in self.staying()}
            return len(claims) == 1 and all(leader == name and epoch > above for leader, epoch in claims)

        await self.wait_until(f"all say that {name} leads in an epoch above {above}", is_agreed)

    async def wait_for_answer(
        self, what: str, request: Callable[[], Any], is_right: Callable[[Any], bool] = bool
    ) -> Any:
        """Ask by HTTP until the answer is right."""
        answer = None
        with trio.move_on_after(LIMIT):
            while True:
                answer = await trio.to_thread.run_sync(request, abandon_on_cancel=True)
                if is_right(answer):
                    return answer
                await trio.sleep(0.05)
        raise DemoFailed(f"not within {LIMIT:g} s: {what}; the answer is {answer}")

    async def compare_lists(self, leader: str, names: Collection[str]) -> None:
        """Ask each node who is in the mesh; all must give the same answer."""
        nodes = self.staying()

        def ask_all() -> list[Any]:
            answers = [node.ask("GET", "/registry/agents") for node in nodes]
            return [(each["leader_id"], sorted(one["instance_id"] for one in each["instances"])) for each in answers]

        right = [(leader, sorted(names))] * len(nodes)
        await self.wait_for_answer("the same list at each node", ask_all, lambda answers: bool(answers == right))
        self.tell("", f"GET /registry/agents at each of {len(nodes)} nodes gives the same answer:")
        self.tell("", "  " + ", ".join(f"{name} (leads)" if name == leader else name for name in sorted(names)))


async def play(demo: Demo) -> None:
    """Show the main job of meshp2p, act by act. Raises :class:`DemoFailed`."""
    everybody = set(CAPABILITIES)

    await demo.begin(
        "They find each other and agree on a leader",
        "Three processes start. Each knows only the name of its mesh: no address, no registry. It announces itself by"
        " mDNS and looks for others. The lowest live id leads. Nobody votes: each node looks at its own list, and the"
        " leader's claim has an epoch, a number that only grows.",
    )
    began = trio.current_time()
    for name in CAPABILITIES:
        await demo.start(name)
    await demo.wait_for_members(everybody)
    demo.measure("to start and find each other by mDNS", began)
    found = trio.current_time()
    await demo.wait_for_leader(FIRST)
    demo.measure("to agree on the leader, once they see each other", found)

    await demo.begin(
        "Each lists them all over HTTP",
        "Every node answers for the whole mesh. Each is asked who is there, and the answers are compared.",
    )
    await demo.compare_lists(FIRST, everybody)

    await demo.begin(
        "The leader is killed",
        "SIGKILL: it cannot say goodbye. Its connections break and probes of it fail, so others suspect it, check it,"
        " and declare it dead. The next lowest id leads.",
    )
    leader, began = demo.agents[FIRST], trio.current_time()
    demo.tell(FIRST, f"SIGKILL to process {leader.process.pid}")
    leader.end(signal.SIGKILL)
    await demo.wait_until(
        f"somebody suspects {FIRST}",
        lambda: any(FIRST in each.suspects or FIRST not in each.members for each in demo.staying()),
    )
    demo.measure("to suspect the killed leader", began)
    await demo.wait_for_members(everybody - {FIRST})
    await demo.wait_for_leader(SECOND, above=leader.epoch)
    demo.measure("to have the next leader, from the SIGKILL on", began)
    await demo.compare_lists(SECOND, everybody - {FIRST})

    await demo.begin(
        "It comes back",
        "The same id starts again as a new process. It is the lowest, so it leads again. Its epoch is greater, so that"
        " its new claim can be told from the old one.",
    )
    epoch, began = demo.agents[SECOND].epoch, trio.current_time()
    await demo.start(FIRST)
    await demo.wait_for_members(everybody)
    await demo.wait_for_leader(FIRST, above=epoch)
    demo.measure("to start the first again and have it lead", began)
    await demo.compare_lists(FIRST, everybody)

    await demo.begin(
        "An agent that speaks only HTTP",
        f"{GUEST} runs no node. It registers at one node, sends its heartbeat to another, is listed at the third, and"
        " deregisters there. It makes no difference which node it asks.",
    )
    home, other, third = (demo.agents[name] for name in (SECOND, THIRD, FIRST))
    began = trio.current_time()
    demo.tell(GUEST, f"POST /registry/register at {home.name}")
    profile = {"instance_id": GUEST, "hostname": "demo", "port": 9, "capabilities": ["paint"], "agent_profiles": []}
    await trio.to_thread.run_sync(home.ask, "POST", "/registry/register", profile, abandon_on_cancel=True)
    await demo.wait_for_members({*everybody, GUEST})
    demo.measure("to list an HTTP registration at all nodes", began)
    path, beat = f"/registry/heartbeat/{GUEST}", {"status": "busy", "metrics": {"queue": 3}}
    await demo.wait_for_answer(
        "a heartbeat", lambda: other.ask("POST", path, beat), lambda it: bool(it["acknowledged"])
    )
    demo.tell(GUEST, f"POST {path} at {other.name}: 'busy', acknowledged")
    path = f"/registry/agents/{GUEST}"
    await demo.wait_for_answer(
        f"{third.name} shows {GUEST} as busy", lambda: third.ask("GET", path), lambda it: bool(it["status"] == "busy")
    )
    demo.tell(GUEST, f"GET {path} at {third.name}: it is 'busy'")
    await demo.compare_lists(FIRST, {*everybody, GUEST})
    began = trio.current_time()
    demo.tell(GUEST, f"DELETE /registry/deregister/{GUEST} at {third.name}")
    await trio.to_thread.run_sync(third.ask, "DELETE", f"/registry/deregister/{GUEST}", abandon_on_cancel=True)
    await demo.wait_for_members(everybody)
    demo.measure("to take it off the list at all nodes", began)

    await demo.begin(
        "They leave",
        "SIGTERM: a node tells the others that it goes. When the leader leaves, the next one takes over at once.",
    )
    leader, began = demo.agents[FIRST], trio.current_time()
    demo.tell(FIRST, f"SIGTERM to process {leader.process.pid}")
    leader.end(signal.SIGTERM)
    await demo.wait_for_leader(SECOND, above=leader.epoch)
    demo.measure("to have the next leader, from the SIGTERM on", began)
    for agent in demo.staying():
        demo.tell(agent.name, f"SIGTERM to process {agent.process.pid}")
        agent.end(signal.SIGTERM)
    await demo.wait_until("all have ended", lambda: all(agent.has_ended for agent in demo.agents.values()))
    demo.tell("", "all processes have ended, with exit status 0")

    print("\nAll went as it should. Measured on this machine:\n")
    print("\n".join(f"  {line}" for line in demo.measured), flush=True)


async def run() -> int:
    """Play the demo; its exit status. Whatever ends it, its agents end with it."""
    ended_by = 0
    # A signal that the parent ignores (nohup) stays ignored.
    numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*numbers) as received:
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as nursery:

                async def watch() -> None:
                    nonlocal ended_by
                    async for number in received:  # until all has ended: a second signal changes nothing
                        ended_by = ended_by or number
                        nursery.cancel_scope.cancel()

                watching.start_soon(watch)
                await play(Demo(nursery))
                nursery.cancel_scope.cancel()
            watching.cancel_scope.cancel()
    if ended_by:
        print("demo: interrupted; its agents were killed", file=sys.stderr)
    return 128 + ended_by if ended_by else 0


def main() -> int:
    """Run the demo. If it fails, print why."""
    failure: BaseException
    try:
        return trio.run(run)
    except* (DemoFailed, OSError) as group:
        failure = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if isinstance(failure, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes standard output when it ends
    print(f"demo: failed: {failure}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
