"""Reading one instance through to its home: what is seen right after a heartbeat, and how long it may take."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import AskInstance, InstanceReply
from meshp2p.core.record import Record
from meshp2p.core.requests import ReadInstance
from meshp2p.core.swim.lookups import LOOKUP_SECONDS
from tests.core.builders import a_machine, a_record, hear
from tests.core.mesh import EPOCH_MS
from tests.core.registry import Registry

SLACK = 1e-6


def read(registry: Registry, key: str, instance_id: str = "x") -> Record | None:
    reply = registry.answer(key, ReadInstance(instance_id), within=1.0)
    assert isinstance(reply, InstanceReply)
    return reply.record


def status(registry: Registry, key: str, instance_id: str = "x") -> str | None:
    record = read(registry, key, instance_id)
    return None if record is None else record.status


def questions(registry: Registry) -> int:
    return sum(isinstance(what, AskInstance) for _, _, _, what in registry.log)


@pytest.mark.parametrize("asked", ["n0", "n1", "n2", "n3"])
def test_each_of_many_heartbeats_is_seen_at_every_node_once_it_is_answered(asked: str) -> None:
    registry = Registry()
    registry.register("n1")
    for number in range(50):  # far more often than status is published
        heard = registry.heartbeat(f"n{number % 4}", "x", f"s{number}", f'{{"n":{number}}}')
        assert heard.is_acknowledged
        for key in (asked, "n1"):
            record = read(registry, key)
            assert record is not None
            assert (record.status, record.metrics) == (f"s{number}", f'{{"n":{number}}}')


def test_the_home_shows_at_once_what_it_will_publish_later() -> None:
    registry = Registry()
    registry.register("n1")
    home = registry.nodes["n1"]
    for number in range(5):
        version = home.listed_version
        registry.heartbeat("n1", "x", f"s{number}")
        shown = home.instance("x", registry.now)
        assert shown is not None
        assert shown.status == f"s{number}"
        assert [one.status for one in home.instances(registry.now) if one.id == "x"] == [f"s{number}"]
        assert home.listed_version != version


def test_what_a_node_reports_of_itself_is_seen_at_every_node() -> None:
    registry = Registry()
    for number in range(5):
        registry.do("n2", registry.nodes["n2"].report(f"s{number}", "", registry.now))
        assert {status(registry, key, "n2") for key in registry.nodes} == {f"s{number}"}


def test_what_was_read_is_kept_nowhere() -> None:
    registry = Registry()
    registry.register("n1")
    registry.heartbeat("n1", "x", "first")
    registry.run(2)
    registry.heartbeat("n1", "x", "second")
    registry.heartbeat("n1", "x", "third")
    assert status(registry, "n3") == "third"
    assert registry.nodes["n3"].records()["x"].status != "third"
    registry.run(5)
    assert {machine.view for machine in registry.nodes.values()} == {registry.nodes["n1"].view}
    assert registry.nodes["n3"].records()["x"].status == "third"


def test_who_is_gone_is_gone_at_every_node_once_that_was_answered() -> None:
    registry = Registry()
    registry.register("n1")
    registry.is_dropped = lambda _sender, receiver, _datagram: receiver == "n3"  # it hears of it late
    assert registry.deregister("n1")
    assert "x" in registry.nodes["n3"].records()
    assert status(registry, "n3") is None
    assert status(registry, "n3", "nobody") is None


def test_questions_for_one_instance_share_a_call_and_none_takes_an_answer_to_an_older_one() -> None:
    registry = Registry()
    registry.register("n1")
    registry.delay = 0.02
    before = questions(registry)
    tickets = [registry.ask("n3", ReadInstance("x")) for _ in range(100)]
    registry.run_until(lambda: all(ticket in registry.resolved for ticket in tickets), within=LOOKUP_SECONDS)
    assert questions(registry) - before == 2, "the first one's, and one for all that came after it"

    first = registry.ask("n3", ReadInstance("x"))
    registry.run(0.03)  # it was answered, and its answer is on its way
    registry.heartbeat("n1", "x", "newer")
    second = registry.ask("n3", ReadInstance("x"))
    registry.run_until(lambda: second in registry.resolved, within=LOOKUP_SECONDS)
    assert registry.resolved[first] != registry.resolved[second]
    reply = registry.resolved[second]
    assert isinstance(reply, InstanceReply)
    assert reply.record is not None
    assert reply.record.status == "newer"


def test_a_home_that_does_not_answer_is_waited_for_a_quarter_of_a_second() -> None:
    registry = Registry()
    registry.register("n1")
    registry.is_cut = lambda sender, receiver: "n1" in (sender, receiver)
    asked_at = registry.now
    tickets = [registry.ask("n3", ReadInstance("x"))]
    registry.run(0.2)
    tickets.append(registry.ask("n3", ReadInstance("x")))
    answered = [registry.run_until(lambda: tickets[0] in registry.resolved, within=1.0) + 0.2]
    registry.run_until(lambda: tickets[1] in registry.resolved, within=1.0)
    answered.append(registry.now - asked_at - 0.2)
    assert all(seconds <= LOOKUP_SECONDS + SLACK for seconds in answered)
    for ticket in tickets:
        reply = registry.resolved[ticket]
        assert isinstance(reply, InstanceReply)
        assert reply.record is not None, "it is the node's own view then"


def test_a_question_that_nobody_waits_for_is_forgotten() -> None:
    registry = Registry()
    registry.register("n1")
    registry.is_cut = lambda sender, receiver: "n1" in (sender, receiver)
    first, second = (registry.ask("n3", ReadInstance("x")) for _ in range(2))
    for ticket in (first, second):
        registry.nodes["n3"].abandon(ticket)
    registry.run(1)
    assert first not in registry.resolved
    assert second not in registry.resolved


def test_a_node_that_is_not_the_home_says_so_and_the_asker_goes_by_its_own_view() -> None:
    machine = a_machine()
    hear(machine, [a_record("b"), a_record("x", home="b")])
    reply, _ = machine.receive_call(AskInstance("x"), 2.0)
    assert isinstance(reply, InstanceReply)
    assert not reply.is_home
    reply, _ = machine.receive_call(AskInstance("nobody"), 2.0)
    assert reply == InstanceReply(None, 0, False)


# Times


def test_the_last_heartbeat_never_goes_backwards_at_a_node_whatever_its_wall_clock_does() -> None:
    registry = Registry()
    registry.register("n1")
    shown: dict[tuple[str, str], int] = {}
    for step in range(200):
        ahead = {0: 0, 1: -3_600_000, 2: 1, 3: 500, 4: -1}[step % 5]
        registry.clock_ahead_ms = dict.fromkeys(registry.nodes, ahead)
        registry.run(0.0137)
        if step % 7 == 0:
            registry.heartbeat(f"n{step % 4}")
        if step % 11 == 0:
            read(registry, "n3")
        for key, machine in registry.nodes.items():
            for one in machine.instances(registry.now):
                before = shown.get((key, one.id), 0)
                assert one.last_heartbeat >= before, (key, one.id, step)
                shown[key, one.id] = one.last_heartbeat


def test_a_heartbeat_shows_the_time_of_its_arrival_at_every_node() -> None:
    registry = Registry()
    registry.register("n1")
    registry.run(3.25)
    registry.heartbeat("n1")
    seen = []
    for key in ("n0", "n1", "n3"):
        read(registry, key)
        shown = registry.nodes[key].instance("x", registry.now)
        assert shown is not None
        seen.append(shown.last_heartbeat)
    assert max(seen) - min(seen) <= 20


def test_a_home_that_was_started_again_does_not_say_that_it_heard_of_its_silent_instances() -> None:
    registry = Registry()
    registry.register("n1")
    registry.heartbeat("n1", "x", "busy")
    silent_since = registry.now
    registry.run(5)
    registry.kill("n1")
    registry.add("n1", join="n0")
    registry.run_until(lambda: registry.nodes["n1"].records().get("x") == registry.nodes["n3"].records()["x"], within=5)
    registry.run(2)
    assert read(registry, "n3") is not None
    shown = registry.nodes["n3"].instance("x", registry.now)
    assert shown is not None
    assert shown.last_heartbeat - EPOCH_MS <= 1000 * (silent_since + 0.1)
