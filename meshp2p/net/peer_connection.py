"""One connection between two nodes: a stream, the protocol that it speaks, and the calls on it."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.net.open_calls import CallBroken
from meshp2p.net.secure_stream import VerifiedStream
from meshp2p.net.sockets import receive_some
from meshp2p.wire.peer_events import CallArrived, CallEnded, CallReset, HelloArrived, PartArrived, PeerEvent
from meshp2p.wire.peer_frames import CallKind, OpenFrame, PeerHello, ResetReason
from meshp2p.wire.peer_protocol import PeerProtocol

__all__ = ["AskedCall", "OnEvent", "PeerConnection", "ServedCall"]

WRITE_SECONDS: Final = 10.0
"""How long the other side may take to read a chunk before the connection is cut. Chosen, not measured."""

SILENT_CHECKS: Final = 5
"""How many times in a row, once a second, a node with a query under way may leave a check unanswered. Chosen, not
measured."""

_RECEIVE_BYTES: Final = 64 * 1024

_log = logging.getLogger("meshp2p.net")


class AskedCall:
    """A call that was opened here. Close it after use; that cancels it if its reply has not ended."""

    def __init__(self, connection: PeerConnection, call_id: int) -> None:
        self.connection: PeerConnection = connection
        self.id: int = call_id
        self._parts: deque[bytes] = deque()
        self._has_ended = False
        self._broken: CallBroken | None = None
        self.on_news: Callable[[], None] | None = None
        """Called for each part, and at the end of the reply, by the task that reads the connection."""

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`receive` returns at once."""
        return bool(self._parts) or self._has_ended

    async def receive(self) -> bytes | None:
        """Return the next part, or None at the end of the reply. Raises :class:`CallBroken`. Cancel-safe."""
        while not self.is_ready and self._broken is None:
            event = trio.Event()
            self.on_news = event.set
            await event.wait()
        return self.receive_nowait()

    def receive_nowait(self) -> bytes | None:
        """Return the next part, None at the end of the reply or if there is none yet. Raises :class:`CallBroken`."""
        if not self._parts:
            if self._broken is not None and not self._has_ended:
                raise self._broken
            return None
        part = self._parts.popleft()
        self.connection.protocol.consume(self.id)
        self.connection.flush()
        return part

    def handle_event(self, event: PartArrived | CallEnded | CallBroken) -> None:
        if isinstance(event, PartArrived):
            self._parts.append(event.data)
        elif isinstance(event, CallEnded):
            self._has_ended = True
        else:
            self._broken = event
        if self.on_news is not None:
            self.on_news()

    def close(self) -> None:
        self.connection.asked.pop(self.id, None)
        if self.connection.protocol.is_open(self.id):
            self.connection.protocol.reset(self.id, ResetReason.CANCELLED)
            self.connection.flush()


class ServedCall:
    """A call that the other side opened: :class:`~meshp2p.net.open_calls.IncomingCall`. ``scope`` is cancelled if no
    task waits for the reply any more."""

    def __init__(self, connection: PeerConnection, arrived: CallArrived) -> None:
        self.connection: PeerConnection = connection
        self.id: int = arrived.call
        self.kind: CallKind = arrived.kind
        self.source: str = arrived.source or (connection.peer.id if connection.peer else "")
        self.body: bytes = arrived.body
        self.deadline: float = trio.current_time() + (arrived.seconds or float("inf"))
        self.scope: trio.CancelScope = trio.CancelScope()
        self.has_ended: bool = False
        """The last part was sent."""

    async def send_part(self, data: bytes, *, is_last: bool = False) -> None:
        """Send one part of the reply, after the earlier ones."""
        connection = self.connection
        if self.has_ended:
            return
        connection.protocol.send_part(self.id, data, is_last=is_last)
        self.has_ended = is_last
        connection.flush()
        if not is_last:  # whoever sends another part gives others a turn
            await trio.lowlevel.checkpoint()
        while connection.protocol.has_unsent(self.id) and not connection.is_closed:
            await connection.wait_written()


OnEvent = Callable[["PeerConnection", PeerEvent], None]
"""Gets the events that concern the whole node: hellos, calls of the other side, and relayed calls."""


class PeerConnection:
    """A connection from its first byte to its end. ``address`` is where it was dialled, None if the other side dialled.
    ``host`` is that of the other machine."""

    def __init__(self, stream: trio.abc.Stream, protocol: PeerProtocol, host: str, address: Address | None) -> None:
        self.protocol: PeerProtocol = protocol
        self.host: str = host
        self.address: Address | None = address
        self.asked: dict[int, AskedCall] = {}
        self.served: dict[int, ServedCall] = {}
        self.has_hello: trio.Event = trio.Event()
        """Set when the other side has sent its hello, or the connection has ended."""
        self.is_retired: bool = False
        """No more calls are opened on it: another connection is better, or it was not used for long."""
        self.retired: trio.Event = trio.Event()
        self.is_closed: bool = False
        self.why_closed: str = ""
        self.refusal: RemoteProtocolError | None = None
        self.opened_at: float = trio.current_time()
        self.used_at: float = self.opened_at
        """The time at which a call was last open."""
        self.heard_at: float = self.opened_at
        """The time of the last byte."""
        self.has_been_used: bool = False
        """Whether a call was opened on it from here."""
        self.silent_since: float = -1.0
        """Since when a call has waited without any byte from the other side."""
        self._stream = stream
        self._scope = trio.CancelScope()
        self._has_output = trio.Event()
        self._written = trio.Event()
        self._checked_at = self.opened_at
        self._silent_checks = 0
        self._unsent = b""
        self._is_writer_idle = False
        self.verified: VerifiedStream | None = stream if isinstance(stream, VerifiedStream) else None
        """The connection in a secured mesh."""
        self._tls = None if self.verified is None else self.verified.tls
        self._transport = stream if self._tls is None else self._tls.transport
        self._receive = partial(receive_some, stream) if self._tls is None else self._tls.receive_some
        self._fd = self._transport.socket.fileno() if isinstance(self._transport, trio.SocketStream) else None
        self.gives_way: bool = False
        """Whether tasks that are ready run before the replies that wait are sent."""
        self.why_barred: str = ""
        """Why calls of the other side are refused until the connection is closed."""

    @property
    def machine(self) -> bytes:
        """The fingerprint of the machine at the other end; empty in an open mesh."""
        return b"" if self.verified is None else self.verified.machine

    def __repr__(self) -> str:
        peer = "?" if self.peer is None else repr(self.peer.id)
        way = "from" if self.address is None else "to"
        state = "closed" if self.is_closed else "retired" if self.is_retired else "open"
        return f"<PeerConnection {way} {peer} at {self.address or self.host}: {state}, {self.protocol.calls} calls>"

    @property
    def peer(self) -> PeerHello | None:
        return self.protocol.peer

    @property
    def is_usable(self) -> bool:
        """Return whether a call may be opened here. A connection on which a call had no answer is not used until a byte
        arrives, and one of a revoked node not at all."""
        is_over = self.is_closed or self.is_retired or self.why_barred != "" or not self.protocol.may_open
        return not is_over and self.heard_at > self.silent_since

    # Calls

    def open_call(self, kind: CallKind, body: bytes, *, seconds: float = 0.0, target: str = "") -> AskedCall:
        """Open a call; the connection must be usable."""
        call_id = self.protocol.open_call(kind, body, seconds=seconds, target=target)
        call = self.asked[call_id] = AskedCall(self, call_id)
        self.used_at = trio.current_time()
        self.has_been_used = True
        self.flush()
        return call

    def open_passed(self, opened: OpenFrame, source: str) -> int:
        """Open the second half of a relayed call, and return its id here."""
        call_id = self.protocol.open_passed(opened, source)
        self.used_at = trio.current_time()
        self.flush()
        return call_id

    def reset(self, call_id: int, reason: ResetReason, message: str = "") -> None:
        """End a call early."""
        self.protocol.reset(call_id, reason, message)
        self.flush()

    def finish(self, served: ServedCall, reset: ResetReason | None = None, message: str = "") -> None:
        """Note that a call of the other side was served: its reply is complete, or it was reset."""
        self.served.pop(served.id, None)
        if reset is not None:
            self.protocol.reset(served.id, reset, message)
        self.used_at = trio.current_time()
        self.flush()

    def note_silence(self, since: float) -> None:
        """Note that a call that was opened at this time had no answer in time. If no byte arrived meanwhile, this
        connection may be broken."""
        if self.heard_at <= since:
            self.silent_since = trio.current_time()

    def check_alive(self) -> None:
        """Check whether the other side is alive, if a query is under way. Call this once a second. If no byte arrives
        after ``SILENT_CHECKS`` checks in a row, the connection is cut. They are counted and not timed, because this
        process may have been stopped itself."""
        is_awaited = self.protocol.has_queries
        if not is_awaited or self.heard_at >= self._checked_at:
            self._silent_checks = 0
        else:
            self._silent_checks += 1
        self._checked_at = trio.current_time()
        if self._silent_checks >= SILENT_CHECKS:
            self.close(f"nothing was heard for {SILENT_CHECKS} s")
        elif is_awaited:
            self.protocol.ask_alive()
            self.flush()

    def retire(self) -> None:
        """Open no more calls here, and close after the open ones have ended."""
        if not self.is_retired:
            self.is_retired = True
            self.used_at = trio.current_time()
            self.retired.set()
            self._settle()

    def flush(self) -> None:
        """Send waiting bytes: as many as the socket takes at once, the rest when it takes more.

        So a small call needs no switch to the writing task and back.
        """
        if not self.protocol.has_output:
            return
        if self._fd is not None and self._is_writer_idle and not self.is_closed:
            try:
                self._unsent = self._next_bytes()
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
            except BlockingIOError:
                pass
            except (OSError, trio.BrokenResourceError) as error:
                self.close(f"the connection broke: {error}")
                return
            self._note_written()
            if not self._unsent and not self.protocol.has_output:
                return
            self._is_writer_idle = False
        self._has_output.set()

    def _next_bytes(self) -> bytes:
        """Return the next bytes for the socket; empty if there are none."""
        data, self._unsent = self._unsent, b""
        if not data and (data := self.protocol.data_to_send()) and self._tls is not None:
            data = self._tls.encrypt(data)
        return data

    async def wait_written(self) -> None:
        """Return when bytes were sent."""
        await self._written.wait()

    def _note_written(self) -> None:
        self._written.set()
        self._written = trio.Event()

    # The connection

    def close(self, why: str = "this node closed the connection") -> None:
        """Cut the connection."""
        self.why_closed = self.why_closed or why
        self._scope.cancel()

    async def run(self, on_event: OnEvent) -> None:
        """Run the connection until either side closes it, then close it. Raises only ``trio.Cancelled``."""
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                if self.why_closed:
                    return
                nursery.start_soon(self._write)
                await self._read(on_event)
                nursery.cancel_scope.cancel()
        finally:
            self.is_closed = True
            self.why_closed = self.why_closed or "the connection broke"
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)
            self.has_hello.set()
            self.retired.set()
            self._written.set()
            self.protocol.abandon()
            for call in list(self.asked.values()):
                call.handle_event(CallBroken(self.why_closed))

    async def _read(self, on_event: OnEvent) -> None:
        protocol = self.protocol
        try:
            while data := await self._receive(_RECEIVE_BYTES):
                self.heard_at = trio.current_time()
                for event in protocol.receive_data(data):
                    self._handle_event(event, on_event)
                for _ in range(2 if self.gives_way else 0):  # one round of tasks may begin with this one
                    await trio.lowlevel.checkpoint()
                self.gives_way = False
                self._settle()
                while protocol.is_clogged:
                    await self.wait_written()
            self.heard_at = trio.current_time()
            self.why_closed = self.why_closed or "it closed the connection"
        except RemoteProtocolError as error:
            self.refusal = error
            self.why_closed = self.why_closed or str(error)
            _log.debug("refused what %s sent: %s", self.host, error)
            with trio.move_on_after(1.0):
                while protocol.has_output:  # from our preamble it learns what is wrong
                    await self.wait_written()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            self.heard_at = trio.current_time()
            self.why_closed = self.why_closed or f"the connection broke: {error.__cause__ or error}"

    def _handle_event(self, event: PeerEvent, on_event: OnEvent) -> None:
        match event:
            case PartArrived(call=call_id) | CallEnded(call=call_id):
                if (call := self.asked.get(call_id)) is not None:
                    call.handle_event(event)
            case CallReset(call=call_id, reason=reason, message=message):
                call = self.asked.pop(call_id, None)
                served = self.served.pop(call_id, None)
                if call is not None:
                    text = f"{reason.name.lower()}: {message}" if message else reason.name.lower()
                    call.handle_event(CallBroken(text, is_unseen=reason.is_unseen, reset=reason))
                elif served is not None:
                    served.scope.cancel()
                else:
                    on_event(self, event)
            case CallArrived():
                on_event(self, event)
            case HelloArrived():
                if self.peer and self.verified and self.verified.instance_id != self.peer.id:
                    raise RemoteProtocolError(
                        Refusal.UNTRUSTED,
                        f"it says that it is {self.peer.id!r}: its certificate is for {self.verified.instance_id!r}",
                    )
                self.has_hello.set()
                on_event(self, event)
            case _:
                on_event(self, event)

    def _settle(self) -> None:
        """Answer a goodbye, and close when both sides have said it and no call is left."""
        protocol = self.protocol
        if protocol.has_heard_goodbye and not self.is_retired:
            self.is_retired = True
            self.retired.set()
        if self.is_retired and not protocol.calls:
            protocol.say_goodbye()
        self.flush()
        if protocol.is_finished and not protocol.has_output and not self._unsent:
            self.close("both sides have closed the connection")

    async def _write(self) -> None:
        try:
            while True:
                while data := self._next_bytes():
                    with trio.move_on_after(WRITE_SECONDS) as writing:
                        await self._transport.send_all(data)
                    if writing.cancelled_caught:
                        self.close(f"it read nothing for {WRITE_SECONDS:g} s")
                        return
                    self._note_written()
                self._is_writer_idle = True
                self._settle()
                await self._has_output.wait()
                self._is_writer_idle = False
                self._has_output = trio.Event()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            self.close(f"the connection broke: {error.__cause__ or error}")
