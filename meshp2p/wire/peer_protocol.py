"""Both sides of a connection between two nodes, without the connection: bytes in, events out.

::

    receive_data(bytes) ──> events          open_call, send_part, reset ... ──> data_to_send() ──> bytes

Any number of calls share a connection, in both directions. Each direction of each call has a window: its sender stops
when so many bytes are not consumed yet. Calls take turns, a chunk each, so none waits for the whole of another.

One call, as this side sees it:

::

    opened here:    open_call ──> [body out] ──> PartArrived ... ──> CallEnded     any time: CallReset
    opened there:   CallArrived ──> send_part ... is_last                          any time: CallReset
    passed on:      RelayAsked / open_passed ──> ChunkArrived, WindowGranted ...   any time: CallReset
"""

from __future__ import annotations

from typing import Final, assert_never

from meshp2p.errors import InternalError, Refusal, RemoteProtocolError
from meshp2p.wire.call_bytes import Budget, CallBytes
from meshp2p.wire.exchange import PART_BYTES_MAX, WINDOW_BYTES, Exchange
from meshp2p.wire.peer_events import (
    CallArrived,
    CallEnded,
    CallReset,
    ChunkArrived,
    HelloArrived,
    PartArrived,
    PeerEvent,
    RelayAsked,
    WindowGranted,
)
from meshp2p.wire.peer_frames import (
    LAST,
    PART_END,
    CallKind,
    DataFrame,
    FrameReader,
    GoodbyeFrame,
    KeepAliveFrame,
    OpenFrame,
    PeerFrame,
    PeerHello,
    ResetFrame,
    ResetReason,
    WindowFrame,
    encode_frame,
    preamble,
)
from meshp2p.wire.send_queue import SendQueue

__all__ = ["CALLS_MAX", "PeerProtocol"]

CALLS_MAX: Final = 1024
"""How many calls the other side may have open on one connection. Another one is reset as BUSY. Chosen, not measured."""

_CHUNK_OVERHEAD: Final = 64
"""Added to the size of each chunk, so that empty chunks are limited too. Chosen, not measured."""


class PeerProtocol:
    """One side of one connection. ``tag`` is the mesh's; ``own`` is the hello of this side.

    :meth:`receive_data` raises :class:`RemoteProtocolError` if the other side broke the protocol; then close the
    connection. All other methods need a call that is open: see :meth:`is_open`.
    """

    def __init__(self, tag: bytes, own: PeerHello, *, is_dialler: bool, budget: Budget | None = None) -> None:
        self.peer: PeerHello | None = None
        self.is_dialler: bool = is_dialler
        self.has_said_goodbye: bool = False
        self.has_heard_goodbye: bool = False
        self._bytes = CallBytes(budget)
        self._reader = FrameReader(tag)
        self._queue = SendQueue(preamble(tag), encode_frame(own))
        self._calls: dict[int, Exchange] = {}
        self._last_id = -1 if is_dialler else 0
        self._last_peer_id = 0 if is_dialler else -1
        self._peer_calls = 0

    # What is so

    @property
    def calls(self) -> int:
        """How many calls are open."""
        return len(self._calls)

    @property
    def has_queries(self) -> bool:
        """Whether a query is open, of either side or relayed."""
        return any(exchange.kind is CallKind.QUERY for exchange in self._calls.values())

    @property
    def may_open(self) -> bool:
        return not self.has_said_goodbye and not self.has_heard_goodbye

    @property
    def is_finished(self) -> bool:
        """Whether both sides have said goodbye and no call is left."""
        return self.has_said_goodbye and self.has_heard_goodbye and not self._calls

    @property
    def is_clogged(self) -> bool:
        """Whether the other side asks for more answers than it reads. Then read nothing more from it until they were
        sent."""
        return self._queue.is_clogged

    @property
    def has_output(self) -> bool:
        return bool(self._queue)

    def is_open(self, call_id: int) -> bool:
        return call_id in self._calls

    def has_unsent(self, call_id: int) -> bool:
        """Whether bytes of this call wait to be sent: for its turn, or for the window."""
        exchange = self._calls.get(call_id)
        return exchange is not None and bool(exchange.outgoing)

    # What this side does

    def open_call(self, kind: CallKind, body: bytes, *, seconds: float = 0.0, target: str = "") -> int:
        """Open a call and send its body. Return its id. If there is a ``target``, the other side is asked to relay
        it."""
        if len(body) > PART_BYTES_MAX:
            raise InternalError(f"a body of {len(body)} bytes: at most {PART_BYTES_MAX}")
        return self._open(OpenFrame(0, kind, PART_END | LAST, body, seconds, target), is_passed_on=False)

    def open_passed(self, opened: OpenFrame, source: str) -> int:
        """Open the second half of a relayed call, for ``source``."""
        passed = OpenFrame(0, opened.kind, opened.flags, opened.data, opened.seconds, "", source)
        return self._open(passed, is_passed_on=True)

    def _open(self, opening: OpenFrame, *, is_passed_on: bool) -> int:
        if not self.may_open:
            raise InternalError("no call is opened on a connection that is being closed")
        self._last_id += 2
        exchange = self._calls[self._last_id] = Exchange(self._last_id, opening.kind, is_passed_on=is_passed_on)
        exchange.opening = opening
        exchange.outgoing.append((opening.data, opening.flags))
        self._queue.make_ready(exchange)
        return exchange.id

    def send_part(self, call_id: int, data: bytes, *, is_last: bool = False) -> None:
        """Send a part of the reply; with ``is_last`` it ends the reply."""
        if len(data) > PART_BYTES_MAX:
            raise InternalError(f"a part of {len(data)} bytes: at most {PART_BYTES_MAX}")
        self._send(call_id, PART_END | (LAST if is_last else 0), data)

    def end_reply(self, call_id: int) -> None:
        """End the reply without another part."""
        self._send(call_id, LAST, b"")

    def pass_chunk(self, call_id: int, flags: int, data: bytes) -> None:
        """Send bytes of a relayed call as they arrived."""
        if not self._send(call_id, flags, data):
            self.drop_passed(len(data))

    def drop_passed(self, count: int) -> None:
        """Release bytes of a relayed call that were received and are dropped."""
        self._bytes.drop(count)

    def _send(self, call_id: int, flags: int, data: bytes) -> bool:
        exchange = self._calls.get(call_id)
        if exchange is None:
            return False
        exchange.outgoing.append((data, flags))
        self._queue.make_ready(exchange)
        return True

    def grant(self, call_id: int, count: int) -> None:
        """Accept this many more bytes of a relayed call."""
        exchange = self._calls.get(call_id)
        if exchange is not None:
            exchange.receive_window += count
            self._queue.put(WindowFrame(call_id, count))

    def consume(self, call_id: int) -> None:
        """Note that the reader has taken a part of the reply."""
        exchange = self._calls.get(call_id)
        if exchange is not None and exchange.parts_unread:
            exchange.parts_unread -= 1
            if not exchange.parts_unread:
                self._bytes.release(exchange, exchange.buffered - len(exchange.pending))
                self._grant_owed(exchange)

    def reset(self, call_id: int, reason: ResetReason, message: str = "") -> None:
        """End a call early."""
        exchange = self._calls.get(call_id)
        if exchange is None:
            return
        self._forget(exchange)
        if exchange.opening is None:
            self._put_reset(call_id, reason, message)

    def _put_reset(self, call_id: int, reason: ResetReason, message: str = "") -> None:
        self._bytes.budget.resets[reason] += 1
        self._queue.put(ResetFrame(call_id, reason, message[:1024]))

    def ask_alive(self) -> None:
        self._queue.put(KeepAliveFrame(False))

    def say_goodbye(self) -> None:
        """Open no more calls and accept none."""
        if not self.has_said_goodbye:
            self.has_said_goodbye = True
            self._queue.put(GoodbyeFrame())

    def abandon(self) -> None:
        """Forget all calls, because the connection has ended."""
        for exchange in list(self._calls.values()):
            self._forget(exchange)

    # What is to be sent

    def data_to_send(self) -> bytes:
        """Return the next bytes to send: at least one frame, at most about one chunk; empty if there are none now."""
        return self._queue.pop(self._next_frame)

    def _next_frame(self, exchange: Exchange) -> bytes | None:
        """Return one chunk of this call, if it has one and its window is open. Then it waits for its next turn."""
        frame = exchange.next_chunk() if exchange.id in self._calls else None
        if frame is None:
            return None
        if exchange.is_passed_on:
            self._bytes.release(exchange, len(frame.data))
        if frame.flags & LAST:
            exchange.has_sent_last = True
            self._end_if_done(exchange)
        else:
            self._queue.make_ready(exchange)
        return encode_frame(frame)

    # What arrives

    def receive_data(self, data: bytes | bytearray) -> list[PeerEvent]:
        """Take bytes from the other side, in any pieces, and return their events in order.

        Raises only :class:`RemoteProtocolError`.
        """
        events: list[PeerEvent] = []
        try:
            for frame in self._reader.read_untrusted(data):
                self._receive_frame(frame, events)
        except RemoteProtocolError:
            for event in events:  # nobody hears of these
                if isinstance(event, ChunkArrived):
                    self.drop_passed(len(event.data))
                elif isinstance(event, RelayAsked):
                    self.drop_passed(len(event.opened.data))
            raise
        return events

    def _receive_frame(self, frame: PeerFrame, events: list[PeerEvent]) -> None:
        if self.peer is None:
            if not isinstance(frame, PeerHello):
                raise RemoteProtocolError(Refusal.BAD_VALUE, f"begins with {type(frame).__name__}: expected a hello")
            self.peer = frame
            events.append(HelloArrived(frame))
            return
        match frame:
            case OpenFrame():
                self._receive_open(frame, events)
            case DataFrame() | WindowFrame() | ResetFrame():
                exchange = self._find(frame.call)
                if exchange is not None:
                    self._receive_of_call(exchange, frame, events)
            case KeepAliveFrame(is_answer=is_answer):
                if not is_answer:
                    self._queue.put_once(_ANSWER_ALIVE)
            case GoodbyeFrame():
                self.has_heard_goodbye = True
            case PeerHello():
                raise RemoteProtocolError(Refusal.BAD_VALUE, "a second hello")
            case _:
                assert_never(frame)

    def _receive_of_call(
        self, exchange: Exchange, frame: DataFrame | WindowFrame | ResetFrame, events: list[PeerEvent]
    ) -> None:
        match frame:
            case DataFrame(flags=flags, data=data):
                self._receive_chunk(exchange, flags, data, events)
            case WindowFrame(count=count):
                self._receive_window(exchange, count, events)
            case ResetFrame(reason=reason, message=message):
                self._forget(exchange)
                events.append(CallReset(exchange.id, reason, message))

    def _find(self, call_id: int) -> Exchange | None:
        """Return the call with this id, or None if it has ended. Raises :class:`RemoteProtocolError` if it was never
        opened."""
        exchange = self._calls.get(call_id)
        if exchange is None or exchange.opening is not None:
            is_own = call_id % 2 == self._last_id % 2
            if exchange is not None or call_id > (self._last_id if is_own else self._last_peer_id):
                raise RemoteProtocolError(Refusal.BAD_VALUE, f"call {call_id} was never opened")
        return exchange

    def _receive_open(self, frame: OpenFrame, events: list[PeerEvent]) -> None:
        call_id = frame.call
        if call_id <= self._last_peer_id or call_id % 2 == self._last_id % 2:
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"a new call has the id {call_id}")
        self._last_peer_id = call_id
        if self.has_said_goodbye:
            self._put_reset(call_id, ResetReason.NOT_TAKEN)
            return
        if self._peer_calls >= CALLS_MAX:
            self._put_reset(call_id, ResetReason.BUSY, f"{CALLS_MAX} calls are open")
            return
        self._peer_calls += 1
        exchange = self._calls[call_id] = Exchange(call_id, frame.kind, is_passed_on=bool(frame.target))
        exchange.seconds, exchange.source = frame.seconds, frame.source
        if not exchange.is_passed_on:
            self._receive_chunk(exchange, frame.flags, frame.data, events)
            return
        exchange.note_chunk(frame.flags, len(frame.data))
        if self._charge(exchange, len(frame.data), events):
            events.append(RelayAsked(call_id, frame))

    def _receive_chunk(self, exchange: Exchange, flags: int, data: bytes, events: list[PeerEvent]) -> None:
        exchange.note_chunk(flags, len(data))
        if exchange.is_passed_on:
            if self._charge(exchange, len(data), events):
                events.append(ChunkArrived(exchange.id, flags, data))
                self._end_if_done(exchange)
            return
        if not self._charge(exchange, len(data) + _CHUNK_OVERHEAD, events):
            return
        exchange.owed += len(data)
        is_ours = exchange.id % 2 == self._last_id % 2
        part = exchange.gather(flags, data)
        if part is None:
            if not exchange.parts_unread:
                self._grant_owed(exchange)
        else:
            data = part
            if is_ours:
                exchange.parts_unread += 1
                events.append(PartArrived(exchange.id, data))
            elif not flags & LAST:
                raise RemoteProtocolError(Refusal.BAD_VALUE, f"call {exchange.id} has a body of several parts")
            else:
                events.append(CallArrived(exchange.id, exchange.kind, data, exchange.seconds, exchange.source))
        if is_ours and flags & LAST:
            self._forget(exchange)
            events.append(CallEnded(exchange.id))
        elif not is_ours and flags == LAST:
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"call {exchange.id} has no body")

    def _receive_window(self, exchange: Exchange, count: int, events: list[PeerEvent]) -> None:
        exchange.send_window += count
        if exchange.send_window > WINDOW_BYTES:
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"call {exchange.id} takes more than it was sent")
        if exchange.is_passed_on:
            events.append(WindowGranted(exchange.id, count))
        self._queue.make_ready(exchange)

    def _grant_owed(self, exchange: Exchange) -> None:
        if count := exchange.pop_grant():
            self._queue.put(WindowFrame(exchange.id, count))

    # Bounds, and the end of a call

    def _charge(self, exchange: Exchange, count: int, events: list[PeerEvent]) -> bool:
        """Keep this many more bytes for a call. If there is no room for them, the call is reset."""
        problem = self._bytes.charge(exchange, count)
        if problem:
            self.reset(exchange.id, ResetReason.BUSY, problem)
            events.append(CallReset(exchange.id, ResetReason.BUSY, problem))
        return not problem

    def _end_if_done(self, exchange: Exchange) -> None:
        """Forget a call if both of its directions have ended."""
        if exchange.has_sent_last and exchange.has_received_last:
            self._forget(exchange)

    def _forget(self, exchange: Exchange) -> None:
        if self._calls.pop(exchange.id, None) is None:
            return
        if exchange.id % 2 != self._last_id % 2:
            self._peer_calls -= 1
        if exchange.is_passed_on:
            unsent = sum(len(data) for data, _ in exchange.outgoing) - exchange.sent
            self._bytes.release(exchange, unsent)
        else:
            self._bytes.release(exchange, exchange.buffered)
        exchange.outgoing.clear()


_ANSWER_ALIVE: Final = encode_frame(KeepAliveFrame(True))
