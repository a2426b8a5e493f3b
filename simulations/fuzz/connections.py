"""Fuzzing of the peer protocol: one side of a connection gets modified frames."""

from __future__ import annotations

import random
from typing import Any, Final

from meshp2p.errors import RemoteProtocolError
from meshp2p.wire.peer_events import CallArrived, PartArrived
from meshp2p.wire.peer_frames import CallKind, PeerHello, ResetReason
from meshp2p.wire.peer_protocol import PeerProtocol

__all__ = ["Connection", "change_bytes"]

_TAG: Final = bytes(8)
_PREAMBLE_BYTES: Final = 14


class Connection:
    """Two sides that talk to each other; now and then a frame is modified on its way."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._begin()

    def _begin(self) -> None:
        self._sides = (
            PeerProtocol(_TAG, PeerHello("a", 1), is_dialler=True),
            PeerProtocol(_TAG, PeerHello("b", 2), is_dialler=False),
        )
        self._calls: list[tuple[PeerProtocol, int]] = []

    def feed(self) -> None:
        """One side does something, and the other hears of it. Raises whatever escapes but a refusal."""
        draw = self._draw
        speaker, hearer = draw.sample(self._sides, 2)
        self._act(speaker)
        data = bytearray(speaker.data_to_send())
        if data and draw.random() < 0.3:
            change_bytes(data, draw)
        try:
            for event in hearer.receive_data(bytes(data)):
                self._answer(hearer, event)
        except RemoteProtocolError:
            self._begin()

    def _act(self, side: PeerProtocol) -> None:
        draw = self._draw
        calls = [call for owner, call in self._calls if owner is side and side.is_open(call)]
        match draw.randrange(7):
            case 0 | 1 if side.may_open:
                kind = draw.choice(tuple(CallKind))
                body = draw.randbytes(draw.choice((0, 10, 70_000)))
                self._calls.append((side, side.open_call(kind, body, seconds=draw.choice((0.0, 5.0)))))
            case 2 if calls:
                side.reset(draw.choice(calls), draw.choice(tuple(ResetReason)), "x")
            case 3:
                side.ask_alive()
            case 4 if calls:
                side.consume(draw.choice(calls))
            case 5 if draw.random() < 0.05:
                side.say_goodbye()
            case _:
                pass

    def _answer(self, side: PeerProtocol, event: Any) -> None:
        draw = self._draw
        if isinstance(event, CallArrived) and side.is_open(event.call) and draw.random() < 0.8:
            side.send_part(event.call, draw.randbytes(draw.choice((0, 10, 300_000))), is_last=draw.random() < 0.5)
            self._calls.append((side, event.call))
        elif isinstance(event, PartArrived) and draw.random() < 0.5:
            side.consume(event.call)


def change_bytes(data: bytearray, draw: random.Random) -> None:
    """Change, insert or remove some bytes."""
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(data))
        match draw.randrange(4):
            case 0:
                data[place] ^= 1 << draw.randrange(8)
            case 1:
                data[place] = draw.choice((0, 1, 0x7F, 0x80, 0x91, 0xC0, 0xDD, 0xFF))
            case 2:
                data[place:place] = draw.randbytes(draw.choice((1, 4, 100)))
            case _:
                del data[place : place + draw.choice((1, 4))]
        if not data:
            data += b"\0"
