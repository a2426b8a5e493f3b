"""Nodes behind NAT, behind firewalls, and on a path with a black hole: they receive what others do, or it is told that
they cannot."""

from __future__ import annotations

import pytest
import trio

from tests.hosts.agents import Agent, Lab, open_lab

pytestmark = pytest.mark.slow

SECONDS = 100
LARGE = 300_000


async def meet(*agents: Agent) -> None:
    """Wait until each lists all others."""
    async with trio.open_nursery() as nursery:
        for agent in agents:
            nursery.start_soon(hear_of, agent, [other.name for other in agents if other is not agent])


async def hear_of(agent: Agent, names: list[str]) -> None:
    waiting = set(names)
    while waiting:
        waiting.discard((await agent.hear("MemberJoined"))["id"])


async def exchange(one: Agent, other: Agent, times: int = 1) -> None:
    """A message and a query each way."""
    for sender, receiver in ((one, other), (other, one)):
        sent = await sender.do(do="send", to=receiver.name, payload="x", times=times)
        assert "id" in sent, sent
        assert (await receiver.hear("message", source=sender.name))["size"] == times
        asked = await sender.do(do="query", to=receiver.name, payload="y", times=times)
        assert asked.get("answer") == f"{receiver.name} heard {times}", asked


async def start_three(lab: Lab) -> tuple[Agent, Agent, Agent]:
    open_to_all = await lab.start("a")
    return open_to_all, await lab.start("b", join="a"), await lab.start("c", join="a")


async def test_a_node_behind_nat_receives_messages_and_queries() -> None:
    with trio.fail_after(SECONDS):
        async with open_lab("a", "b", "c") as lab:
            lab.network.hide("c")
            agents = await start_three(lab)
            await meet(*agents)
            for other in agents[:2]:
                await exchange(other, agents[2])
                await exchange(other, agents[2], LARGE)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(True, id="stateful", marks=pytest.mark.long),
        pytest.param(False, id="nothing but answers over TCP"),
    ],
)
async def test_a_node_behind_a_firewall_receives_messages_and_queries(answers: bool) -> None:
    with trio.fail_after(SECONDS):
        async with open_lab("a", "b", "c") as lab:
            lab.network.hosts["c"].admit_nothing(answers=answers)
            agents = await start_three(lab)
            await meet(*agents)
            for other in agents[:2]:
                await exchange(other, agents[2])
                await exchange(other, agents[2], LARGE)


async def test_two_nodes_behind_firewalls_reach_each_other_through_a_third() -> None:
    with trio.fail_after(SECONDS):
        async with open_lab("a", "b", "c") as lab:
            lab.network.hosts["b"].admit_nothing()
            lab.network.hosts["c"].admit_nothing()
            agents = await start_three(lab)
            await meet(*agents)
            await exchange(agents[1], agents[2])
            await exchange(agents[1], agents[2], LARGE)


async def test_a_node_that_may_begin_nothing_is_joined_by_others_and_sends_over_their_connections() -> None:
    with trio.fail_after(SECONDS):
        async with open_lab("a", "b", "c") as lab:
            lab.network.hosts["c"].begin_nothing()
            closed = await lab.start("c")
            agents = await lab.start("a", join="c"), await lab.start("b", join="a"), closed
            await meet(*agents)
            for other in agents[:2]:
                await exchange(other, closed)
                await exchange(other, closed, LARGE)


@pytest.mark.long
async def test_a_node_behind_nat_with_a_forwarded_port_is_joined_at_the_routers_address() -> None:
    with trio.fail_after(SECONDS):
        async with open_lab("a", "b", "c") as lab:
            lab.network.hide("c")
            address = lab.network.forward("c")
            hidden = await lab.start("c")
            first = await lab.start("a", options={"join": [f"{address}:7700"]})
            agents = first, await lab.start("b", join="a"), hidden
            await meet(*agents)
            for other in agents[:2]:
                await exchange(other, hidden)


async def test_when_there_is_no_path_both_sides_and_the_messages_status_say_so() -> None:
    with trio.fail_after(SECONDS):
        async with open_lab("a", "b") as lab:
            one = await lab.start("a")
            other = await lab.start("b", join="a")
            await meet(one, other)
            for name in ("a", "b"):  # from now on TCP passes in neither direction, and UDP does
                lab.network.hosts[name].firewall("-I INPUT -p tcp ! -i lo -j DROP", "-I OUTPUT -p tcp ! -o lo -j DROP")
            sent = await one.do(do="send", to="b", payload="x")
            told = await one.hear("PeerUnreachable", id="b")
            assert told["reason"]
            assert (await other.hear("PeersCannotCall"))["id"] == "a"
            ((status, reason),) = (await one.do(do="status", id=sent["id"]))["status"]
            assert (status, "no path to node 'b'" in reason) == ("queued", True)
            for name in ("a", "b"):
                lab.network.hosts[name].firewall("-D INPUT -p tcp ! -i lo -j DROP", "-D OUTPUT -p tcp ! -o lo -j DROP")
            assert (await other.hear("message", source="a"))["size"] == 1
            await one.hear("PeerReachable", id="b")


async def test_a_path_that_swallows_large_packets_delivers_large_records_and_messages() -> None:
    with trio.fail_after(SECONDS):
        async with open_lab("a", "b") as lab:
            lab.network.narrow("b")
            one = await lab.start("a")
            other = await lab.start("b", join="a")
            await meet(one, other)
            await exchange(one, other, LARGE)
            for agent, seen_by in ((one, other), (other, one)):
                await agent.do(do="report", payload="x", times=7_000)
                await seen_by.hear("MemberUpdated", id=agent.name, status="busy")


async def test_a_killed_node_behind_nat_is_held_dead_by_all() -> None:
    with trio.fail_after(SECONDS):
        async with open_lab("a", "b", "c") as lab:
            lab.network.hide("c")
            agents = await start_three(lab)
            await meet(*agents)
            await exchange(agents[0], agents[2])
            agents[2].kill()
            for other in agents[:2]:
                await other.hear("MemberDied", id="c")
