"""Fuzzing of relayed calls without connections: an asker, a relay and a target, one step at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

from meshp2p.errors import RemoteProtocolError
from meshp2p.net.relays import Relays
from meshp2p.wire.call_bytes import Budget
from meshp2p.wire.peer_events import (
    CallArrived,
    CallEnded,
    CallReset,
    HelloArrived,
    PartArrived,
    PeerEvent,
)
from meshp2p.wire.peer_frames import CallKind, OpenFrame, PeerHello, ResetReason
from meshp2p.wire.peer_protocol import PeerProtocol
from simulations.fuzz.connections import change_bytes

__all__ = ["RelayedCalls"]

_TAG: Final = bytes(8)
_SIZES: Final = (0, 10, 10, 10, 5_000, 70_000, 300_000)
_BUDGETS: Final = (100_000, 1 << 20, 64 << 20)


class _Line:
    """The relay's side of one of its connections."""

    def __init__(self, protocol: PeerProtocol) -> None:
        self.protocol: PeerProtocol = protocol
        self.why_barred = ""
        self.is_closed = False

    @property
    def peer(self) -> PeerHello | None:
        return self.protocol.peer

    @property
    def is_usable(self) -> bool:
        return not self.is_closed and self.protocol.may_open

    def open_passed(self, opened: OpenFrame, source: str) -> int:
        return self.protocol.open_passed(opened, source)

    def reset(self, call_id: int, reason: ResetReason, message: str = "") -> None:
        self.protocol.reset(call_id, reason, message)

    def flush(self) -> None:
        """Bytes are taken when it is their turn."""


class _Later:
    """The actions that wait while the relay looks for a connection."""

    def __await__(self) -> Generator[None, _Line | None, _Line | None]:
        return (yield)


class _Asked:
    """A call of the asker: what it sent, the target's answers, and the outcome."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.answered: list[bytes] = []
        self.parts: list[bytes] = []
        self.has_ended = False
        self.is_broken = False


class RelayedCalls:
    """One life. :meth:`step` and :meth:`end` raise ``AssertionError``, or any error that escapes, if an invariant is
    broken."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._is_clean = draw.random() < 0.5
        self._budget = Budget(draw.choice(_BUDGETS))
        self._relays = Relays(self._find, self._start)
        self._looking: list[Coroutine[Any, Any, None]] = []
        self._asked: dict[int, _Asked] = {}
        self._arrived: dict[int, _Asked | None] = {}
        self._count = 0
        self._connect_asker()
        self._connect_target()

    def _connect_asker(self) -> None:
        self._asker = PeerProtocol(_TAG, PeerHello("asker", 1), is_dialler=True)
        self._near = _Line(PeerProtocol(_TAG, PeerHello("relay", 2), is_dialler=False, budget=self._budget))
        self._asked = {}
        self._connect(self._asker, self._near)

    def _connect_target(self) -> None:
        self._target = PeerProtocol(_TAG, PeerHello("target", 3), is_dialler=self._draw.random() < 0.5)
        own = PeerProtocol(_TAG, PeerHello("relay", 2), is_dialler=not self._target.is_dialler, budget=self._budget)
        self._far = _Line(own)
        self._arrived = {}
        self._connect(self._target, self._far)

    def _connect(self, end: PeerProtocol, line: _Line) -> None:
        """Both sides have said hello before any call."""
        for speaker, hearer in ((end, line.protocol), (line.protocol, end)):
            events = hearer.receive_data(speaker.data_to_send())
            assert [type(event) for event in events] == [HelloArrived]

    # What the relay asks for

    def _find(self, node_id: str) -> _Later:
        assert node_id == "target" or not self._is_clean
        return _Later()

    def _start(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        looking = function(*arguments)
        looking.send(None)  # up to the wait for a connection
        self._looking.append(looking)

    def _found(self, line: _Line | None) -> None:
        looking = self._looking.pop(self._draw.randrange(len(self._looking)))
        try:
            looking.send(line)
        except StopIteration:
            return
        raise AssertionError("the relay waits for something else")

    # Steps

    def step(self) -> None:
        """Something happens, and then some bytes are on their way."""
        draw = self._draw
        match draw.randrange(16):
            case 0 | 1 | 2 | 3:
                self._ask()
            case 4 | 5 | 6:
                self._answer(is_last=draw.random() < 0.4)
            case 7 | 8 | 9 if self._looking:
                self._found(self._far if self._is_clean or draw.random() < 0.8 else None)
            case 10 if self._asked and draw.random() < 0.3:
                call_id = draw.choice([*self._asked])
                self._asked[call_id].is_broken = True
                self._asker.reset(call_id, ResetReason.CANCELLED)
            case 11 if self._arrived and draw.random() < 0.3:
                call_id = draw.choice([*self._arrived])
                self._break_call(self._arrived.pop(call_id))
                self._target.reset(call_id, ResetReason.FAILED, "x")
            case 12 if draw.random() < 0.1:
                self._break_near() if draw.random() < 0.5 else self._break_far()
            case 13 if draw.random() < 0.05 and not self._is_clean:
                draw.choice((self._asker, self._near.protocol, self._target, self._far.protocol)).say_goodbye()
            case _:
                pass
        for _ in range(draw.choice((1, 2, 6))):
            self._move(draw.randrange(4))
        assert 0 <= self._budget.bytes_taken <= self._budget.bytes_max

    def _ask(self) -> None:
        if not self._asker.may_open:
            return
        self._count += 1
        body = self._count.to_bytes(8, "big") + self._draw.randbytes(1) * self._draw.choice(_SIZES)
        kind = self._draw.choice(tuple(CallKind))
        call_id = self._asker.open_call(kind, body, seconds=self._draw.choice((0.0, 5.0)), target="target")
        self._asked[call_id] = _Asked(body)

    def _answer(self, *, is_last: bool) -> None:
        if not self._arrived:
            return
        call_id = self._draw.choice([*self._arrived])
        part = self._draw.randbytes(1) * self._draw.choice(_SIZES)
        if is_last and self._draw.random() < 0.3:
            self._target.end_reply(call_id)
        else:
            self._target.send_part(call_id, part, is_last=is_last)
            if (asked := self._arrived[call_id]) is not None:
                asked.answered.append(part)
        if is_last:
            del self._arrived[call_id]

    def _move(self, way: int) -> None:
        """Some bytes come to the other end of a connection."""
        line, end = (self._near, self._asker) if way < 2 else (self._far, self._target)
        speaker, hearer = (end, line.protocol) if way % 2 else (line.protocol, end)
        data = bytearray(speaker.data_to_send())
        if not data:
            return
        if not self._is_clean and self._draw.random() < 0.1:
            change_bytes(data, self._draw)
        try:
            events = hearer.receive_data(data)
        except RemoteProtocolError:
            assert not self._is_clean
            self._break_near() if way < 2 else self._break_far()
            return
        for event in events:
            if hearer is self._asker:
                self._hear_asker(event)
            elif hearer is self._target:
                self._hear_target(event)
            else:
                self._hear_relay(line, event)

    def _hear_relay(self, line: _Line, event: PeerEvent) -> None:
        if isinstance(event, CallArrived):
            assert not self._is_clean
            line.protocol.send_part(event.call, b"", is_last=True)
        elif not isinstance(event, HelloArrived | PartArrived | CallEnded):
            self._relays.handle_event(line, event)

    def _hear_asker(self, event: PeerEvent) -> None:
        asked = self._asked.get(getattr(event, "call", 0))
        if asked is None:
            return
        match event:
            case PartArrived(call=call, data=data):
                asked.parts.append(data)
                self._asker.consume(call)
            case CallEnded():
                asked.has_ended = True
            case CallReset():
                asked.is_broken = True
            case _:
                pass

    def _hear_target(self, event: PeerEvent) -> None:
        match event:
            case CallArrived(call=call, body=body, source=source):
                found = [one for one in self._asked.values() if one.body == body]
                assert not self._is_clean or source == "asker"
                self._arrived[call] = found[0] if found else None
            case CallReset(call=call):
                self._break_call(self._arrived.pop(call, None))
            case _:
                pass

    @staticmethod
    def _break_call(asked: _Asked | None) -> None:
        if asked is not None:
            asked.is_broken = True

    def _close(self, line: _Line) -> None:
        """As a connection ends: its calls are forgotten, and then so are those that are passed on over it."""
        line.is_closed = True
        line.protocol.abandon()
        self._relays.release(line)

    def _break_near(self) -> None:
        self._close(self._near)
        self._connect_asker()

    def _break_far(self) -> None:
        for asked in self._asked.values():
            asked.is_broken |= not asked.has_ended  # it may have been passed on
        self._close(self._far)
        self._connect_target()

    # The end

    def end(self) -> None:
        """Let all calls come to their ends; then nothing is left."""
        if self._is_clean:
            self._finish()
            for asked in self._asked.values():
                assert asked.is_broken or (asked.has_ended and asked.parts == asked.answered), "a reply is not whole"
        while self._looking:
            self._found(None)
        self._close(self._near)
        self._close(self._far)
        assert len(self._relays) == 0
        assert self._budget.bytes_taken == 0

    def _finish(self) -> None:
        for _ in range(100_000):
            while self._looking:
                self._found(self._far)
            while self._arrived:
                self._answer(is_last=True)
            if not any(one.has_output for one in (self._asker, self._near.protocol, self._target, self._far.protocol)):
                return
            for way in range(4):
                self._move(way)
        raise AssertionError("it comes to no end")
