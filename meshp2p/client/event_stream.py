"""The events of a node, read over HTTP."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final, Self, get_args

import anyio
import msgspec

from meshp2p.client.answers import instance_of
from meshp2p.client.node_requests import FAILURES, NodeRequests, made
from meshp2p.errors import RequestRefused, Unreachable
from meshp2p.node.events import LeaderChanged, MemberEvent, MemberJoined, NodeEvent
from meshp2p.wire.contract import InstanceDetail
from meshp2p.wire.event_contract import EVENT_TYPES, SnapshotEvent, StreamedEvent

__all__ = ["EventStream", "node_events_of", "open_event_stream"]

EVENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest event: the snapshot of 20,000 members has about 10 MB. Chosen, not measured."""

_RETRY_SECONDS: Final = 0.5  # chosen, not measured
_NODE_EVENTS: Final[dict[str, type[Any]]] = {
    f"{kind.__name__}Event": kind for kind in (*get_args(NodeEvent), *MemberEvent.__subclasses__())
}


class _Typed(msgspec.Struct):
    type: str


class EventStream:
    """Iterates over the events of a node, without an end. If the connection is lost, it connects again, perhaps to
    another node, and goes on after the last event.

    Raises :class:`~meshp2p.errors.Unreachable` if no node can be reached any more, and
    :class:`~meshp2p.errors.RequestRefused` if the node refuses, or sends an event that cannot be read.
    """

    def __init__(self, requests: NodeRequests, *, has_past: bool = False) -> None:
        self._requests = requests
        self._has_past = has_past
        self._pieces: AsyncIterator[bytes] | None = None
        self._has_received = False
        self._unread = bytearray()
        self._last_id = ""
        self._ready: deque[NodeEvent] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NodeEvent:
        while not self._ready:
            self._ready.extend(node_events_of(await self.receive()))
        return self._ready.popleft()

    async def receive(self) -> StreamedEvent:
        """Return the next event as the node sent it. Events of a type that is unknown here are left out."""
        while True:
            data = await self._next_data()
            try:
                if msgspec.json.decode(data, type=_Typed).type in EVENT_TYPES:
                    event: StreamedEvent = msgspec.json.decode(data, type=StreamedEvent)
                    return event
            except (ValueError, RecursionError) as error:
                raise RequestRefused(200, f"a node sent an event that no node sends: {error}") from None

    async def close(self) -> None:
        """End the connection."""
        pieces, self._pieces = self._pieces, None
        self._unread.clear()
        with anyio.CancelScope(shield=True) as scope, contextlib.suppress(StopAsyncIteration, *FAILURES):
            scope.cancel()  # httpx nests generators, and only an exception raised in the innermost one ends all of them
            while pieces is not None:
                await anext(pieces)

    async def _next_data(self) -> bytes:
        """Return the data of the next event that has any."""
        event_id, data = self._last_id, bytearray()
        while True:
            line = await self._next_line()
            if line is None:  # the connection is lost, and with it the event that has begun
                event_id, data = self._last_id, bytearray()
                continue
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"id":
                event_id = value.decode("ascii", "replace")
            elif field == b"data":
                data += value + b"\n"
            elif not line:
                self._last_id = event_id
                if data:
                    return bytes(data)
            if len(data) > EVENT_BYTES_MAX:
                raise RequestRefused(200, f"a node sent an event of more than {EVENT_BYTES_MAX} bytes")

    async def _next_line(self) -> bytes | None:
        """Return the next line; None if the connection was lost, after which the next call makes a new one."""
        if self._pieces is None:
            headers = {"accept": "text/event-stream", **({"last-event-id": self._last_id} if self._last_id else {})}
            query = {"past": "true"} if self._has_past and not self._last_id else None
            response = await self._requests.send("GET", "/events", None, query, headers=headers, is_stream=True)
            self._pieces = made(response, response.aiter_raw)
            self._has_received = False
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > EVENT_BYTES_MAX:
                raise RequestRefused(200, f"a node sent a line of more than {EVENT_BYTES_MAX} bytes")
            piece = b""
            with contextlib.suppress(StopAsyncIteration, *FAILURES):
                piece = await anext(self._pieces)
            if not piece:
                await self.close()
                if not self._has_received:
                    raise Unreachable("the node ended its stream of events before it began")
                await anyio.sleep(_RETRY_SECONDS)
                return None
            self._has_received = True
            self._unread += piece
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line.removesuffix(b"\r")


@contextlib.asynccontextmanager
async def open_event_stream(requests: NodeRequests, *, has_past: bool = False) -> AsyncIterator[EventStream]:
    """Read events until the block ends; with ``has_past``, first those that led to the present."""
    stream = EventStream(requests, has_past=has_past)
    try:
        yield stream
    finally:
        await stream.close()


def node_events_of(event: StreamedEvent) -> list[NodeEvent]:
    """Convert an event of the stream. A snapshot becomes the members and the leader, as at the start of
    :meth:`MeshNode.events() <meshp2p.MeshNode.events>`."""
    if isinstance(event, SnapshotEvent):
        members = list(map(instance_of, event.members))
        joined: list[NodeEvent] = [MemberJoined(member) for member in members]
        return joined + [LeaderChanged(member, None) for member in members if member.is_leader]
    shape = _NODE_EVENTS[type(event).__name__]
    fields = {name: getattr(event, name) for name in shape.__struct_fields__}
    return [
        shape(**{name: instance_of(one) if isinstance(one, InstanceDetail) else one for name, one in fields.items()})
    ]
