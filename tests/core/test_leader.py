"""Who leads, in whose view, and with which fencing token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.calls import LeaseAsk, Probe, SyncReply, SyncRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.events import LeadershipChanged
from meshp2p.core.record import EPOCH_MAX, EPOCH_SKIP_MAX, Rumour, State, epoch_above, epoch_limit
from meshp2p.core.swim.election import Election
from meshp2p.core.swim.hosting import Profile
from tests.core.builders import ELSEWHERE, NOW_MS, a_machine, a_record, calls, emitted, hear, run_until, told
from tests.core.mesh import EPOCH_MS, Mesh


def a_mesh(count: int, config: ProtocolConfig | None = None) -> Mesh:
    mesh = Mesh(count, config=config)
    for number in range(count):
        mesh.add(f"n{number}", join="n0" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run(5)
    return mesh


def token(mesh: Mesh, key: str) -> tuple[int, str]:
    machine = mesh.nodes[key]
    assert machine.leader_id is not None
    return (machine.leader_epoch, machine.leader_id)


def tokens(mesh: Mesh) -> set[tuple[int, str]]:
    return {token(mesh, key) for key in mesh.nodes}


def test_the_lowest_id_leads_in_every_view_and_says_so() -> None:
    mesh = a_mesh(5)
    epoch = mesh.nodes["n0"].own.epoch
    assert epoch > 0
    assert tokens(mesh) == {(epoch, "n0")}
    leader = mesh.nodes["n3"].leader(mesh.now)
    assert leader is not None
    assert (leader.id, leader.epoch, leader.is_leader) == ("n0", epoch, True)
    assert [each.id for each in mesh.nodes["n3"].instances(mesh.now) if each.is_leader] == ["n0"]
    assert mesh.nodes["n0"].is_leading
    assert not mesh.nodes["n3"].is_leading


def test_ids_are_ordered_by_their_bytes() -> None:
    machine = a_machine("m")
    hear(machine, [a_record("é"), a_record("Z")])
    assert machine.leader_id == "Z"
    hear(machine, [Rumour("Z", 1, State.LEFT, "Z")])
    assert machine.leader_id == "m"


def test_epochs_strictly_grow_through_deaths_returns_and_partitions() -> None:
    mesh = a_mesh(6)
    seen = [token(mesh, "n5")]

    def settle(within: float) -> None:
        mesh.run_until(mesh.is_whole, within)
        mesh.run(2)
        assert len(tokens(mesh)) == 1
        seen.append(token(mesh, "n5"))

    mesh.kill("n0")
    mesh.run_until(lambda: mesh.nodes["n5"].leader_id == "n1", within=30)
    settle(5)
    mesh.add("n0", join="n3")
    settle(5)
    mesh.is_cut = lambda sender, receiver: (sender < "n3") != (receiver < "n3")
    mesh.run(60)
    sides = [token(mesh, "n0"), token(mesh, "n5")]
    assert [leader_id for _, leader_id in sides] == ["n0", "n3"]
    assert sides[1] > seen[-1]
    mesh.is_cut = lambda _sender, _receiver: False
    settle(10)
    assert seen[-1] > max(sides)
    assert [leader_id for _, leader_id in seen] == ["n0", "n1", "n0", "n0"]
    assert seen == sorted(set(seen))


def test_who_leads_twice_at_once_claims_anew_so_that_the_later_token_is_the_greatest() -> None:
    machine = a_machine("a")
    heard = machine.leader_epoch + 7
    events = emitted(hear(machine, [a_record("b", epoch=heard)]))
    assert machine.leader_id == "a"
    assert machine.leader_epoch > heard
    assert LeadershipChanged("a", "a", machine.leader_epoch) in events


@given(
    known=st.integers(0, EPOCH_MAX - EPOCH_SKIP_MAX),
    boot=st.integers(0, (1 << 63) - 1),
)
def test_a_claim_exceeds_what_its_process_knows_by_no_more_than_it_may(known: int, boot: int) -> None:
    assert known < epoch_above(known, boot) <= known + EPOCH_SKIP_MAX


def test_epochs_of_processes_that_know_the_same_collide_as_often_as_numbers_drawn_at_random() -> None:
    drawn = {epoch_above(7, boot) for boot in range(1000)}
    assert len(drawn) >= 998  # 0.5 collisions are expected among 2^20


@pytest.mark.parametrize("seed", range(5))
def test_two_processes_of_one_id_never_claim_the_same_token(seed: int) -> None:
    mesh = Mesh(seed)
    for number in range(4):
        mesh.add(f"n{number}", join="n0" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    claimed: dict[int, set[int]] = {}

    def run(seconds: float) -> None:
        for _ in range(round(seconds * 1000)):
            mesh.run(0.001)
            for machine in mesh.nodes.values():
                if machine.id == "n0" and machine.own.epoch:
                    claimed.setdefault(machine.own.epoch, set()).add(machine.own.boot)

    mesh.is_cut = lambda sender, receiver: (sender == "n0") != (receiver == "n0")
    mesh.run_until(lambda: mesh.nodes["n3"].leader_id == "n1", within=60)
    mesh.add("n0", key="n0 again", join="n3")
    run(2)
    mesh.do("n0", hear(mesh.nodes["n0"], [mesh.nodes["n1"].own], mesh.now))  # the first packet from the other side
    mesh.is_cut = lambda _sender, _receiver: False
    run(20)
    boots = {boot for several in claimed.values() for boot in several}
    assert len(boots) == 2, "both led"
    assert [several for several in claimed.values() if len(several) > 1] == []


def test_the_epoch_that_was_kept_is_exceeded() -> None:
    machine = a_machine("a", kept=KeptState(5, 41))
    assert machine.leader_epoch > 41


def test_a_leader_that_was_restarted_before_it_was_missed_claims_as_soon_as_it_is_listed_anew() -> None:
    mesh = a_mesh(4)
    before = token(mesh, "n0")
    mesh.kill("n0")
    boot = mesh.add("n0", join="n3").own.boot
    mesh.run_until(lambda: mesh.nodes["n1"].records()["n0"].boot == boot, within=1)
    mesh.run(0.003)
    [after] = tokens(mesh)
    assert after > before
    assert after[1] == "n0"


def test_a_leader_that_left_is_followed_at_once() -> None:
    mesh = a_mesh(4)
    mesh.leave("n0")
    took = mesh.run_until(lambda: all(m.leader_id == "n1" for key, m in mesh.nodes.items() if key != "n0"), within=1)
    assert took < 0.01
    assert mesh.nodes["n0"].leader_id is None


def test_a_third_of_the_view_that_dies_at_once_makes_a_node_look_around_before_it_names_a_leader() -> None:
    machine = a_machine("m")
    hear(machine, [a_record(instance_id) for instance_id in "abcdef"])
    assert machine.leader_id == "a"
    hear(machine, [Rumour("a", 1, State.DEAD, "x")])
    assert machine.leader_id == "b", "one death is no reason to doubt"
    hear(machine, [Rumour("b", 1, State.DEAD, "x")])
    hear(machine, [Rumour("c", 1, State.DEAD, "x")])
    assert machine.leader_id is None
    assert not machine.is_settled
    run_until(machine, 1.0 + machine.config.settle_timeout)
    assert machine.leader_id == "d"


def test_deaths_far_apart_are_no_reason_to_look_around() -> None:
    machine = a_machine("m")
    hear(machine, [a_record(instance_id) for instance_id in "abcdef"])
    for number, instance_id in enumerate("abcd"):
        now = 1.0 + 1.1 * number
        run_until(machine, now)
        machine._state.timers.cancel(Timer.PROBE)  # it shall accuse nobody itself
        hear(machine, [Rumour(instance_id, 1, State.DEAD, "x")], now)
        assert machine.leader_id is not None


def test_a_claim_is_told_at_once_and_outlives_its_maker() -> None:
    machine = a_machine("b")
    hear(machine, [a_record("a", epoch=3)])
    effects = hear(machine, [Rumour("a", 1, State.LEFT, "a")])
    assert machine.leader_id == "b"
    assert machine.leader_epoch > 3
    assert told(effects) == []  # there is nobody to tell
    assert "b" in machine._state.gossip


def test_a_hosted_instance_may_lead_and_its_home_claims_for_it() -> None:
    mesh = a_mesh(3)
    before = token(mesh, "n0")
    mesh.do("n2", mesh.nodes["n2"].register(Profile("a-first", "h", 1), mesh.now))
    mesh.run_until(mesh.is_whole, within=1)
    mesh.run(1)
    [after] = tokens(mesh)
    assert after > before
    assert after[1] == "a-first"


def test_where_the_settle_window_is_nothing_a_paused_node_does_not_look_for_ever() -> None:
    machine = a_machine("b", ProtocolConfig(settle_timeout=0))
    hear(machine, [a_record("a")], now=0.5)
    machine.handle_timeouts(100.0)
    assert machine.counters.pauses == 1
    assert machine.leader_id is None
    run_until(machine, 120.0)
    assert machine.leader_id is not None


def test_a_claim_whose_record_was_superseded_is_outbid_by_who_never_saw_that_record() -> None:
    mesh = a_mesh(4)
    machine = mesh.nodes["n3"]
    heard = machine.leader_epoch + 7
    mesh.do("n3", hear(machine, [Rumour("x", 1, State.LEFT, "x"), a_record("x", epoch=heard)], mesh.now))
    assert (machine.leader_id, machine.leader_epoch) == ("n0", 0)
    mesh.run(5)
    [after] = tokens(mesh)
    assert after > (heard, "n0")
    assert after[1] == "n0"


def test_a_stale_record_s_claim_counts() -> None:
    machine = a_machine("a")
    heard = machine.leader_epoch + 7
    hear(machine, [a_record("b", 5), a_record("b", 4, epoch=heard)])
    assert machine.leader_epoch > heard


def test_a_sync_tells_the_greatest_claim_both_ways() -> None:
    machine = a_machine("a")
    before = machine.leader_epoch
    reply, _ = machine.receive_call(SyncRequest(b"\0" * 8, None, (before + 7, "gone")), 1.0)
    assert isinstance(reply, SyncReply)
    assert reply.claim == (before, "a")
    after = machine.leader_epoch
    assert after > before + 7
    machine.receive_call(SyncRequest(b"\0" * 8, None, (EPOCH_MAX + 1, "gone")), 1.0)
    assert machine.leader_epoch == after


def test_an_epoch_that_no_leader_can_have_come_to_counts_for_nothing() -> None:
    machine = a_machine("a")
    before = machine.leader_epoch
    made_up = epoch_limit(NOW_MS) + 1
    hear(machine, [a_record("b", epoch=made_up)])
    machine.receive_call(SyncRequest(b"\0" * 8, None, (made_up, "b")), 1.0)
    assert "b" in machine.records()
    assert (machine.leader_epoch, machine.counters.items_refused) == (before, 2)
    hear(machine, [a_record("0", epoch=made_up)])
    assert (machine.leader_id, machine.leader_epoch) == ("0", 0)
    hear(machine, [Rumour("0", 1, State.LEFT), a_record("c", epoch=made_up - 1)])
    assert (machine.leader_id, machine.leader_epoch >= made_up) == ("a", True)


def test_one_claim_further_is_believed_whatever_the_time_of_day_is() -> None:
    machine = a_machine("a")
    known = epoch_limit(NOW_MS)
    for number in range(3):
        hear(machine, [a_record("b", 2 + number, epoch=known)])
        assert known < machine.leader_epoch <= known + EPOCH_SKIP_MAX
        known = machine.leader_epoch + EPOCH_SKIP_MAX


def test_a_node_that_has_just_begun_takes_the_epoch_that_its_mesh_has_come_to() -> None:
    machine = a_machine("a", is_announced=False)
    hear(machine, [a_record("b", epoch=1 << 50)], now=0.1)
    run_until(machine, 1.5)
    assert machine.leader_epoch > 1 << 50


@pytest.mark.parametrize("epoch", [epoch_limit(NOW_MS), EPOCH_MAX - 1, EPOCH_MAX])
@pytest.mark.parametrize("is_own", [False, True])
def test_a_newcomer_that_is_told_of_an_absurd_epoch_can_be_outbid_and_leads(epoch: int, is_own: bool) -> None:
    """By a record, by both sides of a sync, and by a record of its own from a life before."""
    machine = a_machine("a", is_announced=False)
    for call in calls(hear(machine, [a_record("a" if is_own else "b", epoch=epoch)], now=0.1), Probe):
        machine.receive_reply(call.call_id, CallFailed(Failure.TIMEOUT, ""), 0.1)  # no rival lives
    machine.receive_call(SyncRequest(b"\0" * 8, None, (epoch, "b")), 0.2)
    machine.offer("seed", (ELSEWHERE,), None, 0.3)
    for call in calls(run_until(machine, 0.3), SyncRequest):
        machine.receive_reply(call.call_id, SyncReply(a_record("c"), True, (), (), (epoch, "b")), 0.4)
    run_until(machine, 3.0)  # then it hears nobody
    assert machine.leader_id == "a"
    assert 0 < machine.leader_epoch <= epoch_limit(NOW_MS) + EPOCH_SKIP_MAX


def test_a_mesh_whose_newcomer_was_told_of_an_absurd_epoch_agrees_on_its_token() -> None:
    mesh = Mesh()
    for node_id in "bc":
        mesh.add(node_id, join=None if node_id == "b" else "b")
    mesh.run_until(mesh.is_whole, within=10)
    before = mesh.nodes["b"].leader_epoch
    mesh.add("d", join="b")
    for epoch in (EPOCH_MAX, epoch_limit(EPOCH_MS)):
        forged = Datagram(Gossip(7), (a_record("x", epoch=epoch),))
        mesh.do("d", mesh.nodes["d"].receive(forged, ELSEWHERE, mesh.now))
    mesh.run_until(lambda: mesh.is_whole() and len({m.leader_epoch for m in mesh.nodes.values()}) == 1, within=20)
    assert mesh.nodes["d"].leader_epoch > before
    mesh.kill("b")
    mesh.run_until(lambda: mesh.is_whole() and mesh.nodes["d"].leader_id == "c", within=30)
    mesh.run_until(lambda: mesh.nodes["d"].leader_epoch == mesh.nodes["c"].leader_epoch > 0, within=5)


def test_an_epoch_is_outbid_faster_than_it_can_be_forged() -> None:
    """The limit leaves room for more claims than there can be, until the year 2248."""
    for year in (0, 50, 200):
        now_ms = NOW_MS + int(year * 365.25 * 86_400_000)
        assert EPOCH_MAX - epoch_limit(now_ms) > 1000 * EPOCH_SKIP_MAX
        assert epoch_limit(now_ms + 1000) - epoch_limit(now_ms) > 100 * EPOCH_SKIP_MAX
    assert epoch_limit(0) == epoch_limit(1_500_000_000_000) > 1 << 59


def test_a_node_that_does_not_know_yet_whose_its_id_is_names_no_leader() -> None:
    machine = a_machine("a", is_announced=False)
    hear(machine, [a_record("a", 1 << 42, boot=1)], now=0.9)
    run_until(machine, 1.5)
    assert machine._state.is_settled
    assert not machine.is_announced
    assert machine.leader_id is None


def test_who_leads_is_asked_again_only_where_something_that_decides_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = a_machine("b")
    heard = machine.leader_epoch + 9
    now = machine.config.settle_timeout
    asked: list[float] = []
    update = Election.update

    def counted(election: Election, now: float) -> None:
        asked.append(now)
        update(election, now)

    monkeypatch.setattr(Election, "update", counted)
    hear(machine, [a_record("c", 2)], now)
    assert asked, "a member came"
    asked.clear()
    hear(machine, [a_record("c", 2)], now)
    machine.handle_timeouts(now)
    assert not asked
    hear(machine, [a_record("c", 1, epoch=heard)], now)
    assert asked, "a claim came, though its record is stale"
    assert machine.leader_epoch > heard
    asked.clear()
    machine.leave(now)
    assert asked
    assert machine.leader_id is None


def test_a_node_with_a_disk_claims_a_new_epoch_when_it_leads_again() -> None:
    mesh = Mesh()
    mesh.disks["n0"] = {}
    mesh.add("n0")
    mesh.run(5)
    before = mesh.nodes["n0"].leader_epoch
    assert before > 0
    mesh.nodes["n0"]._swim.election.unsettle(mesh.now)
    mesh.do("n0", mesh.nodes["n0"].handle_timeouts(mesh.now))
    mesh.run_until(lambda: mesh.nodes["n0"].leader_id is None, within=1)
    mesh.run(5)
    assert mesh.nodes["n0"].leader_epoch > before


def test_a_leader_that_named_nobody_for_a_while_claims_a_new_token() -> None:
    machine = a_machine("a")
    before = machine.leader_epoch
    assert before
    now = machine.next_deadline() + 30.0
    machine.handle_timeouts(now)
    assert machine.leader_id is None
    run_until(machine, now + 10.0)
    assert machine.leader_id == "a"
    assert machine.leader_epoch > before


@pytest.mark.parametrize("is_node", [False, True])
def test_only_nodes_count_towards_the_quorum_that_a_lease_is_asked_of(*, is_node: bool) -> None:
    machine = a_machine("a", ProtocolConfig(quorum=3))
    effects = hear(machine, [a_record("b"), a_record("x", home="" if is_node else "b")], now=2.0)
    effects += run_until(machine, 3.0)
    assert bool(calls(effects, LeaseAsk)) is is_node


def test_a_process_without_its_state_exceeds_the_epoch_that_an_earlier_one_claimed() -> None:
    machine = a_machine("a", is_announced=False)
    effects = hear(machine, [a_record("a", boot=5, epoch=1 << 40)], now=0.1)
    [call] = calls(effects, Probe)
    machine.receive_reply(call.call_id, CallFailed(Failure.REFUSED, "nobody listens"), 0.2)
    run_until(machine, 3.0)
    assert machine.leader_id == "a"
    assert machine.leader_epoch > (1 << 40)


def test_a_hosted_leader_that_registers_again_keeps_its_token() -> None:
    machine = a_machine("m")
    machine.register(Profile("a", "h", 1), 2.0)
    before = (machine.leader_id, machine.leader_epoch)
    assert before[0] == "a"
    assert before[1]
    run_until(machine, 3.0)
    machine.register(Profile("a", "h", 2), 3.0)
    assert (machine.leader_id, machine.leader_epoch) == before
