"""What a source of peers is, and what they all share.

A source offers what it sees, again and again, and leaves the judgement to who listens: an offer is idempotent, the
table of candidates dials with a back-off of its own, and only the failure detector says who is dead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec
import trio

from meshp2p.core.address import Address
from meshp2p.discovery.endpoints import Endpoints

__all__ = ["ADDRESSES_MAX", "FailureLog", "Offer", "Sighting", "Source", "delays"]

logger: logging.Logger = logging.getLogger("meshp2p.discovery")

ADDRESSES_MAX = 16
"""Addresses in one sighting. Chosen, not measured: more than a server with several networks of both families has."""


class Sighting(msgspec.Struct, frozen=True):
    """That there may be a node at one of ``addresses``, which are literal IP addresses, all to be tried at once.

    ``source`` is ``"mdns"``, ``"beacon"``, ``"seed"`` or ``"cache"``. ``instance_id`` is ``None`` where it is not known
    before somebody asks. It is what a stranger claims, and may be the id of the node that looks: then another node
    holds it as well.
    """

    source: str
    addresses: tuple[Address, ...]
    instance_id: str | None


Offer = Callable[[Sighting], None]
"""Called in the trio thread for each sighting, in the order seen. It returns at once; what it raises ends `run`."""


class Source(Protocol):
    """A place where peers are seen. ``name`` is what its sightings carry as ``source``."""

    name: str

    async def run(self, offer: Offer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Offer sightings until cancelled; call ``started()`` once it is looking, or has failed to for the first time.

        Whatever the network does, it logs on ``meshp2p.discovery`` and tries again: it raises ``trio.Cancelled`` alone.
        """
        ...

    def move(self, place: Endpoints) -> None:
        """This machine has other addresses or networks than before: announce those, look through these, and look now.

        Where it is the place that it was before, nothing happens. Called in the trio thread.
        """

    def refresh(self) -> None:
        """Look again now: for a machine that slept. Calls in a row cost little more than one. Called in the trio
        thread."""


def delays(first: float, last: float) -> Iterator[float]:
    """Yield seconds to wait before each further try: ``first``, twice that, and so on, and ``last`` for ever."""
    delay = first
    while True:
        yield delay
        delay = min(delay * 2, last)


class FailureLog:
    """Says once that something began to fail, or fails in a new way, and once that it works again."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._last: str | None = None

    def failed(self, error: BaseException) -> None:
        """Warn of ``error``, unless the last failure was the same."""
        text = f"{type(error).__name__}: {error}"
        level = logging.DEBUG if text == self._last else logging.WARNING
        self._last = text
        logger.log(level, "%s failed and is tried again: %s", self._subject, text)

    def succeeded(self) -> None:
        """Note that the subject works, where it failed before."""
        if self._last is not None:
            self._last = None
            logger.info("%s works again", self._subject)
