"""The parts of a machine that its guard uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from meshp2p.core.record import Departed, Record

__all__ = ["GuardedMachine"]


class GuardedMachine(Protocol):
    """A :class:`~meshp2p.core.machine.Machine`."""

    @property
    def own(self) -> Record: ...
    def node_count(self) -> int: ...
    def records(self) -> Mapping[str, Record]: ...
    def claim_of(self, instance_id: str, /) -> Record | Departed | None: ...
    def id_of(self, tag: int, /) -> str | None: ...
