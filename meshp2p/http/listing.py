"""The list of instances as JSON, encoded once for all requests until it changes."""

from __future__ import annotations

from typing import Final

import trio

from meshp2p.core.instance import ListedInstance
from meshp2p.http.backend import Backend
from meshp2p.http.body import encode_json
from meshp2p.http.serialize import instance_of

__all__ = ["Listing"]

_KEPT_SECONDS_PER_BYTE: Final = 1e-7
"""How long an encoded list is kept if only the times of the last heartbeats changed: some 3 ms for a hundred instances,
a second for 10 MB. Encoding takes about a fifth of that."""


class Listing:
    """The list of a node. Each change of an instance is visible at once."""

    def __init__(self, node: Backend) -> None:
        self._node = node
        self._version: tuple[int, str | None] | None = None
        self._kept_until = 0.0
        self._instances: list[ListedInstance] = []
        self._encoded = b"[]"

    def instances(self) -> list[ListedInstance]:
        """Return the instances in the order of their ids. Do not change the list."""
        self._refresh()
        return self._instances

    def encoded(self) -> bytes:
        """Return all of them as a JSON array: the same object until the list changes."""
        self._refresh()
        return self._encoded

    def _refresh(self) -> None:
        now = trio.current_time()
        if self._version == self._node.listed_version and now < self._kept_until:
            return
        self._version = self._node.listed_version
        self._instances = self._node.members()
        self._encoded = encode_json([instance_of(instance) for instance in self._instances])
        self._kept_until = now + len(self._encoded) * _KEPT_SECONDS_PER_BYTE
