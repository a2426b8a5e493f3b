"""Seeds: peers that the user named with ``--join HOST:PORT``."""

from __future__ import annotations

import functools
import socket
from collections.abc import Awaitable, Callable, Sequence

import trio

from meshp2p.core.address import Address
from meshp2p.discovery.endpoints import Endpoints
from meshp2p.discovery.source import ADDRESSES_MAX, FailureLog, Offer, Sighting, delays

__all__ = ["Resolve", "SeedSource", "resolve"]

INTERVAL_FIRST, INTERVAL_LAST = 5.0, 30.0
"""Seconds. Chosen, not measured. Lower values find a seed that just started sooner; higher ones send fewer DNS
queries."""

Resolve = Callable[[Address], Awaitable[Sequence[Address]]]
"""Resolves a host name to literal addresses. Raises ``OSError`` or ``ValueError`` if it has none now."""


async def resolve(seed: Address) -> tuple[Address, ...]:
    """Resolve ``seed`` to its addresses of both families, in the system's order, each once.

    Raises ``OSError`` if there is none, ``ValueError`` if it is no valid host name. Cancel-safe.
    """
    look_up = functools.partial(socket.getaddrinfo, port=seed.port, type=socket.SOCK_DGRAM)
    try:
        # this asks no name server; bytes, since text would load the codec for international names
        answers = look_up(seed.host.encode(), flags=socket.AI_NUMERICHOST)
        await trio.lowlevel.checkpoint()
    except socket.gaierror:
        try:
            # a limiter of its own: the agent may keep all of trio's workers busy
            answers = await trio.to_thread.run_sync(
                look_up, seed.host, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )
        except RuntimeError as error:
            raise OSError(f"no thread can be started: {error}") from error
    hosts: dict[str, None] = {}
    for family, *_, place in answers:
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        host = str(place[0])
        if len(place) == 4 and place[3] and "%" not in host:
            host = f"{host}%{place[3]}"  # a link-local address means nothing without its interface
        hosts[host] = None
    return tuple(Address(host, seed.port) for host in hosts)


class SeedSource:
    """Offers each seed at once and then every ``INTERVAL_FIRST`` seconds, for ever. The pauses double to
    ``INTERVAL_LAST`` while ``company()`` says that other nodes are listed.

    A name is resolved again each time, because a machine may return with another address. Each seed has its own
    schedule, so that a slow name server delays only one of them.
    """

    name = "seed"

    def __init__(
        self,
        seeds: Sequence[Address],
        *,
        resolve: Resolve = resolve,
        company: Callable[[], int] = lambda: 1,
    ) -> None:
        self._seeds = tuple(dict.fromkeys(seeds))
        self._resolve = resolve
        self._company = company
        self._wake = trio.Event()

    def move(self, place: Endpoints) -> None:
        """See :class:`~meshp2p.discovery.source.Source`. Another network may have another name server."""
        self.refresh()

    def refresh(self) -> None:
        """See :class:`~meshp2p.discovery.source.Source`."""
        self._wake.set()
        self._wake = trio.Event()

    async def run(self, offer: Offer, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See :class:`~meshp2p.discovery.source.Source`. Without seeds it only waits."""
        async with trio.open_nursery() as nursery:
            for seed in self._seeds:
                nursery.start_soon(self._run_one, seed, offer)
            task_status.started()
            await trio.sleep_forever()

    async def _run_one(self, seed: Address, offer: Offer) -> None:
        failures = FailureLog(f"resolving the seed {seed}")
        pauses = delays(INTERVAL_FIRST, INTERVAL_LAST)
        while True:
            wake = self._wake  # before the answer is asked for: a move meanwhile asks again
            try:
                addresses = tuple(await self._resolve(seed))[:ADDRESSES_MAX]
                if not addresses:
                    raise OSError("it has no IP address")
            except (
                OSError,
                ValueError,
            ) as error:  # ValueError: no legal host name; it may be legal in another's resolver
                failures.failed(error)
            else:
                failures.succeeded()
                offer(Sighting(self.name, addresses, None))
            with trio.move_on_after(next(pauses)) as pause:
                await wake.wait()
            if not pause.cancelled_caught or not self._company():
                pauses = delays(INTERVAL_FIRST, INTERVAL_LAST)
