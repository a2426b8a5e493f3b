"""Joining over real sockets: an inviter that serves, and what strangers may do to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import msgspec
import pytest
import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.errors import JoinFailed, StoreError
from meshp2p.net import joining
from meshp2p.net.joining import InvitationServer, join_at
from meshp2p.net.sockets import connect_tcp
from meshp2p.trust.joining import Invitation, NewcomerSide
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.spake import PasswordExchange
from meshp2p.trust.spoken import JoinCode
from meshp2p.trust.trust_map import TrustMap
from tests.net.secured import Computer, new_mesh

CODE = JoinCode(7, ("guitar", "tulip", "amber"))
WRONG = JoinCode(7, ("guitar", "tulip", "acorn"))


class Inviting:
    """A machine that serves one invitation. ``ended`` is set when it does no longer."""

    def __init__(self, seconds: float, uses: int) -> None:
        _, self.computer = new_mesh()
        self.invitation = Invitation(CODE, trio.current_time() + seconds, uses=uses)
        self.noted: list[str] = []
        self.address = Address("127.0.0.1", 1)
        self.ended = trio.Event()
        self.kept: list[bytes] = []
        self.take_in: Callable[[], None] = lambda: None
        """Takes in what the disk of the inviter holds."""

    def refresh(self) -> None:
        self.take_in()

    async def keep(self) -> None:
        await trio.lowlevel.checkpoint()
        self.kept.append(self.computer.credential.trust.digest())

    async def serve(self, listener: trio.SocketListener) -> None:
        self.address = Address("127.0.0.1", listener.socket.getsockname()[1])
        server = InvitationServer(
            self.computer.credential,
            self.invitation,
            refresh=self.refresh,
            keep=self.keep,
            note=self.noted.append,
        )
        async with listener:
            await server.run(listener)
        self.ended.set()

    async def join(self, secret: JoinCode = CODE) -> Computer:
        return Computer(await join_at((self.address,), NewcomerSide(secret, "bert@desktop")))


@contextlib.asynccontextmanager
async def inviting(*, seconds: float = 600, uses: int = 1) -> AsyncIterator[Inviting]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    inviter = Inviting(seconds, uses)
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inviter.serve, listener)
            await trio.testing.wait_all_tasks_blocked()
            yield inviter
            nursery.cancel_scope.cancel()


async def test_a_newcomer_joins_and_the_inviter_keeps_it_and_ends() -> None:
    async with inviting() as inviter:
        newcomer = await inviter.join()
        await inviter.ended.wait()
        assert inviter.computer.credential.trust.is_trusted(newcomer.credential.key.fingerprint)
        assert inviter.kept == [newcomer.credential.trust.digest()]
        assert inviter.noted[0].startswith("bert@desktop joined")
        with pytest.raises(JoinFailed, match="no connection to the inviter"):
            await inviter.join()


async def test_a_newcomer_that_cannot_be_kept_is_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Inviting) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreError("the disk is full")

    monkeypatch.setattr(Inviting, "keep", fail)
    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="the disk is full"), flatten_subgroups=True):
        async with inviting() as inviter:
            with pytest.raises(JoinFailed, match="closed the connection"):
                await inviter.join()
            await trio.sleep_forever()


async def test_three_wrong_codes_end_it_and_the_address_is_named() -> None:
    async with inviting() as inviter:
        for _ in range(3):
            with pytest.raises(JoinFailed, match="the code is wrong"):
                await inviter.join(WRONG)
        await inviter.ended.wait()
        assert inviter.noted == ["127.0.0.1 gave a wrong code"] * 3
        assert inviter.invitation.has_failed


async def test_an_invitation_ends_in_time_whoever_is_connected() -> None:
    async with inviting(seconds=0.2) as inviter:
        silent = await connect_tcp(inviter.address)
        await inviter.ended.wait()
        await silent.aclose()


async def test_those_who_say_nothing_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "ATTEMPTS_MAX", 2)
    async with inviting() as inviter:
        silent = [await connect_tcp(inviter.address) for _ in range(4)]
        await inviter.join()
        for stream in silent:
            await stream.aclose()


async def test_a_newcomer_tries_the_addresses_in_turn_and_gives_up_on_one_that_is_none() -> None:
    async with inviting() as inviter:
        (unused,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        refused = Address("127.0.0.1", unused.socket.getsockname()[1])
        await unused.aclose()
        with pytest.raises(JoinFailed, match="no connection to the inviter"):
            await join_at((refused,), NewcomerSide(CODE, "x"))
        await join_at((refused, inviter.address), NewcomerSide(CODE, "x"))


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 100])
async def test_what_is_no_inviter_is_an_error(data: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.receive_some()
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, serve, 0)
        address = Address("127.0.0.1", listeners[0].socket.getsockname()[1])
        with pytest.raises(JoinFailed, match=r"no inviter|closed the connection|broke"):
            await join_at((address,), NewcomerSide(CODE, "x"))
        nursery.cancel_scope.cancel()


# Attacks on the network


@contextlib.asynccontextmanager
async def listening(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[Address]:
    """Somebody who accepts connections in place of the inviter."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield Address("127.0.0.1", listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


async def receive_message(stream: trio.SocketStream) -> object:
    """The next message of an attempt, in its array."""
    data = bytes(await stream.receive_some(1 << 20))
    while len(data) - 4 < int.from_bytes(data[:4], "big"):
        data += await stream.receive_some(1 << 20)
    return msgspec.msgpack.decode(data[4:])


def framed(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


async def test_a_man_in_the_middle_gets_nobody_in_and_uses_up_a_try() -> None:
    async with inviting() as inviter:
        key = PrivateKey.generate()
        relayed: list[object] = []

        async def relay(newcomer: trio.SocketStream) -> None:
            there = await trio.open_tcp_stream("127.0.0.1", inviter.address.port)
            async with there, newcomer:
                tag, version, number, _ = cast("list[object]", await receive_message(newcomer))
                await there.send_all(framed([tag, version, number, key.public.spki]))
                tag, _, mesh, element = cast("list[object]", await receive_message(there))
                await newcomer.send_all(framed([tag, key.public.spki, mesh, element]))
                answer = await receive_message(newcomer)
                await there.send_all(framed(answer))
                refusal = await receive_message(there)
                relayed.extend((answer, refusal))
                await newcomer.send_all(framed(refusal))

        async with listening(relay) as between:
            with pytest.raises(JoinFailed, match="the code is wrong"):
                await join_at((between,), NewcomerSide(CODE, "bert@desktop"))
        assert len(relayed) == 2
        assert inviter.invitation.wrong == ["127.0.0.1"]
        assert len(inviter.computer.credential.trust.machines) == 1
        assert isinstance(await inviter.join(), Computer)  # the next try, past the man in the middle


async def test_an_impostor_inviter_takes_nobody_into_its_mesh() -> None:
    _, impostor = new_mesh()

    async def pretend(stream: trio.SocketStream) -> None:
        own, mesh = impostor.credential.key.public, impostor.credential.mesh_id
        await receive_message(stream)
        guess = PasswordExchange(WRONG.text.encode(), newcomer=b"", inviter=b"", is_newcomer=False)
        await stream.send_all(framed([1, own.spki, mesh, guess.element]))
        await receive_message(stream)
        await stream.send_all(framed([3, bytes(32), b"sealed"]))

    async with listening(pretend) as there:
        newcomer = NewcomerSide(CODE, "bert@desktop")
        with pytest.raises(JoinFailed, match="does not know the code: it is not the inviter"):
            await join_at((there,), newcomer)
        assert newcomer.credential is None


async def test_an_inviter_that_was_revoked_meanwhile_lets_nobody_in() -> None:
    async with inviting(uses=2) as inviter:
        credential = inviter.computer.credential

        def take_in() -> None:
            credential.trust.merge_untrusted(statements)

        await inviter.join()
        other = TrustMap(credential.root)
        other.merge_untrusted(credential.trust.statements())
        other.revoke(credential.key, credential.key.fingerprint)
        statements = other.statements()
        inviter.take_in = take_in
        with pytest.raises(JoinFailed, match="the inviter may not invite"):
            await inviter.join()
        assert len(credential.trust.machines) == 2


async def test_an_inviter_whose_disk_fails_says_so_and_lets_nobody_in() -> None:
    def fail() -> None:
        raise StoreError("it cannot be read")

    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="it cannot be read"), flatten_subgroups=True):
        async with inviting() as inviter:
            inviter.take_in = fail
            with pytest.raises(JoinFailed):
                await inviter.join()
            await inviter.ended.wait()
