"""The interface of a client whose messages are measured."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import msgspec

__all__ = ["PAYLOAD_BYTES", "Courier", "Place", "make_payload", "sent_at"]

PAYLOAD_BYTES: Final = 1024

_HEAD: Final = '{"sent_at":"%017.6f","text":"'
_TEXT: Final = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=PAYLOAD_BYTES))
_ROOM: Final = PAYLOAD_BYTES - len(_HEAD % 0.0) - len('"}')


def make_payload(now: float) -> bytes:
    """Return 1,024 bytes of JSON with the time ``now``; the rest is text that does not compress well."""
    return f'{_HEAD % now}{_TEXT[:_ROOM]}"}}'.encode()


def sent_at(payload: bytes) -> float:
    """Return the time in a payload."""
    return float(payload[12:29])


class Place(msgspec.Struct, frozen=True):
    """The place of a client. ``name`` is its own. ``address`` is that of its broker, or of the node by which it joins;
    empty for the first node. It stores its files in ``directory``. Messages are for ``recipient``, which may be this
    client."""

    name: str
    role: Literal["sender", "recipient"]
    address: str
    directory: Path
    recipient: str


class Courier:
    """An open client. Messages are handed out in the order in which they were sent.

    A system overrides what it supports; other measures are skipped.
    """

    rereads: ClassVar[bool] = True
    """Whether a message that was read is delivered again until it is acknowledged."""

    address = ""
    """Return the address at which others reach this client, if it is not a broker's."""

    # The sender's

    async def send(self, payload: bytes) -> None:
        """Send one message, and return when the system reports that it is stored."""
        raise NotImplementedError

    async def send_many(self, count: int, window: int) -> None:
        """Send this many messages with ``window`` of them in flight. All are stored when it returns."""
        raise NotImplementedError

    async def ask(self, payload: bytes) -> bytes:
        """Send a request, and return its reply."""
        raise NotImplementedError

    # The recipient's

    async def receive(self, limit: int) -> Sequence[tuple[bytes, Any]]:
        """Wait for messages, after all earlier ones were acknowledged. Return payloads, each with its
        acknowledgement."""
        raise NotImplementedError

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Acknowledge these."""
        raise NotImplementedError

    async def acknowledge_one(self, token: Any) -> None:
        """Acknowledge one, and return when the system confirms that."""
        await self.acknowledge([token])

    async def settle(self) -> None:
        """Wait until the system has confirmed all acknowledgements."""

    async def page(self, limit: int) -> Sequence[Any]:
        """Read the oldest waiting messages without waiting for any. Return their acknowledgements."""
        raise NotImplementedError

    async def await_pending(self, count: int) -> None:
        """Wait until this many messages wait for this recipient."""

    async def clear(self, count: int) -> None:
        """Remove the ``count`` messages that wait for the recipient, including those that were read."""
        raise NotImplementedError

    async def answer(self, count: int, begun: Callable[[], None]) -> None:
        """Reply to this many requests with their own payload. Call ``begun`` when requests may come."""
        raise NotImplementedError

    # Both

    async def consume(self, count: int, limit: int) -> list[float]:
        """Receive and acknowledge this many messages, at most ``limit`` at a time. Return for each how many seconds
        after sending it was handed out."""
        taken: list[float] = []
        while len(taken) < count:
            batch = await self.receive(min(limit, count - len(taken)))
            now = time.monotonic()
            taken.extend(now - sent_at(payload) for payload, _ in batch)
            await self.acknowledge([token for _, token in batch])
        await self.settle()
        return taken
