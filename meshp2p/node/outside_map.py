"""What an agent outside of the node's thread reads and writes of a shared map."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from meshp2p.node.outside import Feed
from meshp2p.node.shared import MapChange, SharedMap, decode_value, encode_value
from meshp2p.node.subscriptions import EventsLost
from meshp2p.node.thread import NodeThread, Operation

__all__ = ["OutsideMap"]


class OutsideMap(Mapping[str, Any]):
    """A :class:`~meshp2p.node.shared.SharedMap` as a mapping, from any thread.

    Each read waits for the node's thread a moment, and tells what was so in it; the map may change between two reads.
    ``items()``, ``values()`` and ``keys()`` are one read each, and what they give stays as it was. ``dict(map)`` is one
    read a key, and raises :class:`KeyError` where a key is deleted meanwhile: ``dict(map.items())`` is of one moment.
    """

    def __init__(self, thread: NodeThread, inner: SharedMap) -> None:
        self._thread = thread
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def name(self) -> str:
        """The name under which nodes open it."""
        return self._inner.name

    @property
    def version(self) -> str:
        """The same text on two nodes whose maps are the same, deletions that are remembered among it."""
        return self._thread.call(lambda: self._inner.version)

    def __getitem__(self, key: str) -> Any:
        return self._thread.call(lambda: self._inner[key])

    def __contains__(self, key: object) -> bool:
        return self._thread.call(lambda: key in self._inner)

    def __iter__(self) -> Iterator[str]:
        return iter(self._thread.call(lambda: list(self._inner)))

    def __len__(self) -> int:
        return self._thread.call(lambda: len(self._inner))

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
        texts = self._thread.call(self._inner.texts)
        return {key: decode_value(text) for key, text in texts.items()}  # not in the node's thread: it may be much

    def _set(self, key: str, value: Any) -> Operation[None]:
        text = encode_value(key, value)  # what the agent goes on changing is not looked at in the node's thread
        return self._thread.submit(lambda: self._inner.set(key, text))

    def _delete(self, key: str) -> Operation[None]:
        return self._thread.submit(lambda: self._inner.delete(key))

    def _changes(self) -> Feed[MapChange | EventsLost]:
        return Feed(self._thread, lambda: (self._inner.changes(), lambda: None))

    def _change(self, seen: str) -> Operation[None]:
        """Wait until the map is another than the one of this version."""
        return self._thread.submit(lambda: self._inner.wait_until(lambda: self._inner.version != seen))
