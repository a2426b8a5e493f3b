"""TLS between nodes of a secured mesh: who gets in, and what both know afterwards."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from meshp2p.core.calls import Done, Probe
from meshp2p.core.effects import Call
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.net import tls as tls_module
from meshp2p.net.peers import Peers
from meshp2p.net.secure_stream import CallerStream, VerifiedStream
from meshp2p.net.sockets import connect_tcp
from meshp2p.net.tls import HANDSHAKE_SECONDS, NodeTls
from meshp2p.trust.certificates import issue_agent
from meshp2p.trust.introduction import INTRODUCTION_BYTES_MAX
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.statements import Statements
from meshp2p.wire.peer_frames import PEER_MAGIC, PeerHello
from tests.net.secured import Computer, invited, new_mesh, record_of
from tests.net.service import CODEC, Node, running

Outcome = VerifiedStream | CallerStream | Exception


async def meet(dialler: NodeTls, listener: NodeTls) -> tuple[Outcome, Outcome]:
    """What both sides make of a connection."""
    here, there = trio.testing.memory_stream_pair()
    outcomes: dict[str, Outcome] = {}

    async def note(side: str, identify: Callable[[], Awaitable[VerifiedStream | CallerStream]]) -> None:
        try:
            outcomes[side] = await identify()
        except (RemoteProtocolError, OSError) as error:
            outcomes[side] = error

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, "dialler", lambda: dialler.dial(here))
            nursery.start_soon(note, "listener", lambda: listener.accept(there, "192.0.2.7"))
    return outcomes["dialler"], outcomes["listener"]


def ids(outcomes: tuple[Outcome, Outcome]) -> list[str | None]:
    return [one.instance_id if isinstance(one, VerifiedStream) else None for one in outcomes]


async def test_members_of_one_mesh_know_one_another_by_their_certificates() -> None:
    _, first = new_mesh()
    second = invited(first, may_invite=True)
    third = invited(second)
    for dialler, listener in ((first, second), (third, first), (third, second), (first, first)):
        assert ids(await meet(dialler.start("one"), listener.start("two"))) == ["two", "one"]


async def test_bytes_pass_both_ways_after_it() -> None:
    _, first = new_mesh()
    dialler, listener = await meet(first.start("one"), invited(first).start("two"))
    assert isinstance(dialler, VerifiedStream)
    assert isinstance(listener, VerifiedStream)
    data = bytes(range(256)) * 1000
    for sender, receiver in ((dialler, listener), (listener, dialler)):
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send_all, data)
            while len(received) < len(data):
                received += await receiver.receive_some()
        assert received == data


async def test_strangers_are_refused_by_both_sides() -> None:
    _, first = new_mesh()
    _, other = new_mesh()  # the same name, and another root
    for dialler, listener in ((other, first), (first, other)):
        outcomes = await meet(dialler.start(), listener.start())
        assert ids(outcomes) == [None, None]
        assert any(isinstance(one, RemoteProtocolError) and one.reason is Refusal.UNTRUSTED for one in outcomes)


async def test_a_stranger_without_a_certificate_is_refused() -> None:
    _, first = new_mesh()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["meshp2p/2"])
    here, there = trio.testing.memory_stream_pair()
    stranger = trio.SSLStream(here, context)

    async def knock() -> None:
        await stranger.do_handshake()
        with pytest.raises(trio.BrokenResourceError):
            await stranger.receive_some(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(knock)
        with pytest.raises(RemoteProtocolError, match="expected meshp2p/2 and a certificate"):
            await first.start().accept(there, "192.0.2.7")


@pytest.mark.parametrize(("version", "alpn"), [(ssl.TLSVersion.TLSv1_2, "meshp2p/2"), (ssl.TLSVersion.TLSv1_3, "h2")])
async def test_only_tls_1_3_with_our_protocol_is_spoken(
    monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion, alpn: str
) -> None:
    _, first = new_mesh()
    listener = first.start()
    make = tls_module._make_context

    def make_other(side: int, root: str) -> ssl.SSLContext:
        context = make(side, root)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = version
        context.set_alpn_protocols([alpn])
        return context

    monkeypatch.setattr(tls_module, "_make_context", make_other)
    assert ids(await meet(first.start(), listener)) == [None, None]


async def test_a_certificate_that_the_machine_may_not_issue_is_refused() -> None:
    _, first = new_mesh()
    second = invited(first, ids="worker-*")
    key = PrivateKey.generate()
    certificate = issue_agent(key.public, "leader", 1, mesh_id=second.credential.mesh_id, machine=second.credential.key)
    forged = second.tls(key, certificate)
    outcomes = await meet(forged, first.start())
    assert isinstance(outcomes[1], RemoteProtocolError)
    assert "may not use the id" in str(outcomes[1])
    assert ids(await meet(second.start("worker-1"), first.start("first"))) == ["first", "worker-1"]


# Trust maps


async def test_both_trust_maps_become_one() -> None:
    _, first = new_mesh()
    second, third = invited(first), invited(first)
    invited(first, "fourth")
    assert first.credential.trust.digest() != second.credential.trust.digest()
    await meet(first.start(), second.start())
    assert first.credential.trust.digest() == second.credential.trust.digest()
    assert (first.kept, second.kept) == (0, 1)
    await meet(third.start(), second.start())
    assert third.credential.trust.digest() == first.credential.trust.digest()
    await meet(third.start(), second.start())
    assert (second.kept, third.kept) == (1, 1)  # nothing is written that is known


async def test_a_revoked_machine_is_refused_also_by_a_node_that_hears_of_it_then() -> None:
    root_key, first = new_mesh()
    second, lost = invited(first), invited(first, "lost")
    first.credential.trust.revoke(root_key, lost.credential.key.fingerprint)
    assert first.credential.trust.evidence_against(second.credential.key.fingerprint).revocations == ()
    running, member = lost.start(), first.start()
    for dialler, listener in ((running, member), (member, running)):
        outcomes = await meet(dialler, listener)
        here = outcomes[1] if listener is member else outcomes[0]
        assert isinstance(here, RemoteProtocolError)
        assert here.reason is Refusal.REVOKED
        assert not lost.credential.is_trusted  # it was told
    assert ids(await meet(second.start(), first.start())) == ["agent", "agent"]
    assert not second.credential.trust.is_trusted(lost.credential.key.fingerprint)
    outcomes = await meet(stale(lost), second.start())
    assert isinstance(outcomes[1], RemoteProtocolError)


def stale(lost: Computer) -> NodeTls:
    """A node of a machine that knows that it was revoked, and tries all the same."""
    key = PrivateKey.generate()
    machine = lost.credential.key
    certificate = issue_agent(key.public, "agent", 1, mesh_id=lost.credential.mesh_id, machine=machine)
    return lost.tls(key, certificate)


async def test_a_node_that_slept_through_a_revocation_learns_of_it_from_whom_it_meets() -> None:
    root_key, first = new_mesh()
    sleeper, lost = invited(first), invited(first, "lost")
    await meet(sleeper.start(), lost.start())
    first.credential.trust.revoke(root_key, lost.credential.key.fingerprint)
    await meet(sleeper.start(), first.start())
    outcomes = await meet(stale(lost), sleeper.start())
    assert isinstance(outcomes[1], RemoteProtocolError)
    assert outcomes[1].reason is Refusal.REVOKED


async def test_a_revocation_that_the_revoked_machine_itself_brings_is_kept() -> None:
    root_key, first = new_mesh()
    sleeper, lost = invited(first), invited(first, "lost")
    await meet(sleeper.start(), lost.start())
    first.credential.trust.revoke(root_key, lost.credential.key.fingerprint)
    lost.credential.trust.merge_untrusted(first.credential.trust.statements())
    kept = sleeper.kept
    outcomes = await meet(stale(lost), sleeper.start())
    assert isinstance(outcomes[1], RemoteProtocolError)
    assert outcomes[1].reason is Refusal.REVOKED
    assert sleeper.kept == kept + 1


async def test_an_old_process_of_an_instance_is_refused_after_a_new_one() -> None:
    _, first = new_mesh()
    second = invited(first)
    listener = first.start("listener")
    old, new = second.start("agent", 1), second.start("agent", 2)
    assert ids(await meet(old, listener)) == ["listener", "agent"]
    assert ids(await meet(new, listener)) == ["listener", "agent"]
    assert ids(await meet(old, listener)) == ["listener", "agent"], "the new one may yet lose the id to it"
    listener.trust.agents.note_record(record_of(second, "agent", 2))
    outcomes = await meet(old, listener)
    assert isinstance(outcomes[1], RemoteProtocolError)
    assert "boot 1 is over" in str(outcomes[1])


async def test_what_a_revoked_machine_claims_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    root_key, first = new_mesh()
    lost = invited(first, "lost", may_invite=True)
    first.credential.trust.revoke(root_key, lost.credential.key.fingerprint)
    invited(lost)
    before = first.credential.trust.digest()
    read: list[bytes] = []

    def decode(body: bytes) -> Statements:
        read.append(body)
        return Statements()

    monkeypatch.setattr(Statements, "decode_untrusted", decode)
    outcomes = await meet(lost.start(), first.start())
    assert isinstance(outcomes[1], RemoteProtocolError)
    assert outcomes[1].reason is Refusal.REVOKED
    assert len(read) == 1  # by the revoked one, which is told
    assert first.credential.trust.digest() == before


# What strangers cost


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", bytes(1000)])
async def test_who_says_nothing_or_no_tls_is_let_go_in_time(autojump_clock: trio.abc.Clock, data: bytes) -> None:
    _, first = new_mesh()
    here, there = trio.testing.memory_stream_pair()
    await here.send_all(data)
    start = trio.current_time()
    with pytest.raises(OSError, match=r"did not say who it is|no TLS connection"):
        await first.start().accept(there, "192.0.2.7")
    assert trio.current_time() - start <= HANDSHAKE_SECONDS
    with pytest.raises(trio.BrokenResourceError):
        await here.send_all(b"x")


@pytest.mark.parametrize("length", [INTRODUCTION_BYTES_MAX + 1, (1 << 32) - 1])
async def test_a_member_that_announces_a_huge_introduction_is_refused(length: int) -> None:
    _, first = new_mesh()
    member = first.start()
    here, there = trio.testing.memory_stream_pair()
    stream = trio.SSLStream(here, member._dialling, https_compatible=True)

    async def attack() -> None:
        await stream.do_handshake()
        await stream.send_all(length.to_bytes(4, "big"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attack)
        with pytest.raises(RemoteProtocolError, match="expected at most"):
            await first.start().accept(there, "192.0.2.7")


# A port and peers


async def call(target: Node, security: NodeTls | None, own: str = "dialler") -> bool:
    """Whether a call of a node with this security is answered."""
    peers = Peers(CODEC, PeerHello(own, 1), security=security)
    async with trio.open_nursery() as nursery:
        await nursery.start(peers.run, Node(own, 1))
        reply = await peers.call(Call(0, (target.address,), Probe(0), 30.0))
        nursery.cancel_scope.cancel()
    return reply == Done()


async def test_members_call_one_another_and_nobody_else_does() -> None:
    _, first = new_mesh()
    _, stranger = new_mesh()
    second = invited(first)
    node = Node("listener", 1, security=first.start("listener"))
    async with running(node):
        assert await call(node, second.start("dialler"))
        assert node.senders == [second.credential.key.fingerprint]
        assert not await call(node, None)
        assert node.port_stats.plain == 1
        assert not await call(node, stranger.start("dialler"))
        assert node.refused == [Refusal.UNTRUSTED]
        assert not await call(node, second.start("dialler"), "somebody else")
        assert node.refused == [Refusal.UNTRUSTED] * 2


async def test_an_open_node_and_a_secured_one_do_not_talk() -> None:
    _, first = new_mesh()
    secured, open_one = Node("secured", 1, security=first.start("secured")), Node("open", 1)
    async with running(secured, open_one):
        assert not await call(open_one, first.start("dialler"))
        assert open_one.port_stats.tls == 1
        assert open_one.requests == secured.requests == []


async def test_plain_frames_to_a_secured_port_are_closed_and_counted() -> None:
    _, first = new_mesh()
    node = Node("listener", 1, security=first.start("listener"))
    async with running(node):
        stream = await connect_tcp(node.address)
        await stream.send_all(PEER_MAGIC)
        with trio.fail_after(60):
            try:
                assert await stream.receive_some() == b""
            except trio.BrokenResourceError:
                pass
        assert node.port_stats.plain == 1
        await stream.aclose()


async def test_connections_that_stay_unknown_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshp2p.net.peers.HANDSHAKES_MAX", 4)
    _, first = new_mesh()
    node = Node("listener", 1, security=first.start("listener"))
    async with running(node):
        silent = [await connect_tcp(node.address) for _ in range(8)]
        for stream in silent:
            await stream.send_all(b"\x16")
        with trio.fail_after(60):
            for stream in silent[:4]:
                with contextlib.suppress(trio.BrokenResourceError):
                    assert await stream.receive_some() == b""
        assert await call(node, invited(first).start("dialler"))
        for stream in silent:
            await stream.aclose()
