"""Joining over TCP: an inviter that serves its invitation, and a newcomer's attempt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.errors import JoinFailed, RemoteProtocolError, StoreError
from meshp2p.net.port import Listener, host_of
from meshp2p.net.sockets import connect_tcp
from meshp2p.net.strangers import Strangers
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.joining import Invitation, InviterSide, NewcomerSide

__all__ = ["ATTEMPT_SECONDS", "InvitationServer", "join_at"]

ATTEMPT_SECONDS: Final = 10.0
"""The timeout of one attempt on either side. The user types the code before it begins. Chosen, not measured."""

ATTEMPTS_MAX: Final = 8
"""How many attempts run at once; one more ends the oldest of the host that has the most. Chosen, not measured."""

ATTEMPTS_PER_SECOND: Final = 20
"""How many attempts begin; more wait. One costs 12 ms of CPU time before the code is checked. Chosen, not measured."""

_CONNECT_SECONDS: Final = 3.0
_RECEIVE_BYTES: Final = 64 * 1024


class InvitationServer:
    """Serves one invitation. ``refresh`` takes in what other processes learned, such as that this machine was revoked.
    ``keep`` stores the grown trust map, before the newcomer is told that it joined. ``note`` gets a line for each
    machine that joined, with its label, and for each wrong code."""

    def __init__(
        self,
        credential: MachineCredential,
        invitation: Invitation,
        *,
        refresh: Callable[[], None],
        keep: Callable[[], Awaitable[None]],
        note: Callable[[str], None],
    ) -> None:
        self._credential = credential
        self._invitation = invitation
        self._refresh = refresh
        self._keep = keep
        self._note = note
        self._attempts = Strangers()
        self._welcoming = 0
        self._failure: StoreError | None = None
        self._ended = trio.Event()

    async def run(self, listener: Listener) -> None:
        """Accept until the invitation ends: it was used, it expired, or wrong codes ended it. Machines that have joined
        by then are still told so. Raises :class:`StoreError` if the disk failed; then nobody joined since."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._accept, listener, nursery)
            with trio.move_on_at(self._invitation.expires_at):
                await self._ended.wait()
            if self._welcoming:
                await self._ended.wait()
            nursery.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _accept(self, listener: Listener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError:  # out of descriptors: others close theirs
                stream = None
            if stream is not None:
                nursery.start_soon(self._serve, stream)
            await trio.sleep(1 / ATTEMPTS_PER_SECOND)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        with self._attempts.open(host_of(stream), ATTEMPTS_MAX, ATTEMPT_SECONDS):
            try:
                await self._speak(stream)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                await trio.aclose_forcefully(stream)

    async def _speak(self, stream: trio.abc.Stream) -> None:
        side = InviterSide(self._credential, self._find, host_of(stream) or "an unknown address")
        while not side.is_over:
            data = await stream.receive_some(_RECEIVE_BYTES)
            if not data:
                return
            wrong = len(self._invitation.wrong)
            try:
                self._refresh()
            except StoreError as error:
                self._fail(error)
                return
            reply = side.receive_data(bytes(data), trio.current_time())
            if len(self._invitation.wrong) > wrong:
                self._note(side.why)
            if side.joined:
                await self._welcome(stream, side, reply)
            else:
                await stream.send_all(reply)
        self._note_end()
        while await stream.receive_some(_RECEIVE_BYTES):  # until it has read the answer and closes
            pass

    async def _welcome(self, stream: trio.abc.Stream, side: InviterSide, reply: bytes) -> None:
        self._welcoming += 1
        try:
            try:
                with trio.CancelScope(shield=True):
                    await self._keep()
            except StoreError as error:  # then it is not let in
                self._fail(error)
                return
            machine = self._credential.trust.machines[side.joined[0].fingerprint]
            self._note(f"{machine.label} joined, with the key {machine.key.fingerprint.hex()[:16]}")
            await stream.send_all(reply)
            while await stream.receive_some(_RECEIVE_BYTES):
                pass
        finally:
            self._welcoming -= 1
            self._note_end()

    def _fail(self, error: StoreError) -> None:
        self._failure = error
        self._invitation.uses_left = 0
        self._note_end()

    def _note_end(self) -> None:
        if not self._welcoming and not self._invitation.is_open(trio.current_time()):
            self._ended.set()

    def _find(self, rendezvous: str) -> Invitation | None:
        return self._invitation if rendezvous == self._invitation.secret.rendezvous else None


async def join_at(addresses: tuple[Address, ...], newcomer: NewcomerSide) -> MachineCredential:
    """Make one attempt, at the first of these addresses to which a connection can be made. Raises
    :class:`JoinFailed`."""
    stream = await _connect(addresses)
    try:
        with trio.fail_after(ATTEMPT_SECONDS):
            await stream.send_all(newcomer.begin())
            while newcomer.credential is None:
                data = await stream.receive_some(_RECEIVE_BYTES)
                if not data:
                    raise JoinFailed("the inviter closed the connection: ask whether its invitation is still open")
                reply = newcomer.receive_data(bytes(data))
                if reply:
                    await stream.send_all(reply)
            return newcomer.credential
    except trio.TooSlowError as error:
        raise JoinFailed(f"the inviter did not answer in {ATTEMPT_SECONDS:g} s") from error
    except RemoteProtocolError as error:
        raise JoinFailed(f"the machine that answered is no inviter: {error}") from error
    except (OSError, trio.BrokenResourceError) as error:
        raise JoinFailed(f"the connection to the inviter broke: {error.__cause__ or error}") from error
    finally:
        await trio.aclose_forcefully(stream)


async def _connect(addresses: tuple[Address, ...]) -> trio.abc.Stream:
    failures: list[str] = []
    for address in addresses:
        with trio.move_on_after(_CONNECT_SECONDS):
            try:
                return await connect_tcp(address)
            except (OSError, ValueError) as error:
                failures.append(f"{address}: {error}")
                continue
        failures.append(f"{address}: no answer in {_CONNECT_SECONDS:g} s")
    raise JoinFailed(f"no connection to the inviter: {'; '.join(failures)}")
