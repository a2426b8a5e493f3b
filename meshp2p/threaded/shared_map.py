"""Shared maps, as agents see them: ``node.shared("name")``."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from meshp2p.errors import WaitTimeout
from meshp2p.node.arguments import check_callable
from meshp2p.node.events import EventsLost
from meshp2p.node.local_map import LocalMap, MapChange, check_key, decode_value, encode_value
from meshp2p.node.within import check_timeout
from meshp2p.threaded.bridge import Bridge
from meshp2p.threaded.node_iterator import NodeIterator

__all__ = ["MapView", "SharedMap"]


class MapView(Mapping[str, Any]):
    """A shared map as a mapping, ordered by key and readable in any thread.

    Keys are strings of at most 512 bytes. Values are anything with a JSON form. Each read returns a new value, so
    changing it does not change the map. ``keys()``, ``values()`` and ``items()`` are one read each and do not change
    afterwards. ``dict(map)`` reads once per key, so use ``dict(map.items())``.
    """

    def __init__(self, bridge: Bridge, inner: LocalMap) -> None:
        self._bridge = bridge
        self._inner = inner
        self._replica = inner.replica

    def __repr__(self) -> str:
        return f"<SharedMap {self.name!r} of {len(self._replica)} keys, version {self._replica.view:016x}>"

    @property
    def name(self) -> str:
        """The name of the map."""
        return self._replica.name

    @property
    def version(self) -> str:
        """A string that is equal on two nodes if their maps are equal, including remembered deletions."""
        return self._bridge.read(lambda: f"{self._replica.view:016x}")

    # Reading

    def __getitem__(self, key: str) -> Any:
        value = self._bridge.read(lambda: self._replica.value(key))
        if value is None:
            raise KeyError(key)
        return decode_value(value)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._bridge.read(lambda: self._replica.value(key)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._bridge.read(self._replica.values)))

    def __len__(self) -> int:
        return self._bridge.read(lambda: len(self._replica))

    def keys(self) -> KeysView[str]:
        """Return the current keys, in order."""
        return dict.fromkeys(self).keys()

    def values(self) -> ValuesView[Any]:
        """Return the current values, in the order of their keys."""
        return self._all().values()

    def items(self) -> ItemsView[str, Any]:
        """Return the current keys and values, in the order of the keys."""
        return self._all().items()

    def _all(self) -> dict[str, Any]:
        texts = self._bridge.read(self._replica.values)
        return {key: decode_value(text) for key, text in sorted(texts.items())}


class SharedMap(MapView):
    """A map that is replicated on all nodes that open it. Reads are local, and writes are broadcast at once.

    The later of two writes to a key wins, by hybrid logical clocks. With a merge function, values are merged instead.
    """

    # Writing

    async def set(self, key: str, value: Any) -> None:
        """Set the value of a key. When this returns, this node has the value in memory, and is about to send it to
        others.

        Raises :class:`~meshp2p.errors.ConfigError` for an invalid key or value, :class:`~meshp2p.errors.LimitExceeded`
        if the map is full or the value too large, and :class:`~meshp2p.errors.NodeClosed`. Then nothing changed.
        """
        text = encode_value(key, value)
        await self._bridge.run(lambda: self._inner.write(key, text))

    async def delete(self, key: str) -> None:
        """Remove a key. Does nothing if the key does not exist. Raises :class:`~meshp2p.errors.NodeClosed`."""
        check_key(key)
        await self._bridge.run(lambda: self._inner.write(key, b""))

    # Changes

    def changes(self) -> NodeIterator[MapChange | EventsLost]:
        """Iterate over changes: first a :class:`MapChange` for each existing key, then one for each change, without a
        gap.

        A reader that is too slow gets :class:`~meshp2p.EventsLost` and should read the map again.
        """
        return NodeIterator(self._bridge.iterate(self._inner.changes), lambda change: change)

    async def wait_until(self, holds: Callable[[], bool], *, timeout: float | None = None) -> None:
        """Wait until ``holds()`` is true. It is called in the agent's loop or thread, first at once and then after each
        change.

        Raises :class:`~meshp2p.errors.NodeClosed` if the node leaves before, and :class:`~meshp2p.errors.WaitTimeout`
        after ``timeout`` seconds. Cancel-safe.
        """
        check_timeout(timeout)
        check_callable("holds", holds)
        ends = None if timeout is None else self._bridge.now() + timeout
        what = f"the awaited change of map {self.name!r} did not come"
        while True:
            seen = self._bridge.read(lambda: self._replica.view)
            if holds():
                return
            remaining = None if ends is None else max(0.0, ends - self._bridge.now())
            try:
                await self._bridge.run(self._waiter(seen), remaining, what)
            except WaitTimeout:
                raise WaitTimeout(f"{what} within {timeout:g} s") from None

    def _waiter(self, seen: int) -> Callable[[], Any]:
        return lambda: self._inner.wait_for_change(seen)
