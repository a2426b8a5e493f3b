"""The demo's acts: what is done to the agents, what must come of it, and what is measured."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec
import trio

from meshp2p.cli.demo_agents import Agent, Agents, DemoFailed, Expectation
from meshp2p.cli.demo_story import Act, Row, Story, Tone
from meshp2p.client import MeshClient
from meshp2p.errors import MeshError
from meshp2p.wire.contract import InstancesResponse

__all__ = ["ACTS", "Play"]

FIRST, SECOND, THIRD = "atlas", "boreas", "cirrus"
CAPABILITIES: Final = {FIRST: "plan", SECOND: "summarise", THIRD: "translate"}
GUEST: Final = "dione"
"""The agent that only speaks HTTP. Its id is the greatest, so it never leads."""

LIMIT: Final = 60.0
"""Seconds that anything may take before the demo gives up. Chosen, not measured: ten times what it takes."""

HTTP_POLL_INTERVAL: Final = 0.05
"""Seconds between two looks at what an HTTP request must show in the end. Chosen, not measured."""

ACTS: Final = (
    Act(
        "find",
        "They find each other",
        "Three processes start that know nothing of each other: no address, no registry, only the name of their mesh."
        " Each announces itself by mDNS and looks for others.",
    ),
    Act(
        "elect",
        "They agree on a leader",
        "The lowest live id leads. Nobody votes: each node looks at its own view, and the leader's claim travels with"
        " an epoch, a number that only grows.",
    ),
    Act(
        "list",
        "Each lists them all over HTTP",
        "Every node answers for the whole mesh. GET /registry/agents is asked of each of them, and the answers are"
        " compared.",
    ),
    Act(
        "kill",
        "The leader is killed",
        "SIGKILL: it cannot say goodbye. Probes of it fail, so its peers suspect it, and leave it time to say that it"
        " lives. As it does not, they hold it dead, and the next lowest id leads.",
    ),
    Act(
        "return",
        "It comes back",
        "The same id starts again, as a new process that remembers nothing. It is the lowest once more, so it leads:"
        " with a greater epoch, so that nobody takes its old word for its new one.",
    ),
    Act(
        "http",
        "An agent that only speaks HTTP",
        f"{GUEST} runs no node. It registers at one, sends its heartbeat to another, is listed at the third, and"
        " deregisters there: which node it asks makes no difference.",
    ),
    Act(
        "leave",
        "They leave",
        "SIGTERM: a node tells the others that it goes. When the leader leaves, the next takes over at once: there is"
        " nothing to suspect, and nothing to wait for.",
    ),
)


class Play:
    """Plays the acts with these agents. ``pause`` is how many seconds a reader gets after each act."""

    def __init__(self, agents: Agents, pause: float) -> None:
        self._agents = agents
        self._story: Story = agents.story
        self._pause = pause
        self._guest_row: Row | None = None
        self._first_agreement: Expectation
        self._found_at: float
        self._story.rows = self._rows

    async def run(self) -> None:
        """Play them all. Raises :class:`DemoFailed`."""
        parts = (self._find, self._elect, self._list, self._kill, self._return, self._http, self._leave)
        for part in parts:
            self._story.begin_next_act()
            await trio.sleep(self._pause / 2)
            try:
                await part()
            except MeshError as error:  # of an HTTP request
                raise DemoFailed(str(error)) from error
            await trio.sleep(self._pause)
        self._story.begin_next_act()

    async def _find(self) -> None:
        began = trio.current_time()
        for instance_id, capability in CAPABILITIES.items():
            await self._agents.start(instance_id, capability)
        self._first_agreement = self._expect_leader(FIRST, epoch_above=0)  # it may come while the reader reads
        at = await self._wait_for_members(set(CAPABILITIES))
        self._found_at = at
        self._story.measure("to start and find each other by mDNS", at - began)

    async def _elect(self) -> None:
        at = await self._agents.wait_for(self._first_agreement, LIMIT)
        self._story.tell(f"all say that {FIRST} leads, which is the lowest id", tone=Tone.GOOD)
        self._story.measure("to agree on the leader, once they see each other", at - self._found_at)

    async def _list(self) -> None:
        await self._wait_for_same_list(FIRST, set(CAPABILITIES))

    async def _kill(self) -> None:
        leader = self._agents.by_id[FIRST]
        epoch, began = leader.epoch, trio.current_time()
        self._story.tell(f"SIGKILL to process {leader.pid}", who=FIRST, tone=Tone.BAD)
        leader.signal(signal.SIGKILL)
        at = await self._agents.wait_until(f"somebody misses {FIRST}", LIMIT, self._somebody_misses_first)
        self._story.measure("to miss the killed leader", at - began)
        await self._wait_for_members({SECOND, THIRD})
        at = await self._wait_for_leader(SECOND, epoch_above=epoch)
        self._story.measure("to have the next leader, from the SIGKILL on", at - began)
        await self._wait_for_same_list(SECOND, {SECOND, THIRD})

    async def _return(self) -> None:
        epoch, began = self._agents.by_id[SECOND].epoch, trio.current_time()
        await self._agents.start(FIRST, CAPABILITIES[FIRST])
        await self._wait_for_members(set(CAPABILITIES))
        at = await self._wait_for_leader(FIRST, epoch_above=epoch)
        self._story.measure("to start the first again and have it lead", at - began)
        await self._wait_for_same_list(FIRST, set(CAPABILITIES))

    async def _http(self) -> None:
        home, other, third = (self._agents.by_id[instance_id] for instance_id in (SECOND, THIRD, FIRST))
        everybody = {*CAPABILITIES, GUEST}
        async with _open_client(home) as client:
            began = trio.current_time()
            self._story.tell(f"POST /registry/register at {home.id}", who=GUEST)
            await client.register(GUEST, "demo", 9, ["paint"])
        self._show_guest("listed")
        at = await self._wait_for_members(everybody)
        self._story.measure("to list an HTTP registration at all nodes", at - began)
        await trio.sleep(self._pause / 2)

        async with _open_client(other) as client:
            heartbeat = await client.heartbeat(GUEST, "busy", {"queue": 3})
        if not heartbeat.acknowledged:
            raise DemoFailed(f"{other.id} did not take the heartbeat of {GUEST}, which registered at {home.id}")
        self._story.tell(f"POST /registry/heartbeat/{GUEST} at {other.id}: 'busy', acknowledged", who=GUEST)
        self._show_guest("busy")
        await self._wait_for_busy_guest(third)
        await self._wait_for_same_list(FIRST, everybody)
        await trio.sleep(self._pause / 2)

        async with _open_client(third) as client:
            began = trio.current_time()
            self._story.tell(f"DELETE /registry/deregister/{GUEST} at {third.id}", who=GUEST)
            if not await client.deregister(GUEST):
                raise DemoFailed(f"{third.id} knew no {GUEST} to deregister")
        at = await self._wait_for_members(set(CAPABILITIES))
        self._story.measure("to take it off the list at all nodes", at - began)
        self._guest_row = None

    async def _leave(self) -> None:
        leader = self._agents.by_id[FIRST]
        epoch, began = leader.epoch, trio.current_time()
        self._story.tell(f"SIGTERM to process {leader.pid}", who=FIRST)
        leader.signal(signal.SIGTERM)
        at = await self._wait_for_leader(SECOND, epoch_above=epoch)
        self._story.measure("to have the next leader, from the SIGTERM on", at - began)
        await trio.sleep(self._pause / 2)
        for agent in self._agents.running():
            if agent is not leader:
                self._story.tell(f"SIGTERM to process {agent.pid}", who=agent.id)
                agent.signal(signal.SIGTERM)
        await self._agents.wait_until("all have ended", LIMIT, lambda: not self._agents.running())
        self._story.tell("all processes have ended, with exit code 0", tone=Tone.GOOD)

    # What is waited for

    def _rows(self) -> list[Row]:
        rows = [agent.row() for _, agent in sorted(self._agents.by_id.items())]
        return rows if self._guest_row is None else [*rows, self._guest_row]

    def _show_guest(self, state: str) -> None:
        self._guest_row = Row(GUEST, state, "(asks any node)", "", "", Tone.GOOD, False)

    def _staying(self) -> list[Agent]:
        return [agent for agent in self._agents.running() if agent.state != "leaving"]

    def _somebody_misses_first(self) -> bool:
        return any(agent.members.get(FIRST, True) for agent in self._staying())

    async def _wait_for_members(self, ids: set[str]) -> float:
        """Return when each lists these and no others."""
        what = f"each lists {', '.join(sorted(ids))}"
        return await self._agents.wait_until(
            what, LIMIT, lambda: all(agent.members.keys() == ids for agent in self._staying())
        )

    async def _wait_for_leader(self, leader_id: str, *, epoch_above: int) -> float:
        """Return when all say that this one leads."""
        return await self._agents.wait_for(self._expect_leader(leader_id, epoch_above=epoch_above), LIMIT)

    def _expect_leader(self, leader_id: str, *, epoch_above: int) -> Expectation:
        """Expect that all say that this one leads, in the same greater epoch."""

        def all_agree() -> bool:
            agents = self._staying()
            is_named = all(agent.names(leader_id, epoch_above=epoch_above) for agent in agents)
            return is_named and len({agent.epoch for agent in agents}) == 1

        what = f"all say that {leader_id} leads in an epoch above {epoch_above}"
        return self._agents.expect(what, all_agree)

    async def _wait_for_same_list(self, leader_id: str, ids: set[str]) -> None:
        """Return when each node answers with this leader and these instances, and all answers are the same."""
        agents = self._staying()
        answers: list[InstancesResponse] = []

        async def look() -> bool:
            answers[:] = [await _list_at(agent) for agent in agents]
            is_complete = {instance.instance_id for instance in answers[0].instances} == ids
            return is_complete and answers[0].leader_id == leader_id and all(answer == answers[0] for answer in answers)

        await self._poll("the same list at each node", look, lambda: _differences(agents, answers))
        names = (f"{one.instance_id}{' (leads)' if one.is_leader else ''}" for one in answers[0].instances)
        self._story.tell(f"GET /registry/agents at each of {len(agents)} nodes gives the same answer:")
        self._story.tell(f"  {', '.join(names)}", tone=Tone.GOOD)

    async def _wait_for_busy_guest(self, agent: Agent) -> None:
        seen: list[str | None] = []

        async def look() -> bool:
            async with _open_client(agent) as client:
                detail = await client.get_instance(GUEST)
            seen[:] = [None if detail is None else detail.status]
            return detail is not None and detail.status == "busy" and detail.metrics == {"queue": 3}

        await self._poll(f"{agent.id} shows {GUEST} as 'busy'", look, lambda: f"it shows {seen}")
        self._story.tell(f"GET /registry/agents/{GUEST} at {agent.id}: it is 'busy'", who=GUEST, tone=Tone.GOOD)

    async def _poll(self, what: str, look: Callable[[], Awaitable[bool]], say: Callable[[], str]) -> None:
        """Look until it is so. Raises :class:`DemoFailed`, with what ``say`` says, where it never is."""
        with trio.move_on_after(LIMIT):
            while True:
                if await look():
                    return
                await trio.sleep(HTTP_POLL_INTERVAL)
        raise DemoFailed(f"not within {LIMIT:g} s: {what}; {say()}")


@contextlib.asynccontextmanager
async def _open_client(agent: Agent) -> AsyncIterator[MeshClient]:
    if agent.url is None:
        raise DemoFailed(f"{agent.id} did not say where it serves")
    async with MeshClient(agent.url, timeout=10) as client:
        yield client


async def _list_at(agent: Agent) -> InstancesResponse:
    """What this node lists, without the times of the last signs of life, which go on while one node after the other is
    asked."""
    async with _open_client(agent) as client:
        answer = await client.list_instances()
    instances = [msgspec.structs.replace(instance, last_heartbeat="") for instance in answer.instances]
    return InstancesResponse(instances, answer.leader_id)


def _differences(agents: list[Agent], answers: list[InstancesResponse]) -> str:
    pairs = zip(agents, answers, strict=False)
    return "; ".join(f"{agent.id} answers {msgspec.json.encode(answer).decode()}" for agent, answer in pairs)
