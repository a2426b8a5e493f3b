"""The shared maps of one node, in its own loop."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
import trio

from meshp2p.core.events import MapChanged
from meshp2p.core.map_entry import MAP_KEY_BYTES_MAX, MAP_VALUE_BYTES_MAX
from meshp2p.core.maps.replicated_map import Merge, ReplicatedMap
from meshp2p.core.plain_json import NotPlainJson, check_plain_json
from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import ConfigError, LocalProtocolError
from meshp2p.net.driver import Driver
from meshp2p.node.subscriptions import Feed, Readers
from meshp2p.node.values import Formless, to_json

__all__ = [
    "LocalMap",
    "LocalMaps",
    "MapChange",
    "MergeFunction",
    "check_key",
    "decode_value",
    "encode_value",
]

_log = logging.getLogger("meshp2p.node")

MergeFunction = Callable[[Any, Any], Any]
"""A function that merges two values of one key. It must be commutative, associative, idempotent and pure.

It runs in the node's loop, during a write or the receipt of a message, so it must be fast and must not use the node.
"""

decode_value: Final = msgspec.json.Decoder().decode
"""Return the value for a JSON text of a map."""


class MapChange(msgspec.Struct, frozen=True):
    """A key has this value now. If ``is_deleted``, the key has no value any more, and ``value`` is None."""

    key: str
    value: Any
    is_deleted: bool = False


class LocalMap:
    """A shared map at one node: the replica, and the waiters for its changes. Reads may be made in any thread."""

    def __init__(self, replica: ReplicatedMap, driver: Driver, merge: MergeFunction | None) -> None:
        self.merge = merge
        self.replica = replica
        self._driver = driver
        self._readers: Readers[MapChange] = Readers()

    async def write(self, key: str, value: bytes) -> None:
        """Set the value of a key, as checked JSON text; no value deletes the key."""
        self._driver.perform(self._driver.machine.write_map(self.replica.name, key, value, trio.current_time()))
        await trio.lowlevel.checkpoint()

    def changes(self) -> Feed[MapChange]:
        """Iterate over a :class:`MapChange` for each existing key, then each change, without a gap."""
        values = sorted(self.replica.values().items())
        return self._readers.open([MapChange(key, decode_value(value)) for key, value in values])

    async def wait_for_change(self, seen: int) -> None:
        """Wait until the map differs from this ``view``. Raises :class:`~meshp2p.errors.NodeClosed` if the node leaves
        before. Cancel-safe."""
        await self._readers.wait_until(lambda: self.replica.view != seen)

    def put(self, event: MapChanged) -> None:
        """Pass on a change. Called by the node; never waits."""
        if self._readers:
            value = decode_value(event.value) if event.value else None
            self._readers.put(MapChange(event.key, value, not event.value))
        else:
            self._readers.wake()

    def end(self) -> None:
        """Tell readers and waiters that the node has left."""
        self._readers.end()


class LocalMaps:
    """All maps that one node has opened."""

    def __init__(self) -> None:
        self._maps: dict[str, LocalMap] = {}

    def open(self, name: str, merge: MergeFunction | None, driver: Driver) -> LocalMap:
        """Open the map with this name. Raises the errors of :meth:`MeshNode.shared() <meshp2p.MeshNode.shared>`."""
        _check_text("name", name, ID_BYTES_MAX)
        present = self._maps.get(name)
        if present is not None:
            if merge is not None and merge is not present.merge:
                raise LocalProtocolError(
                    f"map {name!r} is open with another merge function: one node has one merge function per map"
                )
            return present
        joined = None if merge is None else _joined(name, merge)
        replica, effects = driver.machine.open_map(name, joined, trio.current_time())
        opened = self._maps[name] = LocalMap(replica, driver, merge)
        driver.perform(effects)
        return opened

    def put(self, event: MapChanged) -> None:
        present = self._maps.get(event.name)
        if present is not None:
            present.put(event)

    def end(self) -> None:
        for present in self._maps.values():
            present.end()


def encode_value(key: str, value: Any) -> bytes:
    """Return a value of a map as JSON text. Raises :class:`~meshp2p.errors.ConfigError` for an invalid key or value."""
    check_key(key)
    return _as_json(value, f"value of {key!r}")


def check_key(key: str) -> None:
    """Raise :class:`~meshp2p.errors.ConfigError` for an invalid key."""
    _check_text("key", key, MAP_KEY_BYTES_MAX)


def _as_json(value: Any, what: str) -> bytes:
    """Return the value as JSON text; equal values give equal text."""
    try:
        text = to_json(value, is_sorted=True)
        check_plain_json(text)
    except NotPlainJson as error:
        raise ConfigError(f"{what} {error}") from None
    except Formless as error:
        raise ConfigError(f"{what}: {error}") from None
    return text


def _check_text(what: str, text: object, bytes_max: int) -> None:
    try:
        size = len(text.encode()) if isinstance(text, str) else 0
    except UnicodeEncodeError as error:
        raise ConfigError(f"{what}: {error}") from None
    if not 1 <= size <= bytes_max:
        raise ConfigError(f"{what} = {text!r:.80}: expected text of 1 to {bytes_max} bytes of UTF-8")


def _joined(name: str, merge: MergeFunction) -> Merge:
    """Apply the embedder's function to JSON text. If it fails, the later value wins and the error is logged."""

    def join(earlier: bytes, later: bytes) -> bytes:
        try:
            text = _as_json(merge(decode_value(earlier), decode_value(later)), "what it returned")
            if len(text) > MAP_VALUE_BYTES_MAX:
                raise ConfigError(f"what it returned has {len(text)} bytes: at most {MAP_VALUE_BYTES_MAX}")
        except Exception:  # noqa: BLE001 - the embedder's function may raise anything
            _log.exception("the merge function of map %r failed: the later value wins", name)
            return later
        return text

    return join
