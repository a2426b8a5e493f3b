"""A shared map, as a plain thread sees it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from meshp2p.blocking.things import NodeIterator, wait
from meshp2p.errors import WaitTimeout
from meshp2p.node.outside_map import OutsideMap
from meshp2p.node.shared import MapChange
from meshp2p.node.subscriptions import EventsLost

__all__ = ["SharedMap"]


class SharedMap(OutsideMap):
    """A map that all nodes which open it have in common: see :class:`~meshp2p.node.shared.SharedMap`. For any number of
    threads.

    Each read waits for the node's thread a moment, and the map may change between two: ``items()``, ``values()`` and
    ``keys()`` are one read each, ``dict(map)`` is one a key, so take ``dict(map.items())``.
    """

    def set(self, key: str, value: Any) -> None:
        """Let the key have this value: see :meth:`SharedMap.set() <meshp2p.node.shared.SharedMap.set>`."""
        wait(self._set(key, value), None, "")

    def delete(self, key: str) -> None:
        """Take the key out; one that is not there changes nothing."""
        wait(self._delete(key), None, "")

    def changes(self) -> NodeIterator[MapChange | EventsLost]:
        """What is so now, then each change, with no gap: see :meth:`SharedMap.changes()
        <meshp2p.node.shared.SharedMap.changes>`."""
        return NodeIterator(self._changes(), lambda change: change)

    def wait_until(self, holds: Callable[[], bool], *, timeout: float | None = None) -> None:
        """Return when ``holds()``, which is asked in this thread, at first and when the map has changed.

        Raises :class:`~meshp2p.errors.WaitTimeout` where it did not in time, and :class:`~meshp2p.errors.NodeClosed`
        when the node has left before.
        """
        ends = math.inf if timeout is None else time.monotonic() + timeout
        what = f"what was waited for in map {self.name!r} did not come"
        while True:
            seen = self.version
            if holds():
                return
            remaining = ends - time.monotonic()
            try:
                wait(self._change(seen), None if timeout is None else max(0.0, remaining), what)
            except WaitTimeout:
                raise WaitTimeout(f"{what} within {timeout:g} s") from None
