"""Shared maps, as the agent that embeds a node sees them: ``node.shared("name")``."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
import trio

from meshp2p.core.events import MapChanged
from meshp2p.core.map_entry import MAP_KEY_BYTES_MAX, MAP_VALUE_BYTES_MAX
from meshp2p.core.maps.replicated_map import Merge, ReplicatedMap
from meshp2p.core.plain_json import NotPlainJson, check_plain_json
from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import ConfigError, LocalProtocolError, NodeClosed
from meshp2p.net.driver import Driver
from meshp2p.node.subscriptions import Feed

__all__ = ["MapChange", "MapChanges", "MergeFunction", "SharedMap", "SharedMaps", "decode_value", "encode_value"]

_log = logging.getLogger("meshp2p.node")

MergeFunction = Callable[[Any, Any], Any]
"""Joins two values of one key: commutative, associative and idempotent, and nothing but its arguments matters. It runs
where the node does, in the midst of a write or of a message's receipt: it must be quick, and not use the node."""

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class MapChange(msgspec.Struct, frozen=True):
    """A key has this value now; or none any more: then ``is_deleted``, and ``value`` is None."""

    key: str
    value: Any
    is_deleted: bool = False


class MapChanges(Feed[MapChange]):
    """An asynchronous iterator of changes, from the moment it was made. It ends when the node has left."""


class SharedMap(Mapping[str, Any]):
    """A map that all nodes of the mesh which open it have in common: reads are local, and writes are told at once.

    Keys are text of at most 512 bytes, values whatever JSON has a form for. It reads as a mapping, in the order of the
    keys; each read gives a value of its own, so changing that changes nothing. Of two writes to a key the later one
    prevails, by hybrid clocks; with a merge function values are joined instead. Made by
    :meth:`~meshp2p.node.mesh_node.MeshNode.shared`.
    """

    def __init__(self, replica: ReplicatedMap, driver: Driver, merge: MergeFunction | None) -> None:
        self.merge = merge
        self._replica = replica
        self._driver = driver
        self._feeds: weakref.WeakSet[MapChanges] = weakref.WeakSet()
        self._changed = trio.Event()
        self._is_ended = False

    def __repr__(self) -> str:
        return f"<SharedMap {self.name!r} of {len(self)} keys, version {self.version}>"

    @property
    def name(self) -> str:
        """The name under which nodes open it."""
        return self._replica.name

    # What is so at this node

    def __getitem__(self, key: str) -> Any:
        value = self._replica.value(key)
        if value is None:
            raise KeyError(key)
        return _decode(value)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._replica.value(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._replica.keys()))

    def __len__(self) -> int:
        return len(self._replica)

    @property
    def version(self) -> str:
        """The same text on two nodes whose maps are the same, deletions that are remembered among it."""
        return f"{self._replica.view:016x}"

    def texts(self) -> dict[str, bytes]:
        """All values as JSON text, in the order of the keys; for who decodes them in another thread."""
        return {key: text for key in self if (text := self._replica.value(key)) is not None}

    # Writing

    async def set(self, key: str, value: Any) -> None:
        """Let the key have this value. When this returns it is so here, in memory, and others are about to be told.

        Raises :class:`~meshp2p.errors.ConfigError` for a key or value that cannot be kept,
        :class:`~meshp2p.errors.LimitExceeded` where the map is full or the value too large, and
        :class:`~meshp2p.errors.NodeClosed`; then nothing changed.
        """
        self._write(key, _as_json(value, f"value of {key!r}"))
        await trio.lowlevel.checkpoint()

    async def delete(self, key: str) -> None:
        """Take the key out; one that is not there changes nothing. Raises :class:`~meshp2p.errors.NodeClosed`."""
        self._write(key, b"")
        await trio.lowlevel.checkpoint()

    def _write(self, key: str, value: bytes) -> None:
        _check_text("key", key, MAP_KEY_BYTES_MAX)
        self._driver.perform(self._driver.machine.write_map(self.name, key, value, trio.current_time()))

    # What happens

    def changes(self) -> MapChanges:
        """What is so now, a :class:`MapChange` a key, then each change, here or elsewhere, with no gap.

        A reader that is too slow is told so by :class:`~meshp2p.node.subscriptions.EventsLost`: what the map holds now
        is what to go on with.
        """
        feed = MapChanges([MapChange(key, self[key]) for key in self])
        if self._is_ended:
            feed.end()
        self._feeds.add(feed)
        return feed

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return when ``holds()``, which is asked after each change. Raises :class:`~meshp2p.errors.NodeClosed` when
        the node has left before. Cancel-safe."""
        await trio.lowlevel.checkpoint()
        while not holds():
            if self._is_ended:
                raise NodeClosed("the node has left the mesh, and what was waited for did not come")
            await self._changed.wait()

    def put(self, event: MapChanged) -> None:
        """Called by the node; never waits."""
        if self._feeds:
            value = _decode(event.value) if event.value else None
            for feed in list(self._feeds):
                feed.put(MapChange(event.key, value, not event.value))
        self._changed.set()
        self._changed = trio.Event()

    def end(self) -> None:
        """Called by the node when it has left: whoever reads changes or waits is told."""
        self._is_ended = True
        for feed in list(self._feeds):
            feed.end()
        self._changed.set()


class SharedMaps:
    """All maps that one node has opened."""

    def __init__(self) -> None:
        self._maps: dict[str, SharedMap] = {}

    def open(self, name: str, merge: MergeFunction | None, driver: Driver) -> SharedMap:
        """The map of this name: see :meth:`~meshp2p.node.mesh_node.MeshNode.shared`."""
        _check_text("name", name, ID_BYTES_MAX)
        present = self._maps.get(name)
        if present is not None:
            if merge is not None and merge is not present.merge:
                raise LocalProtocolError(f"map {name!r} is open with another merge function: one node has one for it")
            return present
        joined = None if merge is None else _joined(name, merge)
        replica, effects = driver.machine.open_map(name, joined, trio.current_time())
        opened = self._maps[name] = SharedMap(replica, driver, merge)
        driver.perform(effects)
        return opened

    def put(self, event: MapChanged) -> None:
        present = self._maps.get(event.name)
        if present is not None:
            present.put(event)

    def end(self) -> None:
        for present in self._maps.values():
            present.end()


def decode_value(text: bytes) -> Any:
    """What a text of :meth:`SharedMap.texts` stands for."""
    return _decode(text)


def encode_value(key: str, value: Any) -> msgspec.Raw:
    """A value for :meth:`SharedMap.set`, which may be changed from now on. Raises
    :class:`~meshp2p.errors.ConfigError` for one that cannot be kept."""
    return msgspec.Raw(_as_json(value, f"value of {key!r}"))


def _as_json(value: Any, what: str) -> bytes:
    """The value as JSON text, equal values as equal text."""
    try:
        text = _encode(value)
        check_plain_json(text)
    except NotPlainJson as error:
        raise ConfigError(f"{what} {error}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{what}: {error}; expected what JSON has a form for") from None
    return text


def _check_text(what: str, text: object, bytes_max: int) -> None:
    try:
        size = len(text.encode()) if isinstance(text, str) else 0
    except UnicodeEncodeError as error:
        raise ConfigError(f"{what}: {error}") from None
    if not 1 <= size <= bytes_max:
        raise ConfigError(f"{what} = {text!r:.80}: expected text of 1 to {bytes_max} bytes of UTF-8")


def _joined(name: str, merge: MergeFunction) -> Merge:
    """The embedder's function, on JSON text. Where it fails the later value stands, and that is logged."""

    def join(earlier: bytes, later: bytes) -> bytes:
        try:
            text = _as_json(merge(_decode(earlier), _decode(later)), "what it returned")
            if len(text) > MAP_VALUE_BYTES_MAX:
                raise ConfigError(f"what it returned has {len(text)} bytes: at most {MAP_VALUE_BYTES_MAX}")
        except Exception:  # noqa: BLE001 - the embedder's function may raise anything
            _log.exception("the merge function of map %r failed: the later value stands", name)
            return later
        return text

    return join
