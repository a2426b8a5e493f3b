"""Scenarios about leadership and membership under difficult conditions: firewalls, deaf nodes, agents that come early
or stop unseen, maps whose holders do not reach each other, and slow networks."""

from __future__ import annotations

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.presets import find_preset
from meshp2p.simulation.scenarios.draft import Draft, scenario
from meshp2p.simulation.schedule import AgentPlan, MapPlan
from meshp2p.virtual.faults import Blocked, Crash, Delayed, Kind, Leave, Partition, Pause, Rejected, Sleep

__all__: list[str] = []


@scenario("early-agents", "agents register at a node that has just begun, and others join it later", duration=60.0)
def _early_agents(draft: Draft) -> None:
    first = draft.names[0]
    for number, every in enumerate((0.3, 0.7)):
        draft.agents.append(AgentPlan(id=f"agent{number}", nodes=(first,), at=0.1 + number / 10, every=every))
    for place, name in enumerate(draft.names[1:]):
        draft.starts[name] = 10.0 + 5.0 * place


@scenario("quorum-agents", "under a quorum a mesh with many agents is cut, and nodes are restarted", duration=180.0)
def _quorum_agents(draft: Draft) -> None:
    names = draft.names
    draft.config = ProtocolConfig(quorum=len(names) // 2 + 1)
    begin = draft.chaos_begin
    for number in range(4):
        nodes = (names[number % len(names)], *names)
        draft.agents.append(AgentPlan(id=f"agent{number}", nodes=tuple(dict.fromkeys(nodes)), at=2.0, every=2.0))
    few = tuple(sorted((names[0], *draft.random.sample(names[1:], len(names) // 2 - 1))))
    rest = tuple(name for name in names if name not in few)
    draft.faults.append(Partition(begin=begin, end=begin + 40.0, groups=(few, rest)))
    for turn in range(4):
        at = round(begin + 65.0 + 12.0 * turn + draft.random.random(), 3)
        draft.faults.append(Crash(begin=at, end=at + 0.5, node=draft.one()))


@scenario("walled", "a firewall lets nobody in to one node, which calls out", least=3, duration=240.0)
def _walled(draft: Draft) -> None:
    one = draft.random.choice(draft.names[1:])
    others = tuple(name for name in draft.names if name != one)
    wall = Rejected(begin=draft.chaos_begin, end=draft.chaos_end, senders=others, receivers=(one,), drops_udp=True)
    draft.faults.append(wall)


@scenario("orphans", "a node is cut off for so long that it gives the agents of the others up", duration=260.0)
def _orphans(draft: Draft) -> None:
    one, *others = draft.random.sample(draft.names, len(draft.names))
    for number, home in enumerate(others[:2]):
        draft.agents.append(AgentPlan(id=f"agent{number}", nodes=(home,), at=2.0, every=2.0))
    cut = Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=((one,), tuple(sorted(others))))
    draft.faults.append(cut)


@scenario("both-gone", "agents stop at the moment at which their home dies", duration=120.0)
def _both_gone(draft: Draft) -> None:
    home = draft.random.choice(draft.names)
    begin = draft.chaos_begin
    for number in range(3):
        draft.agents.append(AgentPlan(id=f"agent{number}", nodes=(home,), at=2.0, until=begin, every=2.0))
    draft.faults.append(Crash(begin=begin, node=home, is_silent=draft.random.random() < 0.5))


@scenario("deaf-agents", "a node hears no UDP while agents of the others stop and deregister", duration=200.0)
def _deaf_agents(draft: Draft) -> None:
    deaf, *others = draft.random.sample(draft.names, len(draft.names))
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.faults.append(Blocked(begin=begin, end=end, nodes=(deaf,), kinds=(Kind.UDP,)))
    for number, home in enumerate(others):
        until = begin + 10.0 + 20.0 * number
        plan = AgentPlan(id=f"agent{number}", nodes=(home,), at=2.0, until=until, every=2.0, deregisters=number % 2 > 0)
        draft.agents.append(plan)


@scenario("churn", "nodes die without a word, one after another, and come back", nodes=8, least=6, duration=180.0)
def _churn(draft: Draft) -> None:
    begin = draft.chaos_begin
    while begin < draft.chaos_end - 10.0:
        end = round(begin + draft.random.uniform(7.0, 9.0), 3)
        draft.faults.append(Crash(begin=round(begin, 3), end=end, node=draft.one(), is_silent=True))
        begin = end + 3.0


@scenario("wan", "round trips of 100 ms and the preset for it: a node crashes, another is restarted", duration=400.0)
def _wan(draft: Draft) -> None:
    draft.config = find_preset("wan").protocol()
    one, other = draft.random.sample(draft.names, 2)
    draft.faults += [
        Delayed(begin=0.0, seconds=0.05, jitter=0.01),
        Crash(begin=120.0, node=one, is_silent=True),
        Leave(begin=200.0, end=210.0, node=other),
    ]


@scenario("maps-apart", "two nodes that cannot call each other open a map, and nobody else has it", nodes=4, least=3)
def _maps_apart(draft: Draft) -> None:
    pair = tuple(draft.random.sample(draft.names[1:], 2))  # who meet through the first
    cut = Partition(begin=0.0, end=40.0, groups=((pair[0],), (pair[1],)), kinds=(Kind.TCP,))
    draft.faults.append(cut)
    draft.maps.append(MapPlan(name="map", nodes=pair, at=5.0, until=35.0, every=1.0, deletions=0.2))


@scenario(
    "maps-forget", "what is deleted on one side of a cut has an older value on the other", least=3, duration=180.0
)
def _maps_forget(draft: Draft) -> None:
    draft.config = ProtocolConfig(map_deleted_retention=600.0)
    begin = draft.chaos_begin
    draft.faults += [
        Partition(begin=begin, end=begin + 60.0, groups=draft.halves()),
        Pause(begin=begin + 80.0, end=begin + 95.0, node=draft.one()),
    ]
    draft.maps.append(MapPlan(name="map", nodes=draft.names, at=5.0, until=begin + 95.0, every=0.5, deletions=0.4))


@scenario("few", "in a mesh of three a machine goes dark", nodes=3, least=3, duration=60.0)
def _few(draft: Draft) -> None:
    draft.faults.append(Crash(begin=draft.chaos_begin, node=draft.one(), is_silent=True))


@scenario(
    "last-one", "all processes but one are killed at the same moment, and their machines live", nodes=3, duration=60.0
)
def _last_one(draft: Draft) -> None:
    begin = draft.chaos_begin + 15.0
    _, *others = draft.random.sample(draft.names, len(draft.names))
    draft.faults += [Crash(begin=begin, node=node) for node in others]


@scenario(
    "late-seed", "nodes are told of one that starts minutes later and knows nobody, and of themselves", duration=200.0
)
def _late_seed(draft: Draft) -> None:
    first, *others = draft.names
    draft.starts[first] = 120.0
    draft.seeds[first] = (first,)
    for name in others:
        draft.seeds[name] = (first, name, *others[:1]) if name != others[0] else (first, name)


@scenario("large-reports", "agents report more than a packet holds", nodes=8)
def _large_reports(draft: Draft) -> None:
    for number in range(3):
        nodes = tuple(draft.random.sample(draft.names, 2))
        size = draft.random.choice((1_500, 6_000))
        plan = AgentPlan(id=f"agent{number}", nodes=nodes, at=2.0 + number, every=2.0, varies=True, metrics_bytes=size)
        draft.agents.append(plan)


@scenario("large-views", "two halves that never met have more to tell than one call holds", nodes=6, duration=90.0)
def _large_views(draft: Draft) -> None:
    draft.config = ProtocolConfig(sync_bytes_max=64 * 1024)
    draft.faults.append(Partition(begin=0.0, end=draft.duration / 2, groups=draft.halves()))
    for number in range(30):
        node = draft.names[number % len(draft.names)]
        plan = AgentPlan(
            id=f"agent{number:02}", nodes=(node,), at=2.0, every=3.0, varies=True, metrics_bytes=7_000, until=None
        )
        draft.agents.append(plan)


@scenario("home-stands", "an agent's only home stands still for as long as it waits for a heartbeat", duration=120.0)
def _home_stands(draft: Draft) -> None:
    home = draft.one()
    draft.agents.append(AgentPlan(id="agent", nodes=(home,), at=2.0, every=2.0))
    begin = draft.chaos_begin
    end = round(begin + draft.random.uniform(15.5, 17.5), 3)
    draft.faults.append(Pause(begin=begin, end=end, node=home))


@scenario("wakes-on-it", "a machine sleeps while it suspects a node, and hears nobody when it wakes", least=4)
def _wakes_on_it(draft: Draft) -> None:
    dies, one, *_ = draft.random.sample(draft.names, len(draft.names))
    rest = tuple(name for name in draft.names if name != one)
    begin = draft.chaos_begin
    draft.faults += [
        Crash(begin=begin, node=dies, is_silent=True),
        Sleep(begin=begin + 3.0, end=begin + 13.0, node=one, clock_stops=False),
        Partition(begin=begin + 12.0, end=begin + 20.0, groups=((one,), rest)),
    ]


@scenario("wakes-alone", "a process is stopped, and cut off from all others before it goes on", least=3)
def _wakes_alone(draft: Draft) -> None:
    one = draft.one()
    rest = tuple(name for name in draft.names if name != one)
    begin = draft.chaos_begin
    draft.faults += [
        Pause(begin=begin, end=begin + 6.0, node=one),
        Partition(begin=begin + 5.0, end=begin + 40.0, groups=((one,), rest)),
    ]
