"""A multicast DNS responder (RFC 6762, RFC 6763): announces ``_meshp2p._tcp.local.`` and finds other nodes.

This is the only file that imports zeroconf, which needs asyncio: a :class:`Responder` is a thread with its own loop.

How two nodes meet: each listens before it announces. So the node that starts first hears the other's first
announcement, in about a millisecond. Everything else (three announcements, four queries in the first 15 s, then one
series a minute) is for lost packets. A node announces without probing (RFC 6762 §8.1), which would take 1.5 s: a label
is the hash of the announcement, so no other record has it.

All queries are multicast (QM). The answer to a QU question is unicast to port 5353. If several processes of a machine
share that port, the kernel gives it to any one of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio
from zeroconf import DNSQuestionType, Error, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from meshp2p.discovery.advertisement import Advertisement, parse_service_untrusted
from meshp2p.discovery.mdns_port import try_multicast
from meshp2p.discovery.source import logger
from meshp2p.errors import RemoteProtocolError

__all__ = ["FAILURES", "SERVICES_MAX", "SERVICE_TYPE", "Responder", "make_service", "run_responder"]

SERVICE_TYPE = "_meshp2p._tcp.local."

FAILURES = (OSError, RuntimeError, Error)
"""The exceptions that :meth:`Responder.run` raises if multicast cannot be used."""

# All of these are chosen, not measured.
SERVICES_MAX = 4096  # remembered, and waiting to be offered; beyond it the oldest goes
RESOLUTIONS_MAX = 8  # services at a time whose missing records are asked for
RESOLUTION_TIMEOUT_MS = 3000
QUERY_INTERVAL = 60.0  # seconds: two nodes whose first packets were all lost meet within this
QUERY_INTERVAL_PER_SERVICE = 4.0  # seconds: a series is four queries, so all nodes together ask about once a second
GOODBYE_TIMEOUT = 1.0


def make_service(own: Advertisement) -> AsyncServiceInfo:
    """Return the records that announce ``own``.

    The label is a hash, because an id may be longer than the 63 bytes of a label. It is the hash of all the records, so
    that two nodes that wrongly have the same id do not overwrite each other's. ``run`` differs each time: a record that
    others have cached is not reported again, so a node that restarts at the same address would not be found.
    """
    text = "\0".join((own.mesh, own.instance_id, str(own.version), *map(str, own.addresses)))
    label = f"meshp2p-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
    port = own.addresses[0].port
    return AsyncServiceInfo(
        SERVICE_TYPE,
        f"{label}.{SERVICE_TYPE}",
        port=port,
        server=f"{label}.local.",
        parsed_addresses=[address.host for address in own.addresses],
        properties={
            "id": own.instance_id.encode(),
            "mesh": own.mesh.encode(),
            "v": str(own.version),
            "port": str(port),
            "run": secrets.token_hex(4),
        },
    )


class Responder:
    """Announces ``own`` (``None``: nothing) on ``interfaces`` and reports the announcements of others.

    :meth:`run` runs in a thread of its own. ``on_seen``, ``on_up`` and ``on_tried`` are called in that thread.
    ``on_tried`` gets, for each interface, why sending through it failed, or None.
    """

    def __init__(
        self,
        interfaces: Sequence[str],
        own: Advertisement | None,
        *,
        on_seen: Callable[[Advertisement], None],
        on_up: Callable[[], None] = lambda: None,
        on_tried: Callable[[dict[str, OSError | None]], None] = lambda _: None,
    ) -> None:
        self._interfaces = tuple(interfaces)
        self._service = None if own is None else make_service(own)
        self._on_seen = on_seen
        self._on_up = on_up
        self._on_tried = on_tried
        self._may_be_loopback = any(ipaddress.ip_address(host).is_loopback for host in interfaces)
        self._services: dict[str, Advertisement | None] = {}  # None: not known, or refused
        self._resolutions: dict[str, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._is_stopped = False

    def run(self) -> None:
        """Serve until :meth:`stop`, or until an interface came or went. Then say goodbye.

        Raises the errors that prevent the use of multicast.
        """
        asyncio.run(self._serve())

    def stop(self) -> None:
        """End :meth:`run`, even if it has not begun. May be called from any thread, and more than once."""
        self._is_stopped = True
        self.refresh()

    def refresh(self) -> None:
        """Report and ask again. May be called from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()  # before `_is_stopped` is read: `stop` writes that before it reads this
        # a link that goes down is no reason for a traceback: the next announcement finds out
        self._loop.set_exception_handler(lambda _loop, context: logger.debug("mDNS: %s", context))
        if self._is_stopped:
            return
        interfaces = self._usable_interfaces()
        if not interfaces:
            raise OSError(f"no interface has any of the addresses {', '.join(self._interfaces)}")
        self._on_tried(try_multicast(interfaces))
        multicast = AsyncZeroconf(interfaces=interfaces)
        zeroconf = multicast.zeroconf
        announcing: asyncio.Future[None] | None = None
        try:
            await zeroconf.async_wait_for_start()
            if not zeroconf.engine.senders:
                raise OSError(f"multicast is refused on {', '.join(interfaces)}")
            self._on_up()
            browser = self._browse(zeroconf)  # before the announcement: see the top of this file
            if self._service is not None:
                announcing = asyncio.ensure_future(
                    await zeroconf.async_register_service(self._service, cooperating_responders=True)
                )
            while not await self._is_stopped_within(
                max(QUERY_INTERVAL, QUERY_INTERVAL_PER_SERVICE * len(self._services))
            ):
                if self._usable_interfaces() != interfaces:
                    return
                await browser.async_cancel()
                browser = self._browse(zeroconf)
        finally:
            for task in (announcing, *self._resolutions.values()):
                if task is not None:
                    task.cancel()
            goodbye = zeroconf.generate_unregister_all_services()
            if goodbye is not None:
                zeroconf.async_send(goodbye)  # once: zeroconf's own three take 0.25 s, and nobody relies on them
            await multicast.async_close()

    def _usable_interfaces(self) -> list[str]:
        """Return the interfaces that exist now. A missing one would keep zeroconf from using the others."""
        return [host for host in self._interfaces if _is_own(host)]

    async def _is_stopped_within(self, timeout: float) -> bool:
        """Wait for :meth:`refresh`, :meth:`stop` or the timeout. Return whether it was ``stop``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        self._wake.clear()
        return self._is_stopped

    def _browse(self, zeroconf: Zeroconf) -> AsyncServiceBrowser:
        """Report the cached announcements, and ask four times in 15 s. After that zeroconf only asks for expiring
        records."""
        return AsyncServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[self._on_change], question_type=DNSQuestionType.QM)

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Handle a service that was added, changed or withdrawn. zeroconf calls this with these keywords, in its
        loop."""
        if state_change is ServiceStateChange.Removed:
            self._services.pop(name, None)
            return
        if self._service is not None and name == self._service.name:
            return
        try:
            service = AsyncServiceInfo(service_type, name)
        except Error:  # a pointer to something that is no name of a service
            return
        known = self._remember(name, self._services.get(name))
        if service.load_from_cache(zeroconf):
            self._report(service)
        elif known is not None:
            # Addresses are cached for two minutes and pointers for 75: say what it was, rather than ask for each.
            self._on_seen(known)
        elif name not in self._resolutions and len(self._resolutions) < RESOLUTIONS_MAX:
            # Ours and any good responder's come complete. What exceeds the cap is tried at the next change or refresh.
            self._resolutions[name] = asyncio.ensure_future(self._resolve(zeroconf, service))

    async def _resolve(self, zeroconf: Zeroconf, service: AsyncServiceInfo) -> None:
        try:
            if await service.async_request(zeroconf, RESOLUTION_TIMEOUT_MS, DNSQuestionType.QM):
                self._report(service)
        finally:
            del self._resolutions[service.name]

    def _report(self, service: AsyncServiceInfo) -> None:
        try:
            seen = parse_service_untrusted(
                service.properties, service.parsed_addresses(), service.port, may_be_loopback=self._may_be_loopback
            )
        except RemoteProtocolError as error:
            logger.debug("ignored the mDNS service %r: %s", service.name, error)
            self._remember(service.name, None)
        else:
            self._remember(service.name, seen)
            self._on_seen(seen)

    def _remember(self, name: str, seen: Advertisement | None) -> Advertisement | None:
        if name not in self._services and len(self._services) == SERVICES_MAX:
            del self._services[next(iter(self._services))]
        self._services[name] = seen
        return seen


async def run_responder(responder: Responder) -> None:
    """Run a responder in a thread until it ends. On cancellation, stop it and wait ``GOODBYE_TIMEOUT`` for its
    goodbye."""
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def run() -> None:
        try:
            responder.run()
        finally:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(ended.set)

    await trio.lowlevel.checkpoint_if_cancelled()  # from here on the thread does begin
    try:
        # Its own limiter: it holds a thread for as long as the node lives, and the default one is for short work.
        await trio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    except trio.Cancelled:
        responder.stop()
        with trio.move_on_after(GOODBYE_TIMEOUT, shield=True):
            await ended.wait()
        raise


def _is_own(host: str) -> bool:
    """Return whether this machine has this address now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
