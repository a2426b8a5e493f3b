"""Scenarios about the network."""

from __future__ import annotations

from meshp2p.simulation.scenarios.draft import Draft, scenario
from meshp2p.virtual.faults import (
    Blocked,
    Bursts,
    Crash,
    Delayed,
    Duplicated,
    Hidden,
    Kind,
    Lossy,
    OneWay,
    Partition,
    Pause,
    Rejected,
    Reordered,
)

__all__: list[str] = []


@scenario("calm", "nothing goes wrong", least=1)
def _calm(draft: Draft) -> None:
    pass


@scenario("partition", "two groups are cut from one another, then meet again")
def _partition(draft: Draft) -> None:
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=draft.halves()))


@scenario("split", "the mesh falls into three or more parts, then heals", nodes=9, least=3)
def _split(draft: Draft) -> None:
    shuffled = draft.random.sample(draft.names, len(draft.names))
    ways = draft.random.randrange(3, min(6, len(shuffled)) + 1)
    groups = tuple(tuple(sorted(shuffled[start::ways])) for start in range(ways))
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=groups))


@scenario("isolate", "one node is cut off from all others, then comes back")
def _isolate(draft: Draft) -> None:
    one = draft.one()
    rest = tuple(name for name in draft.names if name != one)
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=((one,), rest)))


@scenario("isolated", "a side of one node, of a few, of an eighth or up to half of the mesh is cut off", nodes=8)
def _isolated(draft: Draft) -> None:
    count = len(draft.names)
    sizes = sorted({1, 2, 3, count // 8, count // 4, count // 2})
    few = draft.random.choice([size for size in sizes if 1 <= size <= count // 2])
    side = tuple(sorted(draft.random.sample(draft.names, few)))
    rest = tuple(name for name in draft.names if name not in side)
    begin = round(draft.chaos_begin + draft.random.random(), 3)
    draft.faults.append(Partition(begin=begin, end=draft.chaos_end, groups=(side, rest)))


@scenario("isolated-one", "a node of a larger mesh is cut off", nodes=40, duration=60.0)
def _isolated_one(draft: Draft) -> None:
    begin = round(draft.chaos_begin + draft.random.random(), 3)
    one = draft.one()
    rest = tuple(name for name in draft.names if name != one)
    draft.faults.append(Partition(begin=begin, end=draft.chaos_end, groups=((one,), rest)))


@scenario("old-accusations", "processes are stopped for a moment, and many datagrams are seconds late", nodes=8)
def _old_accusations(draft: Draft) -> None:
    draft.faults.append(Delayed(begin=draft.chaos_begin, end=draft.chaos_end, seconds=0.2, jitter=0.1, spikes=0.1))
    begin = draft.chaos_begin
    while begin < draft.chaos_end - 4.0:
        draft.faults.append(Pause(begin=round(begin, 3), end=round(begin + 2.5, 3), node=draft.one()))
        begin += 4.0


@scenario("one-way", "one group cannot send to the other, but hears it")
def _one_way(draft: Draft) -> None:
    senders, receivers = draft.halves()
    draft.faults.append(OneWay(begin=draft.chaos_begin, end=draft.chaos_end, senders=senders, receivers=receivers))


@scenario("bridge", "two groups are cut from one another, and one node sees both", least=3, duration=300.0)
def _bridge(draft: Draft) -> None:
    shuffled = draft.random.sample(draft.names, len(draft.names))[1:]
    cut = draft.random.randrange(1, len(shuffled))
    groups = (tuple(sorted(shuffled[:cut])), tuple(sorted(shuffled[cut:])))
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=groups))


@scenario("hidden", "a node is behind NAT and calls out alone, and mail goes to all", least=3)
def _hidden(draft: Draft) -> None:
    one = draft.random.choice(draft.names[1:])  # nobody can join by a seed that is hidden
    draft.faults.append(Hidden(begin=0.0, end=draft.chaos_end, nodes=(one,)))
    draft.send_mail(until=draft.chaos_end)


@scenario("relayed", "two nodes cannot call each other, each has a way to the others, and mail goes to all", least=3)
def _relayed(draft: Draft) -> None:
    one, other = draft.random.sample(draft.names, 2)
    cut = Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=((one,), (other,)), kinds=(Kind.TCP,))
    draft.faults.append(cut)
    draft.send_mail(until=draft.chaos_end)


@scenario("startup-split", "two groups never met when they start, and the cut between them ends later")
def _startup_split(draft: Draft) -> None:
    draft.faults.append(Partition(begin=0.0, end=draft.duration / 2, groups=draft.halves()))


@scenario("flapping", "the link between two groups goes up and down")
def _flapping(draft: Draft) -> None:
    period = round(draft.random.uniform(0.5, 15.0), 2)
    draft.faults.append(Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=draft.halves(), period=period))


@scenario("lossy", "a tenth of all datagrams is lost, and some come twice or late", nodes=16)
def _lossy(draft: Draft) -> None:
    draft.faults += [
        Lossy(begin=0.0, probability=0.1),
        Duplicated(begin=0.0, probability=0.02),
        Reordered(begin=0.0, probability=0.05),
    ]


@scenario("bursts", "links lose most packets for short times", nodes=16)
def _bursts(draft: Draft) -> None:
    draft.faults.append(Bursts(begin=draft.chaos_begin, end=draft.chaos_end))


@scenario("udp-dead", "UDP is blocked while TCP lives, and a node crashes meanwhile", least=3, duration=300.0)
def _udp_dead(draft: Draft) -> None:
    draft.faults += [
        Blocked(begin=draft.chaos_begin, end=draft.chaos_end, kinds=(Kind.UDP,)),
        Crash(begin=draft.chaos_begin + 1, node=draft.one()),
    ]


@scenario("multicast-dead", "multicast is blocked, so that nodes meet through what they were told", nodes=5)
def _multicast_dead(draft: Draft) -> None:
    draft.multicast_interval = 10.0
    draft.faults.append(Blocked(begin=0.0, kinds=(Kind.MULTICAST,)))


@scenario("refused", "a firewall resets and refuses one node's TCP to another, and drops its UDP", nodes=8, least=6)
def _refused(draft: Draft) -> None:
    sender, receiver = draft.random.sample(draft.names, 2)
    draft.faults.append(
        Rejected(
            begin=draft.chaos_begin + 5.0,
            end=draft.chaos_end,
            senders=(sender,),
            receivers=(receiver,),
            drops_udp=True,
        )
    )


@scenario("rejecting", "a firewall resets and refuses all TCP to one node, whose UDP lives", least=3)
def _rejecting(draft: Draft) -> None:
    one = draft.one()
    others = tuple(name for name in draft.names if name != one)
    draft.faults.append(Rejected(begin=draft.chaos_begin + 5.0, end=draft.chaos_end, senders=others, receivers=(one,)))


@scenario("seeds-gone", "a mesh is split where the only node that the one half was told of is gone", least=5)
def _seeds_gone(draft: Draft) -> None:
    border = len(draft.names) // 2
    before, after = draft.names[:border], draft.names[border + 1 :]
    draft.faults += [
        Crash(begin=draft.chaos_begin, node=draft.names[border]),
        Partition(begin=draft.chaos_begin, end=draft.chaos_end, groups=(before, after)),
    ]
    for place, name in enumerate(draft.names):
        draft.seeds[name] = draft.names[place - 1 : place] if place else draft.names[1:2]
        draft.starts[name] = float(place)


@scenario("deaf", "one node hears no UDP while others are restarted", least=3)
def _deaf(draft: Draft) -> None:
    deaf, *others = draft.random.sample(draft.names, min(3, len(draft.names)))
    draft.faults.append(Blocked(begin=draft.chaos_begin, end=draft.chaos_end, nodes=(deaf,), kinds=(Kind.UDP,)))
    for place, node in enumerate(others):
        begin = draft.chaos_begin + 5.0 + 10.0 * place
        draft.faults.append(Crash(begin=begin, end=begin + 0.5, node=node))
