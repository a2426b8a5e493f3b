"""A shared map, as an agent beside its node's thread sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshp2p.node.agent_side import AgentSide, IsolatedIterator
from meshp2p.node.outside_map import OutsideMap
from meshp2p.node.shared import MapChange, SharedMap
from meshp2p.node.subscriptions import EventsLost
from meshp2p.node.thread import NodeThread

__all__ = ["IsolatedSharedMap"]


class IsolatedSharedMap(OutsideMap):
    """A map that all nodes which open it have in common: see :class:`~meshp2p.node.shared.SharedMap`.

    Each read waits for the node's thread a moment, and the map may change between two: ``items()``, ``values()`` and
    ``keys()`` are one read each, ``dict(map)`` is one a key, so take ``dict(map.items())``.
    """

    def __init__(self, thread: NodeThread, side: AgentSide, inner: SharedMap) -> None:
        super().__init__(thread, inner)
        self._side = side

    async def set(self, key: str, value: Any) -> None:
        """Let the key have this value: see :meth:`SharedMap.set() <meshp2p.node.shared.SharedMap.set>`. Cancelled,
        whether it has is unknown."""
        await self._side.wait(self._set(key, value))

    async def delete(self, key: str) -> None:
        """Take the key out; one that is not there changes nothing."""
        await self._side.wait(self._delete(key))

    def changes(self) -> IsolatedIterator[MapChange | EventsLost]:
        """What is so now, then each change, with no gap: see :meth:`SharedMap.changes()
        <meshp2p.node.shared.SharedMap.changes>`."""
        return IsolatedIterator(self._side, self._changes(), lambda change: change)

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return when ``holds()``, which is asked in the agent's loop, at first and when the map has changed. Raises
        :class:`~meshp2p.errors.NodeClosed` when the node has left before. Cancel-safe."""
        while True:
            seen = self.version
            if holds():
                return
            await self._side.wait(self._change(seen))
