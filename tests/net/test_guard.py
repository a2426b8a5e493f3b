"""Sealed datagrams and signed claims: what a stranger, a recording and a bad member can do."""

from __future__ import annotations

import msgspec
import pytest

from meshp2p.core.calls import ForwardDeregister, Pong, Push, Refused, SyncReply, SyncRequest, Why
from meshp2p.core.datagrams import Ack, Datagram, Gossip, Nack, Ping, PingRequest, Unreached
from meshp2p.core.effects import Call, Effect, Emit
from meshp2p.core.events import IdConflictLost
from meshp2p.core.record import (
    INCARNATION_MAX,
    INCARNATION_STEP_MAX,
    Record,
    Rumour,
    SignedRecord,
    SignedRumour,
    State,
    tag_of,
)
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.guard import datagram_guard
from meshp2p.guard.accusations import ACCUSATIONS_MAX
from meshp2p.guard.claim_guard import HOSTED_STEP_MAX
from meshp2p.wire.codec import Codec
from meshp2p.wire.frame import SEALED_BYTES
from tests.core.builders import ELSEWHERE, run_until
from tests.net.guarded import NOW_MS, Member, meet
from tests.net.secured import Computer, invited, new_mesh


@pytest.fixture
def first() -> Computer:
    return new_mesh()[1]


@pytest.fixture
def one(first: Computer) -> Member:
    return Member(first, "one")


@pytest.fixture
def two(first: Computer, one: Member) -> Member:
    """A node of another machine; it and ``one`` list each other."""
    member = Member(invited(first, "second"), "two")
    meet(one, member)
    return member


# Datagrams


def test_a_sealed_datagram_is_opened_by_its_receiver_alone(first: Computer, one: Member, two: Member) -> None:
    three = Member(first, "three")
    meet(one, two, three)
    sealed = one.seal(two)
    assert two.open(sealed) == Datagram(Gossip(one.tag))
    assert three.open(one.seal(two)) is Refusal.NOT_OPENED
    assert one.open(two.seal(one)) == Datagram(Gossip(two.tag))


def test_nothing_of_a_datagram_can_be_read_without_a_key(one: Member, two: Member) -> None:
    captured = b"".join(one.seal(two, two.own, one.own, one.says(two, State.SUSPECT)) for _ in range(20))
    for secret in (b"one", b"two", b"summarize", b"host-of", b"10.0.0.1"):
        assert secret not in captured


def test_a_changed_datagram_is_refused_whichever_bit_was_changed(one: Member, two: Member) -> None:
    sealed = one.seal(two)
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        assert isinstance(two.open(bytes(changed)), Refusal), bit
    for length in range(len(sealed)):
        assert isinstance(two.open(sealed[:length]), Refusal), length
    assert two.open(sealed + b"\0") is Refusal.NOT_OPENED
    assert two.open(sealed) == Datagram(Gossip(one.tag)), "none of them counted as this one"


def test_plain_datagrams_and_those_of_other_meshes_and_strangers_are_refused(one: Member, two: Member) -> None:
    plain = Datagram(Gossip(one.tag), (one.says(two, State.DEAD),))
    assert two.open(one.codec.encode(plain)) is Refusal.NOT_SEALED
    assert two.open(Codec("studio").encode(plain)) is Refusal.OTHER_MESH
    assert two.open(b"") is Refusal.TOO_SHORT
    other_mesh = new_mesh()[1]
    stranger, friend = Member(other_mesh, "one"), Member(other_mesh, "two")
    meet(stranger, friend)
    assert two.open(stranger.seal(friend)) is Refusal.UNKNOWN
    as_if_here = bytearray(stranger.seal(friend))
    as_if_here[4:12] = one.seal(two)[4:12]
    assert two.open(bytes(as_if_here)) is Refusal.NOT_OPENED
    assert two.open(b"\0" * 2000) is Refusal.TOO_LARGE


def test_an_open_node_refuses_sealed_datagrams(one: Member, two: Member) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        one.codec.decode_datagram_untrusted(one.seal(two))
    assert refused.value.reason is Refusal.BAD_FLAGS


def test_a_datagram_arrives_once_in_any_order(one: Member, two: Member) -> None:
    sealed = [one.seal(two) for _ in range(3000)]
    for index in (5, 3, 4, 1028):
        assert isinstance(two.open(sealed[index]), Datagram), index
        assert two.open(sealed[index]) is Refusal.REPLAYED
    assert two.open(sealed[4]) is Refusal.REPLAYED, "too old to know"
    assert isinstance(two.open(sealed[6]), Datagram)
    assert isinstance(two.open(sealed[2999]), Datagram)
    assert [two.open(data) for data in sealed[:1976]] == [Refusal.REPLAYED] * 1976


def test_a_datagram_cannot_be_sent_back_to_its_sender(one: Member, two: Member) -> None:
    sealed = bytearray(one.seal(two))
    sealed[4:12] = two.seal(one)[4:12]
    assert one.open(bytes(sealed)) is Refusal.NOT_OPENED


@pytest.mark.parametrize("restarted", ["the sender", "the receiver", "both"])
def test_a_recording_is_worthless_after_a_restart(one: Member, two: Member, restarted: str) -> None:
    recording = [one.seal(two, one.says(two, State.DEAD)) for _ in range(5)]
    sender, receiver = one, two
    if restarted != "the receiver":
        sender = Member(one.computer, "one", started_ms=NOW_MS + 1000)
    if restarted != "the sender":
        receiver = Member(two.computer, "two", started_ms=NOW_MS + 1000)
    meet(sender, receiver)
    assert isinstance(receiver.open(sender.seal(receiver)), Datagram)
    assert {receiver.open(data) for data in recording} <= {Refusal.NOT_OPENED, Refusal.REPLAYED}


def test_a_node_names_no_other_as_the_sender_but_passes_on_acks(one: Member, two: Member) -> None:
    for body, expected in (
        (Gossip(tag_of("three")), Refusal.UNTRUSTED),
        (Ping(1, tag_of("three"), two.tag, 0), Refusal.UNTRUSTED),
    ):
        sealed = one.guard.seal(Datagram(body), two.tag)
        assert sealed is not None
        assert two.open(sealed) is expected
    ack = Datagram(Ack(1, tag_of("three"), 0))
    sealed = one.guard.seal(ack, two.tag)
    assert sealed is not None
    assert two.open(sealed) == ack


def test_every_body_arrives_as_it_was_sent(one: Member, two: Member) -> None:
    other = tag_of("three")
    for body in (
        Ping(1, one.tag, two.tag, 5, 2),
        Ping(1, one.tag, other, 5),
        Ack(1, one.tag, 5),
        Ack(1, other, 5),
        Nack(1, one.tag),
        PingRequest(1, one.tag, other, ELSEWHERE),
        PingRequest(1, one.tag, two.tag, ELSEWHERE),
        Gossip(one.tag),
        Unreached(one.tag, two.tag, other),
        Unreached(one.tag, other),
    ):
        datagram = Datagram(body, (), (1, 2))
        sealed = one.guard.seal(datagram, two.tag)
        assert sealed is not None
        assert two.open(sealed) == datagram


def test_nothing_is_sealed_for_a_node_whose_keys_are_unknown(one: Member) -> None:
    assert one.guard.seal(Datagram(Gossip(one.tag)), tag_of("nobody")) is None


def test_a_node_that_is_held_dead_can_still_be_told_so(one: Member, two: Member) -> None:
    one.take(two.says(two, State.LEFT))
    assert not one.lists(two)
    assert isinstance(two.open(one.seal(two)), Datagram)
    assert isinstance(one.open(two.seal(one)), Datagram)


def test_a_revoked_machine_is_not_heard_any_more(one: Member, two: Member) -> None:
    sealed = two.seal(one)
    assert isinstance(one.open(two.seal(one)), Datagram)
    credential = one.computer.credential
    credential.trust.revoke(credential.key, two.computer.credential.key.fingerprint)
    assert one.open(sealed) is Refusal.REVOKED
    assert one.take(two.signer.sign_record(two.own)) == ()
    assert one.refused[-1] is Refusal.REVOKED


def test_a_renewal_loses_no_datagram_and_retired_keys_open_nothing(one: Member, two: Member) -> None:
    on_its_way = one.seal(two)
    two.guard.renew_keys()
    two.machine.republish(0.0)
    later = one.seal(two)  # it has not heard of the renewal
    assert isinstance(two.open(on_its_way), Datagram)
    assert isinstance(two.open(later), Datagram)
    assert two.open(later) is Refusal.REPLAYED
    assert isinstance(one.open(two.seal(one)), Datagram), "the next key was published before"
    two.guard.retire_keys()
    assert two.open(one.seal(two)) is Refusal.NOT_OPENED
    one.take(two.own)
    renewed = one.seal(two)
    assert isinstance(two.open(renewed), Datagram)
    assert isinstance(one.open(two.seal(one)), Datagram)
    assert two.open(renewed) is Refusal.REPLAYED
    one.guard.retire_keys()  # and what was derived from keys of others that are not in use any more
    assert two.open(one.seal(two)) == Datagram(Gossip(one.tag))


def test_keys_that_are_derived_again_use_no_counter_twice(one: Member, two: Member) -> None:
    first_counter = one.seal(two)[14:SEALED_BYTES]
    one.take(forge(two.own, two, incarnation=two.own.incarnation + 1, boot=two.own.boot + 1))
    one.guard.retire_keys()
    one.take(forge(two.own, two, incarnation=two.own.incarnation + 2))
    assert one.seal(two)[14:SEALED_BYTES] != first_counter


def test_no_window_is_forgotten_while_its_datagrams_could_be_opened(
    one: Member, two: Member, first: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that filled the table of pairs had the node forget what it had received."""
    recorded = one.seal(two)
    assert isinstance(two.open(recorded), Datagram)
    others = [Member(first, f"other-{number}") for number in range(12)]
    meet(one, two, *others)
    monkeypatch.setattr(datagram_guard, "PAIRS_MAX", 8)
    opened = [two.open(other.seal(two)) for other in others]
    assert opened.count(Refusal.NOT_OPENED) == 12 - 7
    assert two.open(recorded) is Refusal.REPLAYED
    assert isinstance(two.open(one.seal(two)), Datagram), "those that it knows are heard"
    assert two.guard.is_crowded

    two.guard.renew_keys()
    two.machine.republish(0.0)
    assert two.open(recorded) is Refusal.REPLAYED
    two.guard.retire_keys()
    assert not two.guard.is_crowded
    assert two.open(recorded) is Refusal.NOT_OPENED
    for other in (one, *others[7:]):
        other.take(two.own)
        assert isinstance(two.open(other.seal(two)), Datagram), "there is room again"


def test_pairs_that_are_over_make_room(one: Member, two: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram_guard, "PAIRS_MAX", 4)
    for number in range(12):
        restarted = Member(one.computer, "one", started_ms=NOW_MS + 1000 * (number + 1))
        meet(restarted, two)
        assert isinstance(two.open(restarted.seal(two)), Datagram)
    assert not two.guard.is_crowded


# Records


def forge(record: Record, signer: Member, **changes: object) -> SignedRecord:
    """A changed record, signed by a member."""
    return signer.signer.sign_record(msgspec.structs.replace(record, **changes))


def test_a_changed_record_is_refused_whichever_field_was_changed(one: Member, two: Member) -> None:
    own = two.own
    assert isinstance(own, SignedRecord)
    changes: dict[str, object] = {
        "incarnation": own.incarnation + 1,
        "boot": 7,
        "addresses": one.own.addresses,
        "hostname": "elsewhere",
        "port": 1,
        "capabilities": (),
        "profiles": ("x",),
        "created_at": 1,
        "epoch": 1 << 40,
        "epoch_since": 1,
        "status": "x",
        "metrics": "{}",
    }
    for field, value in changes.items():
        assert one.take(msgspec.structs.replace(own, **{field: value})) == (), field
    for part, value in {"owner": one.computer.credential.key.fingerprint, "keys": own.proof.keys[::-1]}.items():
        proof = msgspec.structs.replace(own.proof, **{part: value})
        assert one.take(msgspec.structs.replace(own, proof=proof)) == (), part
    assert one.take(Record(*(getattr(own, field) for field in Record.__struct_fields__))) == (), "not signed"
    assert set(one.refused) == {Refusal.UNTRUSTED}


def test_whoever_suspects_a_node_must_say_so_in_its_own_name(one: Member, two: Member) -> None:
    [taken] = one.take(msgspec.structs.replace(two.own, state=State.SUSPECT))
    assert taken.state is State.ALIVE


def test_an_id_stays_with_the_machine_that_published_it_first(first: Computer, one: Member, two: Member) -> None:
    thief = Member(first, "two", started_ms=NOW_MS - 1000)  # it says that it was there before
    greater = forge(thief.own, thief, incarnation=two.own.incarnation + 5)
    for member in (one, two):
        member.take(greater)
        claim = member.machine.claim_of("two")
        assert isinstance(claim, SignedRecord)
        assert claim.proof.owner == two.computer.credential.key.fingerprint
    assert not two.machine.has_lost_id
    one.take(one.says(two, State.DEAD))
    one.take(greater)
    assert isinstance(one.open(two.seal(one)), Datagram), "also while it is held dead"
    assert one.guard.is_usurper("two", first.credential.key.fingerprint)


def test_an_id_is_free_once_its_node_has_left(first: Computer, one: Member, two: Member) -> None:
    one.take(two.says(two, State.LEFT))
    other = Member(first, "two", started_ms=NOW_MS + 1000)
    meet(one, other)
    assert one.lists(other)
    assert isinstance(one.open(other.seal(one)), Datagram)


def dial(member: Member) -> Call:
    """Let a node find another; the call that it makes."""
    member.machine.offer("seed", (ELSEWHERE,), None, 1.0)
    calls = [effect for effect in run_until(member.machine, 1.0) if isinstance(effect, Call)]
    return next(call for call in calls if isinstance(call.request, SyncRequest))


def test_whoever_starts_with_the_id_of_another_machine_s_node_ends(first: Computer, one: Member, two: Member) -> None:
    thief = Member(first, "two", started_ms=NOW_MS - 1000, is_announced=False)
    thief.computer.credential.trust.merge_untrusted(two.computer.credential.trust.statements())
    thief.take(two.own)
    assert thief.machine.has_lost_id

    # The mesh remembers only that the node died: so the newcomer gets no record of it.
    one.take(one.says(two, State.DEAD))
    late = Member(first, "two", started_ms=NOW_MS - 1000)
    late.take(one.own)
    call = dial(late)
    reply, _ = one.machine.receive_call(call.request, 1.0)
    assert isinstance(reply, Refused)
    effects: list[Effect] = late.machine.receive_reply(call.call_id, reply, 1.0)
    assert Emit(IdConflictLost("two", "", is_owned=True)) in effects


def test_a_node_that_others_list_keeps_its_id_whatever_one_of_them_says(one: Member, two: Member) -> None:
    two.machine.receive(Datagram(Gossip(one.tag)), one.own.addresses[0], 1.0)
    call = dial(two)
    two.machine.receive_reply(call.call_id, Refused(Why.NOT_OWNER, ""), 1.0)
    assert not two.machine.has_lost_id


def test_a_machine_signs_no_ids_that_it_may_not_use(first: Computer, one: Member) -> None:
    worker = Member(invited(first, "narrow", ids="worker-*"), "worker-1")
    meet(one, worker)
    assert one.take(forge(worker.own, worker, id="leader", home="leader")) == ()
    assert one.refused == [Refusal.UNTRUSTED]


def test_a_machine_hosts_no_ids_that_it_may_not_use(first: Computer, one: Member) -> None:
    worker = Member(invited(first, "narrow", ids="worker-*"), "worker-1")
    meet(one, worker)
    for instance_id, is_allowed in (("boss", False), ("worker-9", True)):
        worker.machine.register(Profile(instance_id, "h", 1), 0.0)
        record = worker.machine.claim_of(instance_id)
        assert isinstance(record, SignedRecord)
        assert (one.take(record) == (record,)) is is_allowed
    assert one.refused == [Refusal.UNTRUSTED]
    one.machine.register(Profile("agent", "h", 1), 0.0)
    record = one.machine.claim_of("agent")
    assert isinstance(record, SignedRecord)
    worker.take(record)
    assert not worker.machine._swim.hosting.adopt("agent", 1.0)
    assert worker.machine.claim_of("agent") == record


def test_an_instance_is_published_by_its_home(one: Member, two: Member, first: Computer) -> None:
    two.machine.register(Profile("agent", "h", 1), 0.0)
    record = two.machine.claim_of("agent")
    assert isinstance(record, SignedRecord)
    assert one.take(record) == (record,)
    for home in ("one", "two", "nobody"):
        forged = forge(msgspec.structs.replace(record, home=home), one if home == "two" else two)
        assert (one.take(forged) == (forged,)) is False, home
    newcomer = Member(first, "three")
    trust = newcomer.computer.credential.trust
    trust.merge_untrusted(two.computer.credential.trust.statements())
    assert newcomer.take(record, two.own) == (record, two.own), "its home comes with it"


def hosted(member: Member, instance_id: str = "agent") -> SignedRecord:
    """The record of an instance that registered at this node."""
    if member.machine.claim_of(instance_id) is None:
        member.machine.register(Profile(instance_id, "h", 1), 0.0)
    record = member.machine.claim_of(instance_id)
    assert isinstance(record, SignedRecord)
    return record


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD, State.LEFT])
def test_only_its_home_says_that_an_instance_is_gone(first: Computer, one: Member, two: Member, state: State) -> None:
    three = Member(invited(first, "third"), "three")
    meet(one, two, three)
    record = hosted(two)
    for member in (one, three):
        assert member.take(record) == (record,)
    for ahead in (0, 1, INCARNATION_STEP_MAX):
        one.take(three.says(record, state, incarnation=record.incarnation + ahead))
        assert one.machine.claim_of("agent") == record, ahead
    two.take(three.says(record, state))
    assert hosted(two).incarnation > record.incarnation, "its home refutes it"
    if state is not State.SUSPECT:
        one.take(two.says(record, state))
        assert not one.machine.records().get("agent")


def test_an_instance_whose_home_is_gone_is_gone_if_anybody_says_so(first: Computer, one: Member, two: Member) -> None:
    three = Member(invited(first, "third"), "three")
    meet(one, two, three)
    record = hosted(two)
    one.take(record)
    one.take(two.says(two, State.LEFT))
    one.take(three.says(record, State.DEAD, incarnation=record.incarnation + 1))
    assert "agent" in one.machine.records(), "nobody but its home publishes its incarnations"
    one.take(three.says(record, State.DEAD))
    assert "agent" not in one.machine.records()


def test_no_member_uses_up_the_id_of_an_instance(first: Computer, one: Member, two: Member) -> None:
    three = Member(invited(first, "third"), "three")
    meet(one, two, three)
    count_max = ACCUSATIONS_MAX + 4 * two.machine.node_count()
    start = hosted(two).incarnation
    for _ in range(2 * count_max):
        for ahead in (HOSTED_STEP_MAX, HOSTED_STEP_MAX + 1, INCARNATION_STEP_MAX):
            two.take(three.says(hosted(two), State.DEAD, incarnation=hosted(two).incarnation + ahead))
    assert hosted(two).incarnation <= start + count_max * (HOSTED_STEP_MAX + 1)
    assert Refusal.TOO_MANY in two.refused
    for incarnation in (INCARNATION_STEP_MAX + 1, INCARNATION_MAX):
        stolen = forge(hosted(two), three, home="three", incarnation=incarnation + 2 * count_max * HOSTED_STEP_MAX)
        assert two.take(stolen) == ()
    assert hosted(two).home == "two"


def test_a_machine_deregisters_no_ids_that_it_may_not_use(first: Computer, one: Member) -> None:
    worker = invited(first, "worker", ids="worker-*")
    meet(one, Member(worker, "worker-1"))
    request = ForwardDeregister("agent")
    own = first.credential.key.fingerprint
    assert one.guard.check_request(request, own, 0.0) == request
    allowed = ForwardDeregister("worker-2")
    assert one.guard.check_request(allowed, worker.credential.key.fingerprint, 0.0) == allowed
    for sender in (worker.credential.key.fingerprint, b""):  # empty: a relay passed it on
        with pytest.raises(RemoteProtocolError, match="may not use the id 'agent'"):
            one.guard.check_request(request, sender, 0.0)


def test_the_node_of_an_unknown_machine_is_called(first: Computer, one: Member) -> None:
    newcomer = Member(invited(invited(first, "second", may_invite=True), "third"), "three")
    assert one.take(newcomer.own) == ()
    assert (one.strangers, one.refused) == (["three"], [Refusal.UNKNOWN])


# Rumours


def test_a_member_accuses_in_its_own_name_only(first: Computer, one: Member, two: Member) -> None:
    three, four = Member(first, "three"), Member(invited(first, "fourth"), "four")
    meet(one, two, three, four)
    for state in (State.SUSPECT, State.DEAD):
        forged = four.says(two, state, by="three")
        assert one.take(forged) == ()
        assert one.take(forged, sender=four.computer.credential.key.fingerprint) == (), "by its own connection"
        assert one.take(Rumour("two", two.own.incarnation, state, "four")) == ()
        assert one.take(Rumour("two", two.own.incarnation, state)) == ()
        genuine = four.says(two, state)
        assert one.take(msgspec.structs.replace(genuine, by="three")) == ()
        assert one.take(msgspec.structs.replace(genuine, incarnation=genuine.incarnation + 1)) == ()
        assert one.take(genuine) == (genuine,)
    assert one.take(four.says(two, State.DEAD, by="nobody")) == ()


def test_nobody_says_that_another_node_leaves(first: Computer, one: Member, two: Member) -> None:
    four = Member(invited(first, "fourth"), "four")
    meet(one, two, four)
    for forged in (four.says(two, State.LEFT), four.says(two, State.LEFT, by="two")):
        one.take(forged)
        assert one.lists(two)
    two.take(four.says(two, State.LEFT))
    assert not two.machine.has_lost_id
    one.take(two.says(two, State.LEFT))
    assert not one.lists(two)


def test_what_is_said_of_a_node_itself_only_makes_it_answer(one: Member, two: Member) -> None:
    published = two.own.incarnation
    [taken] = two.take(Rumour("two", published, State.DEAD, "one"))
    assert type(taken) is Rumour
    assert two.own.incarnation == published + 1
    two.take(Rumour("two", INCARNATION_MAX, State.DEAD, "one"))
    assert two.own.incarnation == published + 1, "no member can put the id out of its reach"
    assert not two.machine.has_lost_id


def test_the_farewell_of_an_earlier_process_is_outbid(one: Member, two: Member) -> None:
    ahead = Member(two.computer, "two", started_ms=NOW_MS + 40 * 365 * 86_400_000)  # its clock was wrong
    meet(one, ahead)
    farewell = ahead.says(ahead, State.LEFT)
    one.take(farewell)
    two.take(farewell)
    assert two.own.incarnation > farewell.incarnation
    one.take(two.own)
    assert one.lists(two)


def test_no_member_moves_the_incarnation_of_another_node_far(one: Member, two: Member) -> None:
    """Each refutation allowed the next lie, until the id was used up."""
    start = two.own.incarnation
    count_max = ACCUSATIONS_MAX + 4 * two.machine.node_count()
    for state in (State.SUSPECT, State.DEAD):
        for _ in range(2 * count_max):
            two.take(Rumour("two", two.own.incarnation + INCARNATION_STEP_MAX, state, "one"))
            two.take(Rumour("two", two.own.incarnation + 1, state))
    assert two.own.incarnation == start, "only this node publishes its incarnations"
    two.take(one.says(two, State.SUSPECT, incarnation=start + 1))
    assert two.own.incarnation == start
    for now in (0.0, 0.0, 3.0):
        for _ in range(2 * count_max):
            two.take(Rumour("two", two.own.incarnation, State.SUSPECT), now=now)
        assert two.own.incarnation == start + count_max + 2 * int(now)
    assert two.refused[-1] is Refusal.TOO_MANY
    accusation = Rumour("two", two.own.incarnation, State.SUSPECT)
    opened = two.open(one.seal(two, accusation), now=3.0)
    assert isinstance(opened, Datagram)
    assert opened.items == (accusation,), "machines whose datagrams were opened have their own allowances"


def test_a_machine_tells_of_one_death_of_an_earlier_process(first: Computer, one: Member, two: Member) -> None:
    three = Member(invited(first, "third"), "three")
    meet(one, two, three)
    earlier = two.own.incarnation + 1000
    death = one.says(two, State.DEAD, incarnation=earlier)
    assert two.take(msgspec.structs.replace(death, by="three")) == (), "it must be signed"
    assert two.take(Rumour("two", earlier, State.DEAD, "one")) == ()
    assert two.guard.check_request(Push(0, (death,)), b"", 0.0) == Push(0, (Rumour("two", earlier, State.DEAD),))
    two.take(death)  # it may be told again until it was outbid
    assert two.own.incarnation == earlier + 1
    other = one.says(two, State.DEAD, incarnation=earlier + 2)
    assert two.take(other) == ()
    assert two.refused[-1] is Refusal.TOO_MANY
    assert two.take(three.says(two, State.DEAD, incarnation=earlier + 2)) != ()


def test_a_machine_accuses_at_a_limited_rate(one: Member, two: Member) -> None:
    count_max = ACCUSATIONS_MAX + 4 * one.machine.node_count()
    accusations = [two.says(two.own, State.SUSPECT, incarnation=n) for n in range(1, count_max + 20)]
    accusations = [two.signer.sign_rumour(msgspec.structs.replace(one_, id="ghost")) for one_ in accusations]
    assert len(one.take(*accusations)) == count_max
    assert one.refused == [Refusal.TOO_MANY] * 19
    assert one.take(*accusations[:5]) == tuple(accusations[:5]), "those that were taken are known"
    assert len(one.take(*accusations[count_max:], now=3.0)) == 6
    assert one.take(one.says(two, State.SUSPECT)) != (), "it is the limit of one machine"


def test_machines_that_accuse_a_node_by_calls_have_allowances_of_their_own(one: Member, two: Member) -> None:
    accusation = Rumour("two", two.own.incarnation, State.SUSPECT)
    machine, other = one.computer.credential.key.fingerprint, two.computer.credential.key.fingerprint
    count_max = ACCUSATIONS_MAX + 4 * two.machine.node_count()
    for _ in range(count_max + 1):
        two.take(msgspec.structs.replace(accusation, incarnation=two.own.incarnation), sender=machine)
    assert two.refused == [Refusal.TOO_MANY]
    assert two.take(msgspec.structs.replace(accusation, incarnation=two.own.incarnation), sender=other) != ()


def test_the_ids_of_a_machine_share_its_limit_of_accusations(one: Member, two: Member) -> None:
    more = [Member(two.computer, f"two-{number}") for number in range(3)]
    meet(one, two, *more)
    count_max = ACCUSATIONS_MAX + 4 * one.machine.node_count()
    taken = 0
    for author in (two, *more):
        for incarnation in range(1, count_max + 1):
            ghost = msgspec.structs.replace(author.own, id="ghost")
            taken += len(one.take(author.says(ghost, State.SUSPECT, incarnation=incarnation)))
    assert taken == count_max


# Calls


def test_a_reply_is_that_of_the_node_that_was_asked(one: Member, two: Member) -> None:
    reply = SyncReply(two.own, True, (), ())
    assert one.guard.check_reply(reply, "two", 0.0) == reply
    assert one.guard.check_reply(Pong("two", 1, 0), "two", 0.0) == Pong("two", 1, 0)
    for forged in (SyncReply(two.own, True, (), (), is_leaving=True), Pong("two", 1, 0)):
        with pytest.raises(RemoteProtocolError, match="answered as"):
            one.guard.check_reply(forged, "three", 0.0)


def test_a_sync_brings_what_is_signed(first: Computer, one: Member, two: Member) -> None:
    three = Member(first, "three")
    forged = msgspec.structs.replace(three.own, hostname="elsewhere")
    reply = one.guard.check_reply(SyncReply(two.own, True, (forged, three.own), ()), "two", 0.0)
    assert reply == SyncReply(two.own, True, (three.own,), ())
    with pytest.raises(RemoteProtocolError):
        one.guard.check_request(SyncRequest(b"\0" * 8, forged), b"", 0.0)
    assert one.guard.check_request(SyncRequest(b"\0" * 8, three.own), b"", 0.0) == SyncRequest(b"\0" * 8, three.own)


def test_what_was_verified_is_not_verified_again(one: Member, two: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    rumour = two.says(one.own, State.SUSPECT, incarnation=5)
    rumour = two.signer.sign_rumour(msgspec.structs.replace(rumour, id="ghost"))
    assert one.take(two.own, rumour) == (two.own, rumour)

    def verify(*_: object) -> None:
        raise AssertionError("it is verified again")

    monkeypatch.setattr("meshp2p.trust.keys.PublicKey.verify", verify)
    assert isinstance(rumour, SignedRumour)
    assert one.take(two.own, rumour) == (two.own, rumour)
