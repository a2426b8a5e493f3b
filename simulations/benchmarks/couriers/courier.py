"""What a client of a system must be able to do for its messages to be measured."""

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
    """1,024 bytes of JSON that bear the time ``now``; the rest is text that does not compress well."""
    return f'{_HEAD % now}{_TEXT[:_ROOM]}"}}'.encode()


def sent_at(payload: bytes) -> float:
    """The time that a payload bears."""
    return float(payload[12:29])


class Place(msgspec.Struct, frozen=True):
    """Where a client runs. ``name`` is its own. ``address`` is its broker's, or the one of the node by which it joins;
    empty for the first node. It keeps what it has to keep in ``directory``. Messages are for ``recipient``, which may
    be this client."""

    name: str
    role: Literal["sender", "recipient"]
    address: str
    directory: Path
    recipient: str


class Courier:
    """One client, open. Messages are handed out in the order in which they were sent.

    A system overrides what it can do: the measures of what it cannot are not asked of it.
    """

    rereads: ClassVar[bool] = True
    """Whether a message that was read is read again until it is acknowledged."""

    address = ""
    """What others need to reach this client, where that is not a broker's."""

    # The sender's

    async def send(self, payload: bytes) -> None:
        """Send one message, and return when the system says that it is kept."""
        raise NotImplementedError

    async def send_many(self, count: int, window: int) -> None:
        """Send so many messages with ``window`` of them in flight; all are kept when it returns."""
        raise NotImplementedError

    async def ask(self, payload: bytes) -> bytes:
        """Send a request, and return its reply."""
        raise NotImplementedError

    # The recipient's

    async def receive(self, limit: int) -> Sequence[tuple[bytes, Any]]:
        """Wait for messages, all before having been acknowledged: payloads, each with what acknowledges it."""
        raise NotImplementedError

    async def acknowledge(self, tokens: Sequence[Any]) -> None:
        """Take these for done."""
        raise NotImplementedError

    async def acknowledge_one(self, token: Any) -> None:
        """Take one for done, and return when the system says that it knows."""
        await self.acknowledge([token])

    async def settle(self) -> None:
        """Wait until the system knows of all that was acknowledged."""

    async def page(self, limit: int) -> Sequence[Any]:
        """Read the oldest messages that wait, without waiting for any: what acknowledges each."""
        raise NotImplementedError

    async def await_pending(self, count: int) -> None:
        """Wait until so many messages wait for this recipient."""

    async def clear(self, count: int) -> None:
        """Rid the recipient of the ``count`` messages that wait for it, and of what was read of them."""
        raise NotImplementedError

    async def answer(self, count: int, begun: Callable[[], None]) -> None:
        """Reply to so many requests with what they said. Call ``begun`` once they may come."""
        raise NotImplementedError

    # Both

    async def consume(self, count: int, limit: int) -> list[float]:
        """Receive and acknowledge so many messages, ``limit`` at a time at most. For each, how many seconds after it
        was sent it was handed out."""
        taken: list[float] = []
        while len(taken) < count:
            batch = await self.receive(min(limit, count - len(taken)))
            now = time.monotonic()
            taken.extend(now - sent_at(payload) for payload, _ in batch)
            await self.acknowledge([token for _, token in batch])
        await self.settle()
        return taken
