"""The protocol of a source of peers, and parts that all sources share.

A source offers its sightings again and again, and does not judge them. An offer is idempotent; the table of candidates
dials with its own back-off, and only the failure detector says which nodes are dead.
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
"""The maximum number of addresses in one sighting. Chosen, not measured: more than a server with several networks
has."""


class Sighting(msgspec.Struct, frozen=True):
    """A report that a node may be at one of ``addresses``, literal IP addresses that are all tried at once.

    ``source`` is ``"mdns"``, ``"beacon"``, ``"seed"`` or ``"cache"``. ``instance_id`` is ``None`` if it is unknown. It
    is an unverified claim, and may be the id of the node itself: then another node has it as well.
    """

    source: str
    addresses: tuple[Address, ...]
    instance_id: str | None


Offer = Callable[[Sighting], None]
"""Called in the trio thread for each sighting, in order. It must return at once; an exception ends `run`."""


class Source(Protocol):
    """A source of peers. ``name`` is the ``source`` of its sightings."""

    name: str

    async def run(self, offer: Offer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Offer sightings until cancelled. Call ``started()`` when it is looking, or has failed for the first time.

        Network errors are logged on ``meshp2p.discovery`` and retried. Raises only ``trio.Cancelled``.
        """
        ...

    def move(self, place: Endpoints) -> None:
        """Announce the new addresses of this machine, use its new networks, and look now.

        Does nothing if nothing changed. Called in the trio thread.
        """

    def refresh(self) -> None:
        """Look again now, because the machine slept. Repeated calls cost little more than one. Called in the trio
        thread."""


def delays(first: float, last: float) -> Iterator[float]:
    """Yield the seconds to wait before each retry: ``first``, twice that, and so on, and ``last`` for ever."""
    delay = first
    while True:
        yield delay
        delay = min(delay * 2, last)


class FailureLog:
    """Logs once that something fails, or fails in a new way, and once that it works again."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._last: str | None = None

    def failed(self, error: BaseException) -> None:
        """Log ``error`` as a warning, unless the last failure was the same."""
        text = f"{type(error).__name__}: {error}"
        level = logging.DEBUG if text == self._last else logging.WARNING
        self._last = text
        logger.log(level, "%s failed and is tried again: %s", self._subject, text)

    def succeeded(self) -> None:
        """Note that the subject works, and log it if it failed before."""
        if self._last is not None:
            self._last = None
            logger.info("%s works again", self._subject)
