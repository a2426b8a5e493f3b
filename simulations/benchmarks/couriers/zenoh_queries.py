"""zenoh: a queryable and its clients, connected directly. It stores no messages."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from simulations.benchmarks.couriers.courier import Courier, Place

__all__ = ["open_zenoh"]

_KEY: Final = "requests"


class _Zenoh(Courier):
    def __init__(self, session: Any) -> None:
        self._session = session

    async def ask(self, payload: bytes) -> bytes:
        while True:  # a queryable that was just declared may not be known here yet
            for reply in self._session.get(_KEY, payload=payload):
                return bytes(reply.ok.payload.to_bytes())

    async def answer(self, count: int, begun: Callable[[], None]) -> None:
        has_answered = threading.Semaphore(0)

        def reply(query: Any) -> None:
            with query:
                query.reply(_KEY, query.payload)
            has_answered.release()

        queryable = self._session.declare_queryable(_KEY, reply)
        begun()
        for _ in range(count):
            has_answered.acquire()
        queryable.undeclare()


@contextlib.asynccontextmanager
async def open_zenoh(place: Place) -> AsyncIterator[Courier]:
    """Open a client. ``place.address`` is that of the recipient."""
    import zenoh

    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("listen/endpoints", json.dumps([f"tcp/{place.address}"] if place.role == "recipient" else []))
    config.insert_json5("connect/endpoints", json.dumps([f"tcp/{place.address}"] if place.role == "sender" else []))
    with zenoh.open(config) as session:
        yield _Zenoh(session)
