"""Discovery by multicast DNS: a node announces itself and finds the others (:mod:`meshp2p.discovery.responder`).

Sightings of the responder's thread come to trio through a :class:`SightingQueue`, which is bounded whatever the network
sends.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Sequence

import msgspec
import trio

from meshp2p.core.address import Address
from meshp2p.discovery.advertisement import NAME_BYTES_MAX, Advertisement
from meshp2p.discovery.endpoints import Endpoints
from meshp2p.discovery.inbox import SightingQueue
from meshp2p.discovery.responder import FAILURES, SERVICES_MAX, Responder, run_responder
from meshp2p.discovery.source import ADDRESSES_MAX, FailureLog, Offer, delays
from meshp2p.errors import ConfigError, StartError

__all__ = ["MdnsSource", "browse_once", "multicast_interfaces"]

VERSION = 1
"""The version in announcements."""

RETRY_FIRST, RETRY_LAST = 1.0, 60.0  # seconds: chosen, not measured


class MdnsSource:
    """Announces this node and offers the other nodes of its mesh, until cancelled. Then it says goodbye within a
    second.

    ``addresses`` are the literal addresses to announce. ``interfaces`` are the addresses of this machine through which
    multicast is sent and received; :func:`multicast_interfaces` returns them. Announced loopback addresses are used
    only if loopback is among ``interfaces``. A goodbye of another node is ignored: mDNS only adds peers. The
    announcement of this node itself is not offered. The same id at another address is: then another node has it too.

    The constructor raises :class:`ConfigError` if a name is empty or longer than ``NAME_BYTES_MAX`` bytes, or if there
    is no address. Tests pass another ``responder``.
    """

    name = "mdns"

    def __init__(
        self,
        instance_id: str,
        mesh: str,
        port: int,
        addresses: Sequence[str],
        interfaces: Sequence[str],
        *,
        responder: type[Responder] | None = None,
    ) -> None:
        for what, value in (("instance id", instance_id), ("mesh", mesh)):
            if not 1 <= len(value.encode()) <= NAME_BYTES_MAX:
                raise ConfigError(f"{what} {value!r}: expected 1 to {NAME_BYTES_MAX} bytes of UTF-8")
        self._port = port
        self._own = Advertisement(mesh, instance_id, VERSION, self._at(addresses))
        self._interfaces = tuple(interfaces)
        self._make_responder = responder or Responder
        self._responder: Responder | None = None
        self._has_moved = trio.Event()
        self._place: Endpoints | None = None

    def move(self, place: Endpoints) -> None:
        """See :class:`~meshp2p.discovery.source.Source`."""
        if place != self._place:
            self._place = place
            self._own = msgspec.structs.replace(self._own, addresses=self._at(place.hosts))
            self._interfaces = multicast_interfaces(place.hosts)
            self._has_moved.set()
            if self._responder is not None:
                self._responder.stop()

    def refresh(self) -> None:
        """Offer all remembered nodes again, and ask the network again, now and for the next 15 s.

        Use it if the node is alone, or if the machine slept. Calls within a second send one query. Called in the trio
        thread.
        """
        if self._responder is not None:
            self._responder.refresh()

    async def run(self, offer: Offer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See :class:`~meshp2p.discovery.source.Source`. One call at a time."""
        inbox = SightingQueue[Advertisement](SERVICES_MAX)
        has_tried = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_looking, inbox, has_tried)
            await has_tried.wait()
            task_status.started()
            while True:
                for seen in await inbox.receive():
                    offer(seen.to_sighting())

    async def _keep_looking(self, inbox: SightingQueue[Advertisement], has_tried: trio.Event) -> None:
        """Run one responder after another: the next one at once if one ended, and after a back-off if it failed."""
        failures = FailureLog("discovery by multicast DNS")
        sending = FailureLog("sending multicast DNS through some interfaces")

        def on_seen(seen: Advertisement) -> None:
            if seen.mesh == self._own.mesh:
                inbox.put(seen)

        def note_up() -> None:
            failures.succeeded()
            has_tried.set()

        def note_tried(outcome: dict[str, OSError | None]) -> None:
            failed = [f"{host}: {error.strerror}" for host, error in outcome.items() if error is not None]
            if failed:
                sending.failed(OSError(", ".join(failed)))
            else:
                sending.succeeded()

        retry = delays(RETRY_FIRST, RETRY_LAST)
        while True:
            self._has_moved = trio.Event()
            self._responder = self._make_responder(
                self._interfaces,
                self._own,
                on_seen=on_seen,
                on_up=lambda: inbox.call_soon(note_up),
                on_tried=lambda outcome: inbox.call_soon(functools.partial(note_tried, outcome)),
            )
            try:
                await run_responder(self._responder)
                retry = delays(RETRY_FIRST, RETRY_LAST)
            except Exception as error:  # noqa: BLE001 - a source outlives whatever the network and zeroconf do
                failures.failed(error)
                has_tried.set()
                with trio.move_on_after(next(retry)):
                    await self._has_moved.wait()
            finally:
                self._responder = None

    def _at(self, addresses: Sequence[str]) -> tuple[Address, ...]:
        if not addresses:
            raise ConfigError("addresses to announce: expected at least one")
        return tuple(Address(host, self._port) for host in addresses[:ADDRESSES_MAX])


async def browse_once(
    mesh: str | None, timeout: float, interfaces: Sequence[str], *, enough: int | None = None
) -> list[Advertisement]:
    """Look for nodes of ``mesh`` (``None``: of every mesh) without announcing anything.

    Return each advertisement once, in the order seen, after ``timeout`` seconds or when there are ``enough``. Answers
    take 0.04 to 0.25 s, or 1.5 s if the same answer was sent in the second before (RFC 6762 §6). Raises
    :class:`StartError` if multicast cannot be used. Cancel-safe.
    """
    inbox = SightingQueue[Advertisement](SERVICES_MAX)
    found: dict[Advertisement, None] = {}
    failures: list[Exception] = []

    async def look() -> None:
        try:
            await run_responder(Responder(interfaces, None, on_seen=inbox.put))
        except FAILURES as error:
            failures.append(error)
            scope.cancel()

    with trio.move_on_after(timeout) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            while enough is None or len(found) < enough:
                for seen in await inbox.receive():
                    if mesh in (None, seen.mesh) and len(found) < SERVICES_MAX:
                        found[seen] = None
            scope.cancel()
    if failures:
        raise StartError(f"multicast DNS cannot be used here: {failures[0]}") from failures[0]
    return list(found)


def multicast_interfaces(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the interfaces for a node that announces ``addresses``: theirs, and IPv4 loopback.

    Loopback connects the nodes of one machine, whatever the network does and whichever addresses they have. Linux's
    ``lo`` does not carry IPv6 multicast, so a node at ``::1`` is announced through ``127.0.0.1`` as well.
    """
    return (*(host for host in addresses if not ipaddress.ip_address(host).is_loopback), "127.0.0.1")
