"""A virtual disk for the data that a node keeps across restarts. It may lose acknowledged writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from meshp2p.core.effects import Put, Table, Write

__all__ = ["WRITE_SECONDS", "SimulatedDisk"]

WRITE_SECONDS = 0.001
"""The average time of a write to a healthy disk. Chosen, not measured."""

FAILURE = "input/output error"

State = TypeVar("State")


class SimulatedDisk(Generic[State]):
    """A node's state file, which is replaced as a whole, and its messages.

    While it forgets, writes stay in a cache that a crash empties. While it is full, no message is stored. While it
    fails, nothing is stored.
    """

    def __init__(self) -> None:
        self.losses: int = 0
        """How often messages were lost."""
        self.is_full: bool = False
        self.is_failing: bool = False
        self.is_forgetful: bool = False
        self.write_seconds: float = WRITE_SECONDS
        """The average time of a write."""
        self.has_lost: bool = False
        """Whether writes since the last surviving write were lost."""
        self.promised: State | None = None
        """The last state that was acknowledged to the node as stored, whether or not it still is."""
        self._saved: State | None = None
        self._cached: State | None = None
        self._messages: dict[tuple[Table, bytes], bytes] = {}
        self._cached_messages: dict[tuple[Table, bytes], bytes] | None = None

    def __repr__(self) -> str:
        return f"<Disk saved={self._saved} cached={self._cached}>"

    def read(self) -> State | None:
        """Return the node's state as last written."""
        return self._saved if self._cached is None else self._cached

    def write(self, state: State) -> str | None:
        """Store the node's state. Return why it could not be stored, or None. A full disk has space reserved for it."""
        if self.is_failing:
            return FAILURE
        self.promised = state
        if self.is_forgetful:
            self._cached = state
        else:
            self._saved, self._cached = state, None
            self.has_lost = False
        return None

    def read_messages(self) -> list[tuple[Table, bytes, bytes]]:
        """Return the messages as last written, in the order of tables and keys."""
        messages = self._messages if self._cached_messages is None else self._cached_messages
        return [(table, key, value) for (table, key), value in sorted(messages.items())]

    def write_messages(self, writes: Iterable[Write]) -> str | None:
        """Store these, all or none. Return why none was stored, or None."""
        if self.is_failing:
            return FAILURE
        if self.is_full and any(isinstance(write, Put) for write in writes):
            return "no space left on device"
        messages = self._messages
        if self.is_forgetful:
            if self._cached_messages is None:
                self._cached_messages = messages.copy()
            messages = self._cached_messages
        for write in writes:
            if isinstance(write, Put):
                messages[write.table, write.key] = write.value
            else:
                messages.pop((write.table, write.key), None)
        return None

    def become_forgetful(self) -> None:
        self.is_forgetful = True

    def become_honest(self) -> None:
        """Write the cache to the disk."""
        self.is_forgetful = False
        if self._cached is not None:
            self._saved, self._cached = self._cached, None
        if self._cached_messages is not None:
            self._messages, self._cached_messages = self._cached_messages, None

    def crash(self) -> bool:
        """Drop the cache, because the process is gone. Return whether that lost the node's state."""
        lost = self._cached is not None
        self.losses += self._cached_messages is not None
        self._cached_messages = None
        self.has_lost = self.has_lost or lost
        self._cached = None
        return lost

    def tear(self) -> bool:
        """Damage the file with the node's state so that it cannot be read. Return whether there was one."""
        was_there = self._saved is not None
        self.has_lost = True
        self._saved = None
        return was_there

    def erase(self) -> None:
        """Remove all files."""
        self.has_lost = True
        self._saved = self._cached = self.promised = None
        self.losses += 1
        self._messages = {}
        self._cached_messages = None
