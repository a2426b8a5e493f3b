"""Scenarios about processes, machines, their clocks and their disks."""

from __future__ import annotations

from meshp2p.core.config import ProtocolConfig
from meshp2p.simulation.scenarios.draft import Draft, scenario
from meshp2p.simulation.schedule import MailPlan
from meshp2p.virtual.faults import (
    ClockRate,
    ClockStep,
    Crash,
    DiskFails,
    DiskFull,
    DiskSlow,
    DiskTorn,
    Leave,
    Lossy,
    OneWay,
    Partition,
    Pause,
    Sleep,
    Slow,
    Twin,
)

__all__: list[str] = []


@scenario("crash", "a node's process dies and does not come back")
def _crash(draft: Draft) -> None:
    draft.faults.append(Crash(begin=draft.chaos_begin, node=draft.one(), is_silent=draft.random.random() < 0.5))


@scenario("killed", "a node's process dies while its machine lives", duration=60.0)
def _killed(draft: Draft) -> None:
    draft.faults.append(Crash(begin=30.0 * draft.duration / 60.0, node=draft.one()))


@scenario("restart", "nodes crash and come back: without their state, at another address, an hour earlier")
def _restart(draft: Draft) -> None:
    for node in draft.random.sample(draft.names, max(1, len(draft.names) // 2)):
        begin = draft.random.uniform(draft.chaos_begin, draft.chaos_end)
        draft.faults.append(
            Crash(
                begin=round(begin, 3),
                end=round(begin + draft.random.uniform(0.1, 30.0), 3),
                node=node,
                is_silent=draft.random.random() < 0.5,
                keeps_state=draft.random.random() < 0.5,
                moves=draft.random.random() < 0.3,
            )
        )
        if draft.random.random() < 0.5:
            draft.faults.append(ClockStep(begin=round(begin - 1.0, 3), node=node, seconds=-3600.0))


@scenario("twin", "a second process is started with the id of a node, and ends later")
def _twin(draft: Draft) -> None:
    draft.faults.append(Twin(begin=draft.chaos_begin, end=draft.duration, node=draft.one()))


@scenario("rolling-restart", "every node is restarted, one after the other", duration=180.0)
def _rolling_restart(draft: Draft) -> None:
    step = (draft.chaos_end - draft.chaos_begin) / len(draft.names)
    for turn, node in enumerate(draft.names):
        begin = draft.chaos_begin + turn * step
        draft.faults.append(Leave(begin=round(begin, 3), end=round(begin + min(3.0, step * 0.7), 3), node=node))


@scenario("sleep", "a machine sleeps and wakes up, its clock having stopped or gone on")
def _sleep(draft: Draft) -> None:
    draft.faults.append(
        Sleep(
            begin=draft.chaos_begin,
            end=draft.chaos_end,
            node=draft.one(),
            clock_stops=draft.random.random() < 0.5,
        )
    )


@scenario("quorum", "under a majority quorum the leader is cut off, falls asleep, stops, dies or leaves", least=3)
def _quorum(draft: Draft) -> None:
    draft.config = ProtocolConfig(quorum=len(draft.names) // 2 + 1)
    lowest, second, *_ = draft.names
    begin = draft.chaos_begin
    while begin < draft.chaos_end - 20.0:
        end = round(begin + draft.random.uniform(2.0, 20.0), 3)
        begin = round(begin, 3)
        few = draft.random.randrange(1, len(draft.names) // 2 + 1)
        side = tuple(sorted((lowest, *draft.random.sample(draft.names[1:], few - 1))))
        rest = tuple(name for name in draft.names if name not in side)
        others = tuple(name for name in draft.names if name != second)
        returns = (  # the second lowest leads, and does not hear that the lowest is back
            Crash(begin=begin, end=end, node=lowest),
            Partition(begin=end - 0.2, end=end + 5.0, groups=((second,), others)),
        )
        draft.faults += draft.random.choice(
            (
                (Partition(begin=begin, end=end, groups=(side, rest)),),
                (OneWay(begin=begin, end=end, senders=side, receivers=rest),),
                (OneWay(begin=begin, end=end, senders=rest, receivers=side),),
                (Sleep(begin=begin, end=end, node=lowest, clock_stops=True),),
                (Pause(begin=begin, end=end, node=lowest),),
                (Crash(begin=begin, end=end, node=draft.one()),),
                (Leave(begin=begin, end=end, node=lowest),),
                returns,
                returns,
            )
        )
        begin = end + draft.random.uniform(5.0, 10.0)


@scenario("pause", "a process is stopped for a while, and goes on")
def _pause(draft: Draft) -> None:
    end = min(draft.chaos_end, draft.chaos_begin + draft.random.uniform(2.0, 60.0))
    draft.faults.append(Pause(begin=draft.chaos_begin, end=round(end, 3), node=draft.one()))


@scenario("hiccup", "processes are stopped for two to three seconds, one after another, which kills nobody")
def _hiccup(draft: Draft) -> None:
    begin = draft.chaos_begin
    while begin < draft.chaos_end - 3.0:
        end = begin + draft.random.uniform(2.0, 3.0)
        draft.faults.append(Pause(begin=round(begin, 3), end=round(end, 3), node=draft.one()))
        begin = end + 5.0


@scenario("well-again", "nodes that were slow, stopped or restarted die long after", least=4, duration=190.0)
def _well_again(draft: Draft) -> None:
    slow, stopped, restarted, *_ = draft.random.sample(draft.names, 4)
    begin = draft.chaos_begin
    draft.faults += [
        Crash(begin=begin, end=begin + 15.0, node=restarted, is_silent=True),
        Crash(begin=begin + 40.0, end=begin + 55.0, node=restarted, is_silent=True),
        Pause(begin=begin + 56.0, end=begin + 68.0, node=stopped),
        Slow(begin=begin + 56.0, end=begin + 66.0, node=slow, seconds=0.3),
        Crash(begin=draft.duration - 30.0, node=slow, is_silent=True),
        Crash(begin=draft.duration - 15.0, node=stopped, is_silent=True),
    ]


@scenario(
    "sleeps-on-it",
    "machines fall asleep one after another while they suspect a node, and do not notice",
    nodes=8,
    least=4,
)
def _sleeps_on_it(draft: Draft) -> None:
    dies, *others = draft.random.sample(draft.names, len(draft.names))
    begin = draft.chaos_begin
    draft.faults.append(Crash(begin=begin, node=dies, is_silent=True))
    for number, node in enumerate(others[:-2]):
        at = round(begin + 2.0 + 0.3 * number, 3)
        draft.faults.append(Sleep(begin=at, end=at + 20.0, node=node, clock_stops=True))


@scenario("seed-leaves", "nodes start just when one of their seeds leaves", nodes=12, least=4)
def _seed_leaves(draft: Draft) -> None:
    first, *others = draft.names
    for number, (leaver, joiner) in enumerate(zip(others[::2], others[1::2], strict=False)):
        at = draft.chaos_begin + 5.0 * number
        draft.starts[joiner] = at
        draft.seeds[joiner] = (leaver, first)
        draft.faults.append(Leave(begin=at + 0.0003 * draft.random.randrange(1, 5), node=leaver))


@scenario("late-news", "a process is stopped while another node dies, and still lists it when it goes on", least=4)
def _late_news(draft: Draft) -> None:
    stopped, dies = draft.random.sample(draft.names, 2)
    draft.faults += [
        Pause(begin=draft.chaos_begin, end=draft.chaos_end, node=stopped),
        Crash(begin=draft.chaos_begin + 1.0, node=dies, is_silent=True),
    ]


@scenario("slow", "a tenth of the nodes is starved of CPU, and 5 % of the datagrams are lost", nodes=20)
def _slow(draft: Draft) -> None:
    draft.faults.append(Lossy(begin=0.0, probability=0.05))
    for node in draft.random.sample(draft.names, max(1, len(draft.names) // 10)):
        draft.faults.append(Slow(begin=draft.chaos_begin, end=draft.chaos_end, node=node, seconds=0.2))


@scenario("join-storm", "all nodes start within half a second, with one seed", nodes=32, least=1, duration=60.0)
def _join_storm(draft: Draft) -> None:
    for name in draft.names[1:]:
        draft.starts[name] = round(draft.random.random() * 0.5, 6)


@scenario("twin-beyond", "a node is cut off, and a second process with its id is started beyond the cut", least=3)
def _twin_beyond(draft: Draft) -> None:
    one, *rest = draft.names
    begin = draft.chaos_begin
    draft.faults += [
        Partition(begin=begin, end=draft.chaos_end, groups=((one,), tuple(rest))),
        Twin(begin=begin + 30.0, end=draft.duration, node=one, beside=draft.random.choice(rest)),
    ]


@scenario("clocks", "clocks run 5 % fast or slow, and wall clocks are set by up to 50 s")
def _clocks(draft: Draft) -> None:
    begin, end = draft.chaos_begin, draft.chaos_end
    for place, node in enumerate(draft.names):
        rate = 1.05 if place % 2 else 0.95
        draft.faults.append(ClockRate(begin=begin, end=end, node=node, rate=rate))
        seconds = round(draft.random.uniform(1.0, 50.0), 1) * draft.random.choice((-1, 1))
        draft.faults.append(ClockStep(begin=begin + 2.0 * place, end=end, node=node, seconds=seconds))


@scenario("disks", "a disk is full, then slow, then fails, and the node's state is torn while agents write", least=3)
def _disks(draft: Draft) -> None:
    begin, end = draft.chaos_begin, draft.chaos_end
    draft.calm = 10.0
    node = draft.names[-1]
    draft.mail += [
        MailPlan(source="from there", nodes=(node,), target=draft.names[0], at=5.0, until=end, every=0.5),
        MailPlan(source="to there", nodes=draft.names[:1], target=node, at=5.0, until=end, every=0.5),
    ]
    third = (end - begin) / 3
    draft.faults += [
        DiskFull(begin=begin, end=begin + third, node=node),
        DiskSlow(begin=begin + third, end=begin + 2 * third, node=node, seconds=0.5),
        DiskFails(begin=begin + 2 * third, end=end - 2.0, node=node),
        DiskTorn(begin=end - 1.5, node=node),
        Crash(begin=end - 1.0, end=end, node=node),
    ]
