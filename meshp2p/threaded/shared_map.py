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
    """A shared map as a mapping, in the order of the keys, to be read in any thread.

    Keys are text of at most 512 bytes, values whatever JSON has a form for. Each read gives a value of its own, so
    changing that changes nothing. ``keys()``, ``values()`` and ``items()`` are of one moment each and stay as they
    were; ``dict(map)`` is one read a key, so take ``dict(map.items())``.
    """

    def __init__(self, bridge: Bridge, inner: LocalMap) -> None:
        self._bridge = bridge
        self._inner = inner
        self._replica = inner.replica

    def __repr__(self) -> str:
        return f"<SharedMap {self.name!r} of {len(self._replica)} keys, version {self._replica.view:016x}>"

    @property
    def name(self) -> str:
        """The name under which nodes open it."""
        return self._replica.name

    @property
    def version(self) -> str:
        """The same text on two nodes whose maps are the same, deletions that are remembered among it."""
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
        """The keys, in their order, as they are now."""
        return dict.fromkeys(self).keys()

    def values(self) -> ValuesView[Any]:
        """The values, in the order of their keys, as they are now."""
        return self._all().values()

    def items(self) -> ItemsView[str, Any]:
        """The keys and their values, in the order of the keys, as they are now."""
        return self._all().items()

    def _all(self) -> dict[str, Any]:
        texts = self._bridge.read(self._replica.values)
        return {key: decode_value(text) for key, text in sorted(texts.items())}


class SharedMap(MapView):
    """A map that all nodes of the mesh which open it have in common: reads are local, and writes are told at once.

    Of two writes to a key the later one prevails, by hybrid clocks; with a merge function values are joined instead.
    """

    # Writing

    async def set(self, key: str, value: Any) -> None:
        """Set the value of a key. When this returns, it holds here, in memory, and others are about to be told.

        Raises :class:`~meshp2p.errors.ConfigError` for a key or value that cannot be kept,
        :class:`~meshp2p.errors.LimitExceeded` if the map is full or the value too large, and
        :class:`~meshp2p.errors.NodeClosed`; then nothing changed.
        """
        text = encode_value(key, value)
        await self._bridge.run(lambda: self._inner.write(key, text))

    async def delete(self, key: str) -> None:
        """Remove the key; nothing happens if it is not there. Raises :class:`~meshp2p.errors.NodeClosed`."""
        check_key(key)
        await self._bridge.run(lambda: self._inner.write(key, b""))

    # What happens

    def changes(self) -> NodeIterator[MapChange | EventsLost]:
        """The present entries, a :class:`MapChange` for each key, then each change, here or elsewhere, with no gap.

        A reader that is too slow gets :class:`~meshp2p.EventsLost`, and should read the map anew.
        """
        return NodeIterator(self._bridge.iterate(self._inner.changes), lambda change: change)

    async def wait_until(self, holds: Callable[[], bool], *, timeout: float | None = None) -> None:
        """Wait until ``holds()`` is true. It is called where the agent runs, at first and when the map has changed.

        Raises :class:`~meshp2p.errors.NodeClosed` if the node leaves before, and :class:`~meshp2p.errors.WaitTimeout`
        after ``timeout`` seconds. Cancel-safe.
        """
        check_timeout(timeout)
        check_callable("holds", holds)
        ends = None if timeout is None else self._bridge.now() + timeout
        what = f"what was waited for in map {self.name!r} did not come"
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
