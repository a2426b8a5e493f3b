"""Following the machine: interfaces come and go, addresses change, and the machine sleeps."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from meshp2p.discovery.source import Source
from meshp2p.node.platform import Surroundings

__all__ = ["monitor_interfaces"]

_log = logging.getLogger("meshp2p.node")

LOOK_INTERVAL: Final = 2.0
"""Seconds between two looks. One costs about a tenth of a millisecond for each address of the machine. Chosen."""

SLEEP_MIN: Final = 5.0
"""Seconds by which the wall clock gains on the monotonic one while a machine sleeps. Chosen, not measured: less may be
somebody who sets the clock, and then a look in vain costs little."""


async def monitor_interfaces(
    look: Callable[[], Awaitable[Surroundings]],
    wall_ms: Callable[[], int],
    known: Surroundings,
    sources: Sequence[Source],
    update: Callable[[Surroundings], None],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Look every ``LOOK_INTERVAL``, for ever. After a change, call ``update`` and then tell the sources.

    After the machine slept, the sources look again: the nodes that they know may be gone, and packets were lost.
    """
    gain = wall_ms() / 1000 - trio.current_time()
    while True:
        await sleep(LOOK_INTERVAL)
        try:
            found = await look()
        except OSError as error:
            _log.debug("the interfaces cannot be listed: %s", error)
            found = known
        if found != known:
            if found.place.addresses != known.place.addresses:
                _log.info("reached at %s from now on", ", ".join(map(str, found.place.addresses)))
            known = found
            update(found)
            for source in sources:
                source.move(found.place)
        before, gain = gain, wall_ms() / 1000 - trio.current_time()
        if gain - before > SLEEP_MIN:
            for source in sources:
                source.refresh()
