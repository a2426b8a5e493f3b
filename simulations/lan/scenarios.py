"""What is done to a mesh on a LAN, and what is waited for. Each ends with right views, or raises
:class:`~simulations.lan.lab.NeverSeen`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec
import trio

from simulations.lan.http import ask
from simulations.lan.lab import SEEN_TIMEOUT, Lab, NeverSeen

__all__ = ["SCENARIOS", "Scenario"]

Topology = Literal["switch", "router"]


class Scenario(msgspec.Struct, frozen=True):
    """A scenario. ``run`` gets a lab of ``hosts`` hosts without nodes. ``is_for_all``: serf has the required
    features."""

    name: str
    run: Callable[[Lab], Awaitable[None]]
    hosts: int = 8
    topology: Topology = "switch"
    is_for_all: bool = True


# Finding one another


async def plain(lab: Lab) -> None:
    """Nothing is wrong with the LAN."""
    lab.start(*lab.names)
    await lab.reach("all started -> whole", lab.names)


async def no_multicast(lab: Lab) -> None:
    """The switch drops multicast."""
    lab.network.stop_multicast()
    lab.start(*lab.names)
    await lab.reach("all started -> whole", lab.names)


async def no_mdns_port(lab: Lab) -> None:
    """All hosts drop UDP port 5353 in both directions."""
    for host in lab.network.hosts.values():
        host.firewall("-A INPUT -p udp --dport 5353 -j DROP", "-A OUTPUT -p udp --dport 5353 -j DROP")
    lab.start(*lab.names)
    await lab.reach("all started -> whole", lab.names)


async def one_seed(lab: Lab) -> None:
    """The switch drops multicast and broadcast, and all but the first know the first."""
    lab.network.stop_multicast()
    lab.network.stop_broadcast()
    lab.start(*lab.names, seeds=lab.names[:1])
    await lab.reach("all started -> whole", lab.names)


async def late_seed(lab: Lab) -> None:
    """Like one seed, but the seed starts last."""
    first, *others = lab.names
    lab.network.stop_multicast()
    lab.network.stop_broadcast()
    lab.start(*others, seeds=[first])
    await lab.reach("(each alone)", *([name] for name in others))
    lab.start(first, seeds=others)
    await lab.reach("seed started -> whole", lab.names)


async def whole(lab: Lab) -> None:
    """Start all nodes with the first as the seed, and wait until each lists all."""
    lab.start(*lab.names, seeds=lab.names[:1])
    await lab.reach("", lab.names)
    del lab.times[""]


# Cuts


async def halves(lab: Lab) -> None:
    """The mesh is cut in two halves."""
    await whole(lab)
    middle = len(lab.names) // 2
    sides = lab.names[:middle], lab.names[middle:]
    lab.network.cut(*sides)
    await lab.reach("cut -> each half right", *sides)
    lab.network.heal()
    await lab.reach("healed -> whole", lab.names)


async def isolated(lab: Lab, calm: float = 0.0) -> None:
    """One host is cut off ``calm`` seconds after the start."""
    await whole(lab)
    await trio.sleep(calm)
    *others, last = lab.names
    lab.network.isolate(last)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lab.reach, "cut -> the others right", others)
        nursery.start_soon(lab.reach, "cut -> it is right", [last])
    lab.network.heal()
    await lab.reach("healed -> whole", lab.names)


async def isolated_in_calm(lab: Lab) -> None:
    """One host is cut off 15 s after the start: many processes that start at once starve, and then wait longer."""
    await isolated(lab, calm=15.0)


async def deaf(lab: Lab) -> None:
    """One host receives nothing, but is received; the others must declare no other node dead."""
    await whole(lab)
    *others, last = lab.names
    lab.network.deafen(last, *others)
    await lab.watch(12.0, others)
    lab.network.heal()
    await lab.reach("healed -> whole", lab.names)


async def mute(lab: Lab) -> None:
    """One host receives everything, but nothing from it arrives."""
    await whole(lab)
    *others, last = lab.names
    for other in others:
        lab.network.deafen(other, last)
    await lab.reach("cut -> the others right", others)
    lab.network.heal()
    await lab.reach("healed -> whole", lab.names)


async def bridge_node(lab: Lab) -> None:
    """Two halves reach only one node in common: no node may be declared dead, and messages pass through it."""
    await whole(lab)
    others = lab.names[1:]
    lab.network.cut(others[::2], others[1::2])
    await lab.watch(12.0, lab.names)
    if lab.system.system == "meshp2p":
        await deliver(lab, others[0], others[1], "cut -> a message passes through it")
    lab.network.heal()
    await lab.reach("healed -> whole", lab.names)


async def deliver(lab: Lab, source: str, target: str, what: str) -> None:
    """Send a message from one node to another, and wait until it is in the mailbox there."""
    began = trio.current_time()
    body = {"target_instance": target, "message_type": "Notification", "payload": "x"}
    status, sent = await ask(lab.network.hosts[source], "POST", f"/messages/send/{source}", body)
    assert status == 200, sent
    with trio.move_on_after(SEEN_TIMEOUT):
        while True:
            _, box = await ask(lab.network.hosts[target], "GET", f"/messages/{target}?wait=2")
            if sent["message_id"] in {message["message_id"] for message in box["messages"]}:
                lab.times[what] = trio.current_time() - began
                return
    raise NeverSeen(f"{what}: not after {SEEN_TIMEOUT:.0f} s")


async def flapping(lab: Lab) -> None:
    """The cable of one host is out for half of each second, ten times; no other node may be declared dead."""
    await whole(lab)
    *others, last = lab.names
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lab.watch, 10.0, others)
        for _ in range(10):
            await lab.network.unplug(last)
            await trio.sleep(0.5)
            lab.network.plug(last)
            await trio.sleep(0.5)
    await lab.reach("last flap -> whole", lab.names)


async def unplugged(lab: Lab) -> None:
    """The cable of one host is pulled, and put back when all know."""
    await whole(lab)
    *others, last = lab.names
    await lab.network.unplug(last)
    await lab.reach("unplugged -> the others right", others)
    lab.network.plug(last)
    await lab.reach("plugged in -> whole", lab.names)


async def moved(lab: Lab) -> None:
    """One host gets another address."""
    await whole(lab)
    lab.network.hosts[lab.names[-1]].move("10.9.0.200/24")
    await lab.watch(3.0, lab.names)
    await lab.reach("address changed -> whole", lab.names)
    await deliver(lab, lab.names[0], lab.names[-1], "address changed -> a message arrives")


# Loss


async def loss(lab: Lab) -> None:
    """40 % of all datagrams are lost: no node may be declared dead."""
    await whole(lab)
    lab.network.lose(0.4, "-p udp")
    await lab.watch(30.0, lab.names)
    lab.network.heal()
    await lab.reach("loss ended -> whole", lab.names)


async def loss_of_all(lab: Lab) -> None:
    """A fifth of all packets is lost, including TCP, from before the start."""
    lab.network.lose(0.2)
    lab.start(*lab.names, seeds=lab.names[:1])
    await lab.reach("all started -> whole", lab.names)


# Processes


async def killed(lab: Lab) -> None:
    """One node is killed and started again."""
    await whole(lab)
    *others, last = lab.names
    lab.nodes[last].kill()
    await lab.reach("killed -> the others right", others)
    lab.restart(last)
    await lab.reach("started again -> whole", lab.names)


async def stopped(lab: Lab) -> None:
    """One process is suspended (SIGSTOP), and resumed when all know."""
    await whole(lab)
    *others, last = lab.names
    lab.nodes[last].stop()
    await lab.reach("stopped -> the others right", others)
    lab.nodes[last].resume()
    await lab.reach("goes on -> whole", lab.names)


async def restarts(lab: Lab) -> None:
    """A recipient is killed and restarted while messages arrive for it: no accepted message is lost."""
    first, second = lab.names[:2]
    lab.start(*(name for name in lab.names if name != second), seeds=[first])
    lab.start(second, seeds=[first], options=["--data-dir", str(lab.directory / "kept")])
    await lab.reach("", lab.names)
    accepted: set[str] = set()
    grown = trio.Condition()
    is_over = False

    async def until_more(count: int) -> None:
        wanted = len(accepted) + count
        async with grown:
            while len(accepted) < wanted:
                await grown.wait()

    async def send() -> None:
        body = {"target_instance": second, "message_type": "Notification", "payload": "x"}
        while not is_over:
            status, answer = await ask(lab.network.hosts[first], "POST", f"/messages/send/{first}", body)
            if status == 200:
                accepted.add(answer["message_id"])
            async with grown:
                grown.notify_all()
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for _ in range(3):
            await until_more(30)
            lab.nodes[second].kill()
            lab.restart(second)
            await lab.reach("", lab.names)
        is_over = True
    began = trio.current_time()
    missing = set(accepted)
    with trio.move_on_after(SEEN_TIMEOUT):
        while missing:
            _, box = await ask(lab.network.hosts[second], "GET", f"/messages/{second}?wait=2")
            taken = [message["message_id"] for message in box["messages"]]
            missing -= {*taken}
            await ask(lab.network.hosts[second], "POST", f"/messages/ack/{second}", {"message_ids": taken})
    if missing:
        raise NeverSeen(f"{len(missing)} of {len(accepted)} accepted messages are lost")
    del lab.times[""]
    lab.times["started again -> all accepted messages are there"] = trio.current_time() - began


async def killed_behind_nat(lab: Lab) -> None:
    """One host is behind NAT; its node is killed and restarted."""
    lab.network.hide(lab.names[-1])
    await killed(lab)


async def firewalls(lab: Lab) -> None:
    """Two hosts admit only answers: messages pass between them through other nodes."""
    *_, one, other = lab.names
    for name in (one, other):
        lab.network.hosts[name].admit_nothing()
    await whole(lab)
    await deliver(lab, one, other, "whole -> a message passes between them")
    await lab.watch(10.0, lab.names)


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario("discovery on a good LAN", plain),
        Scenario("discovery without multicast", no_multicast, is_for_all=False),
        Scenario("discovery without port 5353", no_mdns_port, is_for_all=False),
        Scenario("discovery by one seed", one_seed),
        Scenario("discovery by a late seed", late_seed),
        Scenario("formation with 20 % loss of all", loss_of_all),
        Scenario("halves", halves),
        Scenario("halves of 24", halves, hosts=24),
        Scenario("isolated host", isolated),
        Scenario("isolated host of 24", isolated_in_calm, hosts=24),
        Scenario("deaf host", deaf),
        Scenario("mute host", mute),
        Scenario("bridge node", bridge_node, hosts=7),
        Scenario("flapping cable", flapping),
        Scenario("cable out and in", unplugged),
        Scenario("address change", moved, hosts=4, is_for_all=False),
        Scenario("loss of 40 % UDP", loss),
        Scenario("killed process", killed),
        Scenario("killed process of 40 behind a router", killed, hosts=40, topology="router"),
        Scenario("killed process behind NAT", killed_behind_nat, hosts=4, topology="router", is_for_all=False),
        Scenario("stopped process", stopped),
        Scenario("restarts under message load", restarts, hosts=3, is_for_all=False),
        Scenario("two firewalls", firewalls, hosts=4, topology="router", is_for_all=False),
    )
}
