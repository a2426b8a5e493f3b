"""Runs for pictures: a real one, and one made by hand whose ids can be any text."""

from __future__ import annotations

import functools

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Datagram, Gossip, Ping
from meshp2p.core.events import Grounds, InstanceDied, InstanceJoined, InstanceSuspected, LeadershipChanged
from meshp2p.core.record import Record, Rumour, State, tag_of
from meshp2p.simulation.checkers import Violation
from meshp2p.simulation.network import Traffic
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import AgentPlan, MailPlan, MapPlan, NodePlan, Schedule
from meshp2p.simulation.simulation import Result, Simulation
from meshp2p.virtual.faults import Crash, Partition
from meshp2p.virtual.trace import Trace, TraceEntry, What


class Run(msgspec.Struct, frozen=True):
    trace: Trace
    schedule: Schedule
    result: Result

    def first(self, detail: type, what: What = What.EVENT) -> TraceEntry:
        return next(entry for entry in self.trace if entry.what is what and isinstance(entry.detail, detail))


@functools.cache
def a_partition() -> Run:
    """Five nodes that are cut in two, run on the simulator."""
    simulation = Simulation(build_schedule("partition", Options(seed=3, nodes=5)), trace=True)
    result = simulation.run()
    assert simulation.trace is not None
    return Run(simulation.trace, simulation.schedule, result)


@functools.cache
def with_mail_and_maps() -> Run:
    """Three nodes with an agent, messages for it, and a map, for ten seconds."""
    names = ("n0", "n1", "n2")
    schedule = Schedule(
        scenario="mail-and-maps",
        seed=3,
        duration=10.0,
        nodes=tuple(NodePlan(id=name, seeds=("n0",)) for name in names),
        agents=(AgentPlan(id="agent", nodes=("n2",), at=2.0),),
        mail=(MailPlan(source="boss", nodes=("n1",), target="agent", at=3.0, until=9.0),),
        maps=(MapPlan(name="board", nodes=names, at=3.0, until=9.0, every=0.2),),
    )
    simulation = Simulation(schedule, trace=True)
    result = simulation.run()
    assert simulation.trace is not None
    return Run(simulation.trace, schedule, result)


def a_record(name: str, state: State = State.ALIVE) -> Record:
    return Record(
        id=name,
        incarnation=1_700_000_000_000,
        state=state,
        home=name,
        boot=1,
        addresses=(Address("10.0.0.1", 7700),),
        hostname="h",
        port=7700,
        capabilities=(),
        profiles=(),
        created_at=0,
    )


def found_by(
    kind: type[InstanceSuspected | InstanceDied], record: Record, by: str, ping: int = 0
) -> InstanceSuspected | InstanceDied:
    """A verdict on a node that did not answer this ping, after a suspicion of two seconds."""
    return kind(record, None, by, "silent", Grounds((by,), (), 5.0, 7.0, 1.0, 0, ping))


def by_hand(one: str = "n0", two: str = "n1", three: str = "n2", *, message: str = "") -> Run:
    """Ten seconds: three nodes start, the third is cut off at 3 s and held dead at 7 s, the second crashes at 8 s.

    With a ``message`` the run ends with a violation.
    """
    partition = Partition(begin=3.0, end=9.0, groups=((one, two), (three,)))
    crash = Crash(begin=8.0, node=two)
    schedule = Schedule(
        scenario="by-hand",
        seed=7,
        duration=10.0,
        nodes=tuple(NodePlan(id=name) for name in (one, two, three)),
        faults=(partition, crash),
    )
    trace = Trace()
    for name in (one, two, three):
        start = trace.add(0.0, name, What.START)
        timer = trace.add(1.0, name, What.TIMER, cause=start)
        for other in (one, two, three):
            trace.add(1.0, name, What.EVENT, "", InstanceJoined(a_record(other)), timer)
        trace.add(1.0, name, What.EVENT, "", LeadershipChanged(one, None, 1), timer)
    trace.add(3.0, "", What.FAULT, "", partition)
    timer = trace.add(4.0, one, What.TIMER)
    ping = trace.add(4.0, one, What.SEND, three, Datagram(Ping(5, tag_of(one), tag_of(three), 0)), timer)
    trace.add(4.0, three, What.DROP, one, "Partition", ping)
    timer = trace.add(5.0, one, What.TIMER, cause=timer)
    rumour = Datagram(Gossip(tag_of(one)), (Rumour(three, 1_700_000_000_000, State.SUSPECT, one),))
    trace.add(5.0, one, What.EVENT, "", found_by(InstanceSuspected, a_record(three, State.SUSPECT), one, 5), timer)
    gossip = trace.add(5.0, one, What.SEND, two, rumour, timer)
    heard = trace.add(5.001, two, What.RECEIVE, one, rumour, gossip)
    trace.add(5.001, two, What.EVENT, "", InstanceSuspected(a_record(three, State.SUSPECT), None, one), heard)
    timer = trace.add(7.0, one, What.TIMER, cause=timer)
    trace.add(7.0, one, What.EVENT, "", found_by(InstanceDied, a_record(three, State.DEAD), one), timer)
    trace.add(7.0, one, What.EVENT, "", LeadershipChanged(None, one, 0), timer)
    fault = trace.add(8.0, "", What.FAULT, "", crash)
    trace.add(8.0, two, What.STOP, "", "killed", fault)
    trace.add(9.0, "", What.HEAL, "", partition)
    trace.add(9.5, three, What.PAUSE, "", "asleep")
    violations: tuple[Violation, ...] = ()
    if message:
        violations = (Violation("convergence", 10.0, one, message),)
        trace.add(10.0, one, What.VIOLATION, "", violations[0])
    trace.add(10.0, one, What.TIMER)
    return Run(trace, schedule, _result(schedule, violations))


def _result(schedule: Schedule, violations: tuple[Violation, ...]) -> Result:
    return Result(
        scenario=schedule.scenario,
        seed=schedule.seed,
        nodes=len(schedule.nodes),
        digest="00",
        virtual_seconds=10.0,
        wall_seconds=0.0,
        events=30,
        faults={},
        violations=violations,
        recovered_after=None,
        detections=(),
        false_deaths=1,
        traffic=Traffic(),
    )
