"""Under a quorum a node leads only while a quorum of nodes grants it the leadership."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.calls import Done, LeaseAsk, LeaseRelease, LeaseReply
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import Call, Effect
from meshp2p.core.machine import Machine
from meshp2p.core.requests import Heartbeat
from meshp2p.core.swim.hosting import Profile
from meshp2p.core.swim.lease import GRANT_MARGIN, LEASE_SECONDS_MAX, lease_seconds
from tests.core.builders import a_machine, a_record, hear
from tests.core.mesh import Mesh

LEASE = lease_seconds(ProtocolConfig())
WAIT = LEASE * GRANT_MARGIN


def says_so(machine: Machine) -> bool:
    return machine.leader_id == machine.id


def sayers(mesh: Mesh) -> list[str]:
    return [key for key, machine in mesh.nodes.items() if says_so(machine)]


class Watched(Mesh):
    """A mesh in which it is looked after every step whether two nodes say that they lead, and who said so."""

    def __init__(self, count: int, quorum: int, *, seed: int = 0, rates: tuple[float, ...] = ()) -> None:
        super().__init__(seed, config=ProtocolConfig(quorum=quorum))
        self.history: list[str] = []
        self.stopped: dict[str, Machine] = {}
        for number, rate in itertools.zip_longest(range(count), rates[:count], fillvalue=1.0):
            self.clock_rates[f"n{number}"] = rate
        for number in range(count):
            self.add(f"n{number}", join=f"n{number - 1}" if number else None)

    def after_step(self) -> None:
        # a stopped process says nothing, and reads the clock before it does again: its lease must be over by then
        saying = sayers(self) + [key for key, machine in self.stopped.items() if says_so(machine)]
        assert len(saying) <= 1, f"at {self.now:.3f} s {saying} all say that they lead"
        for key in saying:
            if self.history[-1:] != [key]:
                self.history.append(key)

    def stop(self, key: str) -> None:
        self.stopped[key] = self.pause(key)

    def go_on(self, key: str) -> None:
        self.resume(key, self.stopped.pop(key))

    def until_leads(self, key: str, within: float = 30.0) -> float:
        return self.run_until(lambda: sayers(self) == [key], within)


def test_nobody_leads_before_a_quorum_has_waited_a_lease_after_its_start() -> None:
    mesh = Watched(3, quorum=2)
    mesh.run(WAIT - 0.1)
    assert sayers(mesh) == []
    assert mesh.until_leads("n0") < 1.0
    mesh.run_until(lambda: {machine.leader_id for machine in mesh.nodes.values()} == {"n0"}, within=1.0)
    mesh.run(60)
    assert mesh.history == ["n0"]
    assert mesh.leaders("n0").count("n0") == 1, "the lease was renewed without a gap"


def test_a_leader_that_is_cut_off_stops_before_the_other_side_has_one() -> None:
    mesh = Watched(5, quorum=3)
    mesh.until_leads("n0")
    mesh.is_cut = lambda sender, receiver: (sender < "n2") != (receiver < "n2")
    mesh.run_until(lambda: sayers(mesh) == [], within=LEASE + 0.1)
    mesh.until_leads("n2")
    mesh.run(60)
    assert mesh.history == ["n0", "n2"]
    assert [machine.leader_id for machine in mesh.nodes.values()] == [None, None, "n2", "n2", "n2"]
    mesh.is_cut = lambda _sender, _receiver: False
    mesh.until_leads("n0")
    assert mesh.history == ["n0", "n2", "n0"]


def test_a_leader_counts_its_lease_from_before_it_asked_however_late_the_replies_are() -> None:
    mesh = Watched(5, quorum=3)
    mesh.until_leads("n0")
    mesh.delay = 0.3
    mesh.run(10)
    asked = max(when for when, sender, _, message in mesh.log if sender == "n0" and isinstance(message, LeaseAsk))
    mesh.is_cut = lambda sender, receiver: "n0" in (sender, receiver)
    mesh.run(LEASE - (mesh.now - asked) + 0.01)
    assert "n0" not in sayers(mesh)


def test_a_leader_that_leaves_is_followed_without_waiting_for_its_lease() -> None:
    mesh = Watched(4, quorum=2)
    mesh.until_leads("n0")
    mesh.leave("n0")
    assert mesh.until_leads("n1") < LEASE / 2


def test_a_lower_id_that_joins_takes_over_without_waiting_for_the_lease() -> None:
    mesh = Watched(4, quorum=2)
    mesh.until_leads("n0")
    mesh.add("a", join="n3")
    mesh.run_until(lambda: sayers(mesh) == ["a"], within=WAIT)
    assert mesh.history == ["n0", "a"]


def test_a_leader_that_was_killed_is_followed_after_its_lease() -> None:
    mesh = Watched(5, quorum=3)
    mesh.until_leads("n0")
    epoch = mesh.nodes["n0"].leader_epoch
    mesh.kill("n0")
    took = mesh.until_leads("n1")
    assert took <= WAIT + 1.0
    mesh.run(0.1)
    (following,) = {machine.leader_epoch for machine in mesh.nodes.values()}
    assert following > epoch


def test_a_follower_that_the_leader_cannot_call_names_it_through_a_relay() -> None:
    mesh = Watched(5, quorum=3)
    mesh.until_leads("n0")
    mesh.is_call_lost = lambda caller, called: (caller, called) == ("n0", "n4")
    mesh.run(2 * WAIT)
    for _ in range(100):
        mesh.run(0.25)
        assert [machine.leader_id for machine in mesh.nodes.values()] == ["n0"] * 5


def test_a_leader_leads_by_grants_that_only_relays_bring() -> None:
    """Of three nodes it can call none but the relay, and needs the grant of one that it cannot call."""
    mesh = Watched(4, quorum=3)
    mesh.is_call_lost = lambda caller, called: caller == "n0" and called in ("n2", "n3")
    mesh.until_leads("n0")
    mesh.run(60)
    assert mesh.leaders("n0").count("n0") == 1, "the lease was renewed without a gap"


def test_a_node_that_no_call_reaches_is_asked_as_often_as_the_timeout_of_a_call_allows() -> None:
    mesh = Watched(5, quorum=3)
    mesh.until_leads("n0")
    mesh.is_call_lost = lambda _caller, called: called == "n4"
    mesh.run(10)
    began = mesh.now
    mesh.run(60)
    at_n4 = mesh.address("n4")
    asked = [
        when
        for when, sender, to, what in mesh.log
        if when > began and sender == "n0" and to == at_n4 and isinstance(what, LeaseAsk)
    ]
    assert 60 / LEASE <= len(asked) <= 60 / mesh.config.call_timeout + 1


def test_below_a_quorum_nobody_leads() -> None:
    mesh = Watched(2, quorum=3)
    mesh.run(60)
    assert mesh.history == []
    assert [machine.leader_id for machine in mesh.nodes.values()] == [None, None]


def test_a_node_that_restarted_does_not_help_a_second_leader() -> None:
    """Two of three granted to n0. One of them forgets that with its process, and must not grant to n1 at once."""
    mesh = Watched(3, quorum=2)
    mesh.until_leads("n0")
    mesh.run(5)
    mesh.is_cut = lambda sender, receiver: (sender == "n0") != (receiver == "n0")
    mesh.kill("n2")
    mesh.add("n2", join="n1")
    mesh.until_leads("n1")
    assert mesh.history == ["n0", "n1"]


def test_the_home_of_a_hosted_leader_holds_its_lease() -> None:
    mesh = Watched(3, quorum=2)
    mesh.until_leads("n0")
    mesh.do("n1", mesh.nodes["n1"].register(Profile("a", "a.example", 1), mesh.now))
    mesh.run_until(lambda: mesh.nodes["n1"].leader_id == "a", within=WAIT)
    mesh.run_until(lambda: mesh.nodes["n1"].leader_epoch > 0, within=1.0)
    mesh.is_cut = lambda sender, receiver: (sender == "n1") != (receiver == "n1")
    for _ in range(40):
        mesh.ask("n1", Heartbeat("a", "fine", ""))
        mesh.run(0.5)
    assert mesh.nodes["n1"].leader_id is None, "its home has no lease any more"


def test_a_stopped_leader_does_not_lead_when_it_goes_on() -> None:
    mesh = Watched(3, quorum=2)
    mesh.until_leads("n0")
    mesh.stop("n0")
    mesh.until_leads("n1")
    assert not says_so(mesh.stopped["n0"])
    mesh.go_on("n0")
    mesh.run(30)


# One granter


def ask(number: int = 1, leader: str = "a", **changes: object) -> LeaseAsk:
    record = a_record(leader)
    return msgspec.structs.replace(LeaseAsk(leader, leader, record.boot, number, LEASE, 2), **changes)


def a_granter(now: float = WAIT) -> Machine:
    machine = a_machine("m", ProtocolConfig(quorum=2))
    hear(machine, [a_record("a"), a_record("b")])
    machine._swim.lease._clock = lambda: now  # type: ignore[union-attr]
    return machine


def answer(machine: Machine, request: LeaseAsk | LeaseRelease) -> object:
    return machine.receive_call(request, 5.0)[0]


GRANTED, NOT_GRANTED = LeaseReply(is_granted=True), LeaseReply(is_granted=False)


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (ask(), GRANTED),
        (ask(quorum=3), NOT_GRANTED),
        (ask(seconds=LEASE_SECONDS_MAX + 1), NOT_GRANTED),
        (ask(boot=99), NOT_GRANTED),
        (ask(home="b"), NOT_GRANTED),
        (ask(leader="b"), NOT_GRANTED),
        (ask(leader="unknown"), NOT_GRANTED),
    ],
    ids=["right", "another quorum", "too long", "another process", "another home", "not the lowest", "unknown"],
)
def test_a_grant_is_given_only_for_the_leader_that_the_granter_agrees_with(request_: LeaseAsk, reply: object) -> None:
    assert answer(a_granter(), request_) == reply


def test_a_node_without_a_quorum_grants_nothing() -> None:
    machine = a_machine("m")
    hear(machine, [a_record("a")])
    assert answer(machine, ask(quorum=0)) == NOT_GRANTED
    assert answer(machine, LeaseRelease("a", "a", 1, 1)) == Done()


def test_a_release_ends_a_grant_unless_it_was_asked_for_again_since() -> None:
    machine = a_granter()
    held = machine._swim.lease
    assert held is not None
    assert answer(machine, ask(5)) == GRANTED
    boot = a_record("a").boot
    assert answer(machine, LeaseRelease("a", "a", boot, 4)) == Done()
    assert held.allows(a_record("a")), "that release was overtaken by a later ask"
    assert answer(machine, LeaseRelease("a", "a", boot + 1, 9)) == Done()
    assert held.allows(a_record("a")), "that release was another process's"
    assert answer(machine, LeaseRelease("a", "a", boot, 5)) == Done()
    assert not held.allows(a_record("a"))


# One holder


def asks(effects: list[Effect]) -> list[Call]:
    return [each for each in effects if isinstance(each, Call) and isinstance(each.request, LeaseAsk)]


def test_a_grant_that_was_asked_for_before_a_release_does_not_count() -> None:
    machine = a_machine("m", ProtocolConfig(quorum=2))
    lease = machine._swim.lease
    assert lease is not None
    lease._clock = lambda: WAIT
    early = asks(hear(machine, [a_record("x"), a_record("y")]))[0]
    lease.release(1.0)
    lease.pursue(machine.own, 1.0)
    machine.receive_reply(early.call_id, GRANTED, 1.0)
    assert not lease.allows(machine.own), "the granter may have granted to another since"
    lease.renew(1.0)
    late = asks(machine.handle_timeouts(1.0))[-1]
    machine.receive_reply(late.call_id, GRANTED, 1.0)
    assert lease.allows(machine.own)


# Any history


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, tuple[float, ...], list[tuple[float, str, int]]]:
    count = draw(st.integers(3, 5))
    rates = tuple(draw(st.floats(1.0, 1.049)) for _ in range(count))
    what = st.sampled_from(["cut", "mend", "one-way", "hide", "stop", "go-on", "restart", "leave"])
    steps = draw(st.lists(st.tuples(st.floats(0.0, 6.0), what, st.integers(0, 31)), max_size=12))
    return count, rates, steps


@given(histories())
def test_no_two_nodes_ever_say_that_they_lead(
    history: tuple[int, tuple[float, ...], list[tuple[float, str, int]]],
) -> None:
    count, rates, steps = history
    mesh = Watched(count, quorum=count // 2 + 1, rates=rates)
    mesh.run(WAIT + 1)
    for seconds, what, number in steps:
        do(mesh, what, number, count)
        mesh.run(seconds)
    mesh.run(8)


def do(mesh: Watched, what: str, number: int, count: int) -> None:
    key = f"n{number % count}"
    side = {f"n{index}" for index in range(count) if number >> index & 1}
    match what:
        case "cut":
            mesh.is_cut = lambda sender, receiver: (sender in side) != (receiver in side)
        case "one-way":
            mesh.is_cut = lambda sender, receiver: sender in side and receiver not in side
        case "hide":
            mesh.is_call_lost = lambda caller, called: caller != key and called in side
        case "mend":
            mesh.is_cut = mesh.is_call_lost = lambda _sender, _receiver: False
        case "stop" if key in mesh.nodes:
            mesh.stop(key)
        case "go-on" if key in mesh.stopped:
            mesh.go_on(key)
        case "restart" if key in mesh.nodes:
            mesh.kill(key)
            others = list(mesh.nodes)
            mesh.add(key, join=others[0] if others else None)
        case "leave" if key in mesh.nodes:
            mesh.leave(key)
