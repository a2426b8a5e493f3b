"""Trust maps of connected nodes: what one learns reaches the others, and the connections of revoked agents end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from meshp2p.core.calls import Done, Probe
from meshp2p.core.effects import Call, CallFailed
from meshp2p.core.record import Record, Rumour, SignedRecord, State
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.net.mesh_trust import DISMISS_SECONDS, ROUNDS, UPDATE_SECONDS, MeshTrust, revoked_error
from meshp2p.net.open_calls import CallBroken
from meshp2p.net.peer_connection import PeerConnection
from meshp2p.store.credentials import CredentialDirectory
from meshp2p.store.trust_files import AGENTS_MAX
from meshp2p.trust import trust_map
from meshp2p.trust.introduction import TrustUpdate
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.statements import Statements
from meshp2p.wire.exchange import PART_BYTES_MAX
from meshp2p.wire.peer_frames import CallKind
from tests.net.guarded import NOW_MS, Member, meet
from tests.net.secured import Computer, invited, new_mesh, record_of
from tests.net.service import CODEC, Node, running


def node_of(computer: Computer, name: str) -> Node:
    return Node(name, 1, security=computer.start(name))


async def connect(one: Node, other: Node) -> PeerConnection:
    found = await one.peers.find(other.name, other.boot, (other.address,))
    assert isinstance(found, PeerConnection)
    await found.has_hello.wait()
    return found


async def until(holds: Callable[[], object]) -> None:
    with trio.fail_after(60):
        while not holds():  # noqa: ASYNC110  # there is no event for it
            await trio.sleep(0.02)  # virtual


async def ignore(self: MeshTrust, connection: PeerConnection, body: bytes) -> bytes:
    """Stands for :meth:`MeshTrust.answer` of a node that answers nothing."""
    await trio.sleep_forever()
    raise AssertionError


async def call(one: Node, other: Node) -> object:
    return await one.peers.call(Call(0, (other.address,), Probe(0), 30.0, other.name, other.boot))


async def test_what_one_node_learns_reaches_all_over_the_connections_that_there_are(
    autojump_clock: trio.testing.MockClock,
) -> None:
    root_key, first = new_mesh()
    second, third, lost = invited(first), invited(first), invited(first, "lost")
    a, b, c = node_of(first, "a"), node_of(second, "b"), node_of(third, "c")
    async with running(a, b, c):
        await connect(a, b)
        await connect(b, c)
        first.credential.trust.revoke(root_key, lost.credential.key.fingerprint)
        for computer in (first, second, third):
            trust = computer.credential.trust
            await until(functools.partial(trust.why_revoked, lost.credential.key.fingerprint))
        assert third.kept >= 1
        assert await call(a, b) == Done()  # nobody else was shut out
        assert await call(b, c) == Done()


async def test_maps_that_grow_on_both_sides_at_once_become_equal(autojump_clock: trio.testing.MockClock) -> None:
    _, first = new_mesh()
    second = invited(first, may_invite=True)
    a, b = node_of(first, "a"), node_of(second, "b")
    async with running(a, b):
        connection = await connect(a, b)
        for _ in range(5):
            invited(first)
            invited(second)
        await until(lambda: first.credential.trust.digest() == second.credential.trust.digest())
        assert len(first.credential.trust.machines) == 12
        assert not connection.is_closed


async def test_a_revoked_node_is_told_and_its_connections_end_and_it_is_refused_afterwards(
    autojump_clock: trio.testing.MockClock,
) -> None:
    root_key, first = new_mesh()
    second, lost = invited(first), invited(first, "lost")
    a, b, c = node_of(first, "a"), node_of(second, "b"), node_of(lost, "c")
    async with running(a, b, c):
        connections = [await connect(c, a), await connect(b, c)]
        first.credential.trust.revoke(root_key, lost.credential.key.fingerprint)
        await connect(a, b)
        await until(lambda: all(one.is_closed for one in connections))
        await until(lambda: not lost.credential.is_trusted)
        error = revoked_error(lost.credential, "c")
        assert "'lost' was revoked by the root" in str(error)
        assert "meshp2p join" in str(error)
        assert a.expelled == b.expelled == {(lost.credential.key.fingerprint, "c")}
        assert isinstance(await call(c, a), CallFailed)
        assert isinstance(await call(b, c), CallFailed)


async def test_a_revoked_node_that_does_not_listen_is_cut_off_and_served_no_more(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    root_key, first = new_mesh()
    lost = invited(first, "lost")
    a, c = node_of(first, "a"), node_of(lost, "c")

    async with running(a, c):
        connection = await connect(c, a)
        monkeypatch.setattr(MeshTrust, "answer", ignore)
        first.credential.trust.revoke(root_key, lost.credential.key.fingerprint)
        served = next(iter(a.peers.connections))
        await until(lambda: bool(served.why_barred))
        revoked_at = trio.current_time()
        reply = await call(c, a)
        assert isinstance(reply, CallFailed)
        assert "revoked" in reply.reason
        assert a.requests == []
        await until(lambda: connection.is_closed)
        assert trio.current_time() - revoked_at <= DISMISS_SECONDS + 2.0


async def test_nothing_is_passed_on_for_a_revoked_node_that_does_not_listen(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    root_key, first = new_mesh()
    second, lost = invited(first), invited(first, "lost")
    relay, target, c = node_of(first, "relay"), node_of(second, "target"), node_of(lost, "c")
    relay.known["target"] = target
    body = CODEC.encode(Probe(0))
    async with running(relay, target, c):
        connection = await connect(c, relay)
        assert connection.open_call(CallKind.MESSAGE, body, target="target").connection is connection
        await until(lambda: len(target.requests) == 1)
        target.may_answer = trio.Event()
        under_way = connection.open_call(CallKind.MESSAGE, body, target="target")
        await until(lambda: len(target.requests) == 2)
        monkeypatch.setattr(MeshTrust, "answer", ignore)
        first.credential.trust.revoke(root_key, lost.credential.key.fingerprint)
        served = next(one for one in relay.peers.connections if one.peer and one.peer.id == "c")
        await until(lambda: bool(served.why_barred))
        assert not served.is_usable
        assert len(relay.peers._relays) == 0
        target.may_answer.set()
        later = connection.open_call(CallKind.MESSAGE, body, target="target")
        with pytest.raises(CallBroken, match="revoked"):
            await later.receive()
        with pytest.raises(CallBroken):
            await under_way.receive()
        assert len(target.requests) == 2


async def test_one_agent_is_shut_out_and_the_others_of_its_machine_stay(autojump_clock: trio.testing.MockClock) -> None:
    root_key, first = new_mesh()
    second = invited(first)
    a, b, c = node_of(first, "a"), node_of(second, "b"), node_of(second, "c")
    async with running(a, b, c):
        stays, goes = await connect(b, a), await connect(c, a)
        first.credential.trust.revoke(root_key, second.credential.key.fingerprint, agent="c")
        await until(lambda: goes.is_closed)
        assert a.expelled == {(second.credential.key.fingerprint, "c")}
        assert not stays.is_closed
        assert await call(b, a) == Done()
        assert revoked_error(second.credential, "b") is None
        assert "use another id" in str(revoked_error(second.credential, "c"))


def connect_as(computer: Computer, agent_id: str, boot: int, trust: MeshTrust) -> None:
    """Let a node note the agent certificate that a process of this machine showed."""
    certificate = computer.credential.issue_agent(PrivateKey.generate().public, agent_id, boot)
    role = trust.credential.trust.verify_agent(certificate)
    trust.agents.meet(certificate.issuer, role)


def revoke_own(computer: Computer, agent_id: str, at: Computer) -> None:
    """Let a machine revoke one of its own agents, and another machine learn of it."""
    credential = computer.credential
    signed = credential.trust.revoke(credential.key, credential.key.fingerprint, agent=agent_id)
    at.credential.trust.merge_untrusted(Statements((), signed))


def expel_revoked(member: Member, trust: MeshTrust) -> list[tuple[bytes, str]]:
    """What the driver of a node does when its trust map grew."""
    gone = trust.agents.revoked(trust.credential.trust)
    member.machine.expel({*gone, *member.guard.revoked_agents()}, 1.0, member.guard.is_trusted_caller)
    return gone


def test_a_machine_that_revokes_its_own_agent_expels_no_node_of_another_machine_with_that_id() -> None:
    _, first = new_mesh()
    other, mallory, accomplice = invited(first), invited(first, "mallory"), invited(first, "accomplice")
    b, victim = Member(first, "b"), Member(other, "victim")
    meet(b, victim)
    assert b.take(Member(other, "elsewhere").own)
    trust = MeshTrust(first.credential, "b", {}, first)
    connect_as(mallory, "victim", victim.own.boot, trust)
    revoke_own(mallory, "victim", first)
    assert expel_revoked(b, trust) == [(mallory.credential.key.fingerprint, "victim")]
    assert b.lists(victim)
    # the id is not free, and the victim can still publish
    first.credential.trust.merge_untrusted(accomplice.credential.trust.statements())
    b.take(Member(accomplice, "victim", started_ms=NOW_MS + 1000).own)
    held = b.machine.claim_of("victim")
    assert isinstance(held, SignedRecord)
    assert held.proof.owner == other.credential.key.fingerprint
    victim.take(Rumour("victim", victim.own.incarnation, State.DEAD), now=2.0)
    assert b.take(victim.own, now=3.0)
    assert b.machine.claim_of("victim") == victim.own
    # its own machine can revoke it
    revoke_own(other, "victim", first)
    expel_revoked(b, trust)
    assert not b.lists(victim)
    assert b.machine.has_node("elsewhere")


def test_what_is_expelled_goes_with_what_it_hosts_and_another_machine_may_use_the_id() -> None:
    _, first = new_mesh()
    lost, heir = invited(first, "lost"), invited(first, "heir")
    b, old, new = Member(first, "b"), Member(lost, "agent"), Member(heir, "agent")
    old.machine.register(Profile("hosted", "agent.example", 1), 0.5)
    hosted = old.machine.claim_of("hosted")
    assert isinstance(hosted, SignedRecord)
    assert new.own.boot == old.own.boot
    meet(b, old)
    assert b.take(hosted)
    revoke_own(lost, "agent", first)
    expel_revoked(b, MeshTrust(first.credential, "b", {}, first))
    assert set(b.machine.records()) == {"b"}
    first.credential.trust.merge_untrusted(heir.credential.trust.statements())
    fields = {name: getattr(new.own, name) for name in Record.__struct_fields__}
    b.take(new.signer.sign_record(Record(**{**fields, "incarnation": old.own.incarnation + 1})))
    assert b.lists(new)
    b.machine.expel([(lost.credential.key.fingerprint, "agent")], 2.0)
    assert b.lists(new)


def test_the_boots_of_one_machine_displace_those_of_no_other(tmp_path: Path) -> None:
    _, first = new_mesh()
    other, mallory = invited(first), invited(first, "mallory")
    trust = MeshTrust(first.credential, "b", {}, first)
    fingerprint = mallory.credential.key.fingerprint
    trust.agents.note_record(record_of(other, "victim", 2))
    for number in range(5000):
        trust.agents.note_record(record_of(mallory, f"x{number}", 2))
    with pytest.raises(RemoteProtocolError, match="boot 1 is over"):
        connect_as(other, "victim", 1, trust)
    with pytest.raises(RemoteProtocolError, match="boot 1 is over"):
        connect_as(mallory, "x4999", 1, trust)
    connect_as(mallory, "x0", 1, trust)  # it was forgotten
    directory = CredentialDirectory(tmp_path)
    directory.add_agents({(other.credential.key.fingerprint, "victim"): 2})
    directory.add_agents({(fingerprint, f"x{number}"): 2 for number in range(5000)})
    kept = directory.load_agents()
    assert list(kept)[:2] == [(other.credential.key.fingerprint, "victim"), (fingerprint, f"x{5000 - AGENTS_MAX}")]
    assert len(kept) == 1 + AGENTS_MAX


async def test_a_peer_that_answers_no_updates_is_let_go(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    _, first = new_mesh()
    second = invited(first)
    a, b = node_of(first, "a"), node_of(second, "b")

    async with running(a, b):
        connection = await connect(a, b)
        monkeypatch.setattr(MeshTrust, "answer", ignore)
        invited(first)
        start = trio.current_time()
        await until(lambda: connection.is_closed)
        assert trio.current_time() - start <= UPDATE_SECONDS + 2.0
        monkeypatch.undo()
        await connect(a, b)  # the maps are compared at the start of the next connection
        assert first.credential.trust.digest() == second.credential.trust.digest()


@pytest.mark.parametrize("body", [b"", b"\x92", TrustUpdate(bytes(32)).encode() + b"x", bytes(PART_BYTES_MAX)])
async def test_what_is_no_update_is_refused_and_the_connection_stays(
    body: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    _, first = new_mesh()
    second = invited(first)
    a, b = node_of(first, "a"), node_of(second, "b")
    async with running(a, b):
        connection = await connect(a, b)
        asked = connection.open_call(CallKind.TRUST, body)
        with pytest.raises(CallBroken, match="no update of a trust map"):
            await asked.receive()
        asked.close()
        assert await call(a, b) == Done()


async def test_an_open_node_takes_no_trust_map(autojump_clock: trio.testing.MockClock) -> None:
    a, b = Node("a", 1), Node("b", 1)
    async with running(a, b):
        connection = await connect(a, b)
        asked = connection.open_call(CallKind.TRUST, TrustUpdate(bytes(32)).encode())
        with pytest.raises(CallBroken, match="secured meshes"):
            await asked.receive()
        asked.close()


async def test_an_old_process_is_refused_also_after_everybody_restarted(autojump_clock: trio.testing.MockClock) -> None:
    _, first = new_mesh()
    second = invited(first)
    old, new = second.start("agent", 1), second.start("agent", 2)
    security = first.start("a")
    a, b = Node("a", 1, security=security), Node("agent", 2, security=new)
    async with running(a, b):
        await connect(b, a)
        security.trust.agents.note_record(record_of(second, "agent", 2))
        await until(lambda: first.boots == {(second.credential.key.fingerprint, "agent"): 2})
    a, b = node_of(first, "a"), Node("agent", 1, security=old)
    async with running(a, b):
        assert isinstance(await call(b, a), CallFailed)
        assert a.refused == [Refusal.UNTRUSTED]


async def test_maps_that_are_full_and_differ_are_compared_only_when_one_grows(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(trust_map, "MACHINES_MAX", 5)
    _, first = new_mesh()
    second = invited(first, may_invite=True)
    a, b = node_of(first, "a"), node_of(second, "b")
    async with running(a, b):
        connection = await connect(a, b)
        for _ in range(3):
            invited(first)
            invited(second)
        asked = 0
        answer = MeshTrust.answer

        async def count(self: MeshTrust, connection: PeerConnection, body: bytes) -> bytes:
            nonlocal asked
            asked += 1
            return await answer(self, connection, body)

        monkeypatch.setattr(MeshTrust, "answer", count)
        await trio.sleep(60)
        assert first.credential.trust.digest() != second.credential.trust.digest()
        assert not connection.is_closed
        assert 1 <= asked <= 2 * ROUNDS


async def test_a_map_that_fits_into_no_call_is_exchanged_on_the_next_connection(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr("meshp2p.net.mesh_trust.PART_BYTES_MAX", 1000)
    _, first = new_mesh()
    second = invited(first)
    a, b = node_of(first, "a"), node_of(second, "b")
    async with running(a, b):
        connection = await connect(a, b)
        for _ in range(3):
            invited(first)
        await until(lambda: connection.is_closed)
        await connect(a, b)
        assert first.credential.trust.digest() == second.credential.trust.digest()
