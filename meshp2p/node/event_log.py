"""The latest events of a node, for the readers of ``GET /events``.

The log keeps nothing for a reader but its place: it is written once and read by all. A reader whose place is no longer
in the log is told so, and gets a snapshot. The log begins with the first reader. The past is kept from the start, for
readers that ask for it: all events but the updates of members. It has room for each kind of event by itself, so that
agents that come and go do not crowd out a death or a change of the leader.
"""

from __future__ import annotations

import collections
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import msgspec
import trio

from meshp2p.core.events import Event, InstanceEvent, InstanceUpdated
from meshp2p.core.record import tag_of
from meshp2p.core.view import View
from meshp2p.errors import NodeClosed
from meshp2p.http.request import Write
from meshp2p.http.serialize import detail_of, leader_of, rfc3339
from meshp2p.node.events import NetworkProblemFound, NodeEvent, event_of
from meshp2p.node.instance import Instance
from meshp2p.node.subscriptions import Subscriptions
from meshp2p.wire import event_contract
from meshp2p.wire.contract import InstanceDetail
from meshp2p.wire.event_contract import HEARTBEAT_SECONDS, EventsLostEvent, MeshEvent

__all__ = ["EventLog", "streamed"]

EVENTS_MAX: Final = 1024
"""The most events in the log, and the most of each kind in the past. Chosen, not measured."""

EVENTS_BYTES_MAX: Final = 4 * 1024 * 1024
PAST_BYTES_MAX: Final = 1024 * 1024
"""How much of the log and of the past is kept. Chosen, not measured."""

_PIECE_BYTES: Final = 64 * 1024  # at a time to one reader: chosen, not measured
_STEP_MEMBERS: Final = 100  # of a snapshot in one turn of the loop: chosen, not measured
_HEARTBEAT: Final = b": nothing happens\n\n"
_END: Final = b": this node leaves the mesh\n\n"


class _LatestFrames:
    """The latest events, as readers get them, within limits. They are numbered from 1; ``last`` is the latest."""

    def __init__(self) -> None:
        self.last = 0
        self._bytes = 0
        self._frames: collections.deque[bytes] = collections.deque()

    @property
    def begin(self) -> int:
        """The number before the first one that is kept."""
        return self.last - len(self._frames)

    def add(self, frame: bytes) -> None:
        self.last += 1
        self._frames.append(frame)
        self._bytes += len(frame)
        while len(self._frames) > EVENTS_MAX or self._bytes > EVENTS_BYTES_MAX:
            self._bytes -= len(self._frames.popleft())

    async def write(self, place: int, write: Write) -> int:
        """Write as many events as fit into a piece, from the one after this place, which is kept. Return the new
        place."""
        piece = bytearray()
        index = place - self.begin
        while index < len(self._frames) and (not piece or len(piece) + len(self._frames[index]) <= _PIECE_BYTES):
            piece += self._frames[index]
            index += 1
            place += 1
        await write(bytes(piece))
        return place


class _Past:
    """The latest events of each kind, within limits. They are numbered from 1; ``last`` is the latest."""

    def __init__(self) -> None:
        self.last = 0
        self._bytes = 0
        self._frames: dict[int, bytes] = {}
        self._numbers: dict[object, collections.deque[int]] = collections.defaultdict(collections.deque)

    def add(self, kind: object, frame: bytes) -> None:
        self.last += 1
        self._frames[self.last] = frame
        self._numbers[kind].append(self.last)
        self._bytes += len(frame)
        while len(longest := max(self._numbers.values(), key=len)) > EVENTS_MAX or self._bytes > PAST_BYTES_MAX:
            self._bytes -= len(self._frames.pop(longest.popleft()))

    async def write(self, write: Write) -> None:
        """Write all events in their order, and those that happen meanwhile, in pieces."""
        told = 0
        while told < self.last:
            numbers = [number for number in self._frames if number > told]
            told = self.last
            piece = bytearray()
            for number in numbers:
                piece += self._frames.get(number, b"")  # it may be forgotten meanwhile
                if piece and (len(piece) >= _PIECE_BYTES or number == numbers[-1]):
                    await write(bytes(piece))
                    piece.clear()


class EventLog:
    """Numbers the events of one node. An event's id is ``STAMP-NUMBER``; the stamp is that of this life of the node, so
    that an id of another node is not taken for one of this."""

    def __init__(self, machine: View, subscriptions: Subscriptions, wall_ms: Callable[[], int]) -> None:
        self._machine = machine
        self._wall_ms = wall_ms
        self._stamp = f"{(tag_of(machine.id) ^ machine.own.boot) & (1 << 64) - 1:016x}"
        self._log = _LatestFrames()
        self._past = _Past()
        self._arrived = trio.Event()
        self._is_read = self._is_ended = False
        self._snapshot: tuple[int, bytes] | None = None
        self._making = trio.Lock()
        subscriptions.add(self)

    def put(self, event: Event | NetworkProblemFound) -> bool:
        """Add an event. Called by the node; never waits."""
        is_update = isinstance(event, InstanceUpdated)
        if self._is_ended or (is_update and not self._is_read):
            return False
        shown = event_of(event, self._machine, trio.current_time(), detail_of)
        if shown is not None:
            frame = self._frame(streamed(shown, rfc3339(self._wall_ms())))
            if not is_update:
                is_hosted = isinstance(event, InstanceEvent) and not event.record.is_node
                self._past.add((type(event), is_hosted), frame)
            if self._is_read:
                self._snapshot = None
                self._log.add(b"id: %b\n%b" % (self._id(self._log.last + 1), frame))
                self._wake()
        return False

    def end(self) -> None:
        """Mark the end of the log: no event follows."""
        self._is_ended = True
        self._wake()

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()

    def open(self, last_id: str | None, *, has_past: bool = False) -> Callable[[Write], Awaitable[None]]:
        """Return a function that writes the events after the one with this id, then each as it happens, until the node
        leaves. Without an id, and if the log does not reach back to it, a snapshot comes first; with
        ``has_past``, what led to it before that. It is cancel-safe.

        Raises :class:`~meshp2p.errors.NodeClosed`.
        """
        if self._is_ended:
            raise NodeClosed("this node leaves the mesh: ask another")
        return partial(self._stream, last_id, has_past)

    async def _stream(self, last_id: str | None, has_past: bool, write: Write) -> None:
        self._is_read = True
        log, place = self._log, None
        if has_past:
            await self._past.write(write)
        if last_id is None:
            place = await self._write_snapshot(write)
        elif (known := self._place_of(last_id)) is not None:
            place = known
            await write(_HEARTBEAT)  # so that the reader sees that it is connected
        while True:
            if place is None or place < log.begin:
                lost = EventsLostEvent(rfc3339(self._wall_ms()), 0 if place is None else log.begin - place)
                await write(self._frame(lost))
                place = await self._write_snapshot(write)
            elif place < log.last:
                place = await log.write(place, write)
            elif self._is_ended:
                await write(_END)
                return
            else:
                arrived = self._arrived
                with trio.move_on_after(HEARTBEAT_SECONDS) as waiting:
                    await arrived.wait()
                if waiting.cancelled_caught:
                    await write(_HEARTBEAT)

    async def _write_snapshot(self, write: Write) -> int:
        """Write all that the node knows. Return the number of the last event that it includes."""
        async with self._making:
            if self._snapshot is None:
                last, frame = await self._make_snapshot()
                if last == self._log.last:
                    self._snapshot = last, frame
            else:
                last, frame = self._snapshot
        for start in range(0, len(frame), _PIECE_BYTES):
            await write(frame[start : start + _PIECE_BYTES])
        return last

    async def _make_snapshot(self) -> tuple[int, bytes]:
        """Make one event of many lines, which its reader joins. Each is encoded in a turn of the loop of its own."""
        now, last = trio.current_time(), self._log.last
        instances, leader = self._machine.instances(now), self._machine.leader(now)
        head = b'id: %b\nevent: snapshot\ndata: {"type":"snapshot","at":"%b","members":[' % (
            self._id(last),
            rfc3339(self._wall_ms()).encode(),
        )
        parts = [head]
        for start in range(0, len(instances), _STEP_MEMBERS):
            if start:
                await trio.lowlevel.checkpoint()
            step = msgspec.json.encode(list(map(detail_of, instances[start : start + _STEP_MEMBERS])))
            parts.append((b"\ndata: ," if start else b"\ndata: ") + step[1:-1])
        parts.append(b'\ndata: ],"leader":%b}\n\n' % msgspec.json.encode(leader_of(leader, self._machine.id)))
        return last, b"".join(parts)

    def _place_of(self, event_id: str) -> int | None:
        """Return the number of an event of this log; None if the id is not of this log."""
        stamp, _, number = event_id.partition("-")
        if stamp != self._stamp or not (number.isascii() and number.isdigit() and len(number) < 20):
            return None
        return int(number) if int(number) <= self._log.last else None

    def _id(self, number: int) -> bytes:
        return f"{self._stamp}-{number}".encode()

    def _frame(self, event: MeshEvent) -> bytes:
        name = str(type(event).__struct_config__.tag).encode()
        return b"event: %b\ndata: %b\n\n" % (name, msgspec.json.encode(event))


def streamed(event: NodeEvent, at: str, show: Callable[[Instance], InstanceDetail] | None = None) -> MeshEvent:
    """Return an event of the node as the stream shows it: of the same name and with the same fields. ``show`` converts
    its instances, unless they are converted."""
    shape: type[Any] = getattr(event_contract, f"{type(event).__name__}Event")

    def plain(value: Any) -> Any:
        if isinstance(value, str):  # it may quote a path of this machine that is no UTF-8, which JSON has no form for
            return value.encode(errors="replace").decode()
        return show(value) if show is not None and isinstance(value, Instance) else value

    made: MeshEvent = shape(at=at, **{name: plain(getattr(event, name)) for name in event.__struct_fields__})
    return made
