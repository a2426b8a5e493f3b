"""Scenarios about agents: those that speak only HTTP, messages, shared maps."""

from __future__ import annotations

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.maps.mesh_clock import CLOCK_ERROR_MAX
from meshp2p.simulation.scenarios.draft import Draft, scenario
from meshp2p.simulation.schedule import AgentPlan, MailPlan, MapPlan
from meshp2p.virtual.faults import ClockStep, Crash, Kind, Lossy, Partition, Pause

__all__: list[str] = []


@scenario(
    "homes",
    "agents that speak only HTTP lose the nodes that answer for them, some stop, and a node restarts",
    duration=180.0,
)
def _homes(draft: Draft) -> None:
    for number in range(3):
        nodes = tuple(draft.random.sample(draft.names, min(3, len(draft.names))))
        until = draft.chaos_begin if number == 2 else None
        agent = AgentPlan(id=f"agent{number}", nodes=nodes, at=1.0 + number, until=until, every=2.0, varies=True)
        draft.agents.append(agent)
    draft.agents.append(AgentPlan(id="seldom", nodes=draft.names, at=4.0, every=14.0, varies=True))
    gone = draft.agents[0].nodes[0]
    draft.faults.append(Crash(begin=draft.chaos_begin, node=gone, is_silent=draft.random.random() < 0.5))
    restarted = next(name for name in reversed(draft.names) if name != gone)
    draft.faults.append(Crash(begin=draft.chaos_begin + 3.0, end=draft.chaos_begin + 4.0, node=restarted))


@scenario("looked-up", "nodes are asked for agents just when these report", duration=60.0)
def _looked_up(draft: Draft) -> None:
    for number in range(3):
        nodes = tuple(draft.random.sample(draft.names, min(3, len(draft.names))))
        plan = AgentPlan(id=f"agent{number}", nodes=nodes, at=2.0 + number, every=1.0, varies=True, is_looked_up=True)
        draft.agents.append(plan)


@scenario("goodbye", "agents whose home is cut off go to another node, and some deregister there", least=4)
def _goodbye(draft: Draft) -> None:
    stands, home, *others = draft.random.sample(draft.names, len(draft.names))
    draft.starts[stands] = draft.chaos_begin - 5.0  # until then they talk to another node, which is their home
    nodes = (stands, home, *others)
    begin = draft.chaos_begin + 0.5
    draft.agents += [
        AgentPlan(id="stays", nodes=nodes, at=2.0, every=2.0, varies=True),
        AgentPlan(id="goes", nodes=nodes, at=2.0, every=10.0, until=begin + 1.0, deregisters=True),
        AgentPlan(id="ends", nodes=nodes, at=2.0, every=5.0, until=draft.chaos_end - 10.0, deregisters=True),
    ]
    draft.mail += [
        MailPlan(source=f"to {name}", nodes=(node,), target=name, at=5.0, until=draft.chaos_end, every=2.0, waits=True)
        for name, node in (("goes", others[0]), ("ends", others[-1]), ("stays", others[0]))
    ]
    rest = tuple(sorted((stands, *others)))
    end = begin + draft.random.choice((5.0, 40.0))
    draft.faults += [
        Partition(begin=begin, end=end, groups=((home,), rest)),
        Pause(begin=end + 5.0, end=end + 8.0, node=others[0]),
    ]


@scenario("home-moves", "an agent's home dies while mail waits there, and the agent goes to the next node", least=4)
def _home_moves(draft: Draft) -> None:
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.calm = 10.0
    draft.config = ProtocolConfig(delivery_bytes_max=2000)  # a batch has few of the messages that wait
    *homes, sender = draft.random.sample(draft.names, 4)
    draft.agents.append(AgentPlan(id="agent", nodes=tuple(homes), at=5.0, every=2.0, varies=True))
    for source, node, every in (("sender", sender, 0.05), ("another", homes[-1], 0.3)):
        plan = MailPlan(source=source, nodes=(node,), target="agent", at=6.0, until=end - 5.0, every=every)
        draft.mail.append(plan)
    for place, home in enumerate(homes[:2]):
        at = round(begin + place * 20.0 + draft.random.random(), 3)
        draft.faults.append(Crash(begin=at, end=at + 10.0, node=home, is_silent=draft.random.random() < 0.5))


@scenario("maps", "two groups that are cut from one another, some of whom lose calls, go on writing into one map")
def _maps(draft: Draft) -> None:
    draft.faults += [
        Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=draft.halves()),
        Lossy(begin=0.0, end=draft.chaos_end, probability=0.2, kinds=(Kind.UDP, Kind.TCP)),
    ]
    every = draft.random.choice((0.2, 1.0, 5.0))
    error = 0.4 * CLOCK_ERROR_MAX
    draft.faults += [
        ClockStep(begin=1.0, node=node, seconds=round(draft.random.uniform(-error, error), 3)) for node in draft.names
    ]
    draft.maps.append(MapPlan(name="map", nodes=draft.names, at=5.0, until=draft.chaos_end, every=every, deletions=0.3))


@scenario("home-forgets", "a node is killed while messages wait in its mailbox, and comes back without them")
def _home_forgets(draft: Draft) -> None:
    draft.calm = 10.0
    home = draft.names[-1]
    every = round(draft.random.uniform(0.05, 0.2), 3)
    begin = draft.chaos_begin + draft.random.random()
    draft.mail.append(MailPlan(source="sender", nodes=draft.names[:1], target=home, at=5.0, until=begin, every=every))
    draft.faults.append(Crash(begin=begin, end=begin + 5, node=home, is_silent=True, keeps_state=False))


@scenario(
    "mail", "agents write to one another while a node crashes, the network is cut, and connections break", least=3
)
def _mail(draft: Draft) -> None:
    names = draft.names
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.calm = 10.0
    draft.agents += [AgentPlan(id=f"agent{n}", nodes=names[n:] + names[:n], at=2.0, every=3.0) for n in range(2)]
    everybody = [*names, *(agent.id for agent in draft.agents)]
    for number, node in enumerate(names):
        target = "" if number == 0 else everybody[draft.random.randrange(0, len(everybody))]
        draft.mail.append(
            MailPlan(source=f"sender{number}", nodes=(node,), target=target, at=5.0, until=end, every=0.5 + number / 4)
        )
    crashed = names[1:] if len(names) > 3 else names[2:]
    victim = crashed[draft.random.randrange(0, len(crashed))]
    draft.faults += [
        Lossy(begin=begin, end=end, probability=0.05, kinds=(Kind.UDP, Kind.TCP)),
        Crash(begin=begin + 5, end=begin + 10, node=victim, keeps_state=draft.random.random() < 0.5),
        Partition(begin=begin + 20, end=begin + 40, groups=draft.halves()),
    ]


@scenario("home-returns", "an agent's home is back before the agent's next heartbeat, while mail waits for it")
def _home_returns(draft: Draft) -> None:
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.calm = 10.0
    home, sender = draft.random.sample(draft.names, 2)
    draft.agents.append(AgentPlan(id="agent", nodes=(home,), at=5.0, every=5.0))
    draft.mail.append(MailPlan(source="sender", nodes=(sender,), target="agent", at=6.0, until=end, every=0.5))
    while begin < end - 5.0:
        down = draft.random.choice((0.01, 0.3, 1.0, 3.0))
        is_silent = draft.random.random() < 0.5
        draft.faults.append(Crash(begin=round(begin, 3), end=round(begin + down, 3), node=home, is_silent=is_silent))
        begin += draft.random.uniform(10.0, 15.0)


@scenario("full", "mailboxes and outboxes are as small as they may be, and payloads have up to a megabyte", least=3)
def _full(draft: Draft) -> None:
    end = draft.chaos_end
    draft.calm = 10.0
    draft.config = ProtocolConfig(
        mailbox_messages_max=5,
        mailbox_bytes_max=2_000_000,
        outbox_copies_max=20,
        outbox_bytes_max=4_000_000,
        receipts_max=2,
        waits_max=1,
    )
    for number, node in enumerate(draft.names):
        target = "" if number == 0 else draft.names[0]
        plan = MailPlan(source=f"sender{number}", nodes=(node,), target=target, at=5.0, until=end, every=1.0)
        draft.mail.append(msgspec.structs.replace(plan, bytes_max=1_000_000))
    draft.faults.append(Crash(begin=draft.chaos_begin, end=draft.chaos_begin + 20.0, node=draft.names[1]))


@scenario("full-bytes", "a mailbox has room for few of the messages that waited for its home", least=3)
def _full_bytes(draft: Draft) -> None:
    draft.calm = 10.0
    draft.config = ProtocolConfig(mailbox_bytes_max=30_000)  # a batch has more
    begin, end = draft.chaos_begin, draft.chaos_begin + 8.0
    home, *senders = draft.names
    for number, node in enumerate(senders):
        plan = MailPlan(source=f"sender{number}", nodes=(node,), target=home, at=begin, until=end + 5.0, every=0.1)
        draft.mail.append(msgspec.structs.replace(plan, bytes_max=20_000))
    draft.faults.append(Crash(begin=begin + 0.1, end=end, node=home, is_silent=True))


@scenario(
    "mail-restarts",
    "nodes that hold mail are restarted with their disks while they are cut from its recipients for minutes",
    least=4,
    duration=240.0,
)
def _mail_restarts(draft: Draft) -> None:
    names = draft.names
    first, last = names[0], names[-1]
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.calm = 10.0
    for number, (node, target) in enumerate(((first, ""), (first, last), (last, first), (last, ""))):
        draft.mail.append(
            MailPlan(source=f"sender{number}", nodes=(node,), target=target, at=5.0, until=begin + 80, every=1.3)
        )
    draft.faults.append(Partition(begin=begin + 5, end=end, groups=(names[:2], names[2:])))
    for node in (first, last):
        at = begin
        for _ in range(3):
            at += draft.random.uniform(8.0, 20.0)
            draft.faults.append(Crash(begin=round(at, 3), end=round(at + 1.0, 3), node=node))
