"""What a node keeps across restarts, on a disk that may lie about what it wrote."""

from __future__ import annotations

from collections.abc import Iterable

from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.effects import Put, Table, Write

__all__ = ["WRITE_SECONDS", "Disk"]

WRITE_SECONDS = 0.001
"""How long a write to a disk takes that is in order, on average. Chosen, not measured."""

FAILURE = "input/output error"


class Disk:
    """One node's state file and its messages. While it forgets, writes are held in a cache that a crash empties;
    while it is full, no message is kept; while it fails, nothing is."""

    def __init__(self) -> None:
        self._saved: KeptState | None = None
        self._cached: KeptState | None = None
        self._is_forgetful = False
        self._messages: dict[tuple[Table, bytes], bytes] = {}
        self._cached_messages: dict[tuple[Table, bytes], bytes] | None = None
        self.losses: int = 0
        """How often messages were lost."""
        self.is_full = False
        self.is_failing = False
        self.write_seconds: float = WRITE_SECONDS
        """How long a write takes, on average."""
        self.has_lost: bool = False
        """Whether it lost what was written since the last write that is still there."""

    def __repr__(self) -> str:
        return f"<Disk saved={self._saved} cached={self._cached}>"

    def write(self, kept: KeptState) -> str | None:
        """Keep the node's state; why it could not be kept, or None. A full disk has room reserved for it."""
        if self.is_failing:
            return FAILURE
        if self._is_forgetful:
            self._cached = kept
        else:
            self._saved, self._cached = kept, None
            self.has_lost = False
        return None

    def become_forgetful(self) -> None:
        self._is_forgetful = True

    def become_honest(self) -> None:
        """What was held back is on the disk now."""
        self._is_forgetful = False
        if self._cached is not None:
            self._saved, self._cached = self._cached, None
        if self._cached_messages is not None:
            self._messages, self._cached_messages = self._cached_messages, None

    def crash(self) -> bool:
        """The process is gone, and its cache; whether that lost something."""
        lost = self._cached is not None
        self.losses += self._cached_messages is not None
        self._cached_messages = None
        self.has_lost = self.has_lost or lost
        self._cached = None
        return lost

    def tear(self) -> bool:
        """The file with the node's state is damaged: nothing of it can be read. Whether there was one."""
        was_there = self._saved is not None
        self.has_lost = True
        self._saved = None
        return was_there

    def erase(self) -> None:
        """All files are gone."""
        self.has_lost = True
        self._saved = self._cached = None
        self.losses += 1
        self._messages = {}
        self._cached_messages = None

    def write_messages(self, writes: Iterable[Write]) -> str | None:
        """Keep these, all or none; why none, or None."""
        if self.is_failing:
            return FAILURE
        if self.is_full and any(isinstance(write, Put) for write in writes):
            return "no space left on device"
        messages = self._messages
        if self._is_forgetful:
            self._cached_messages = messages = self._cached_messages or self._messages.copy()
        for write in writes:
            if isinstance(write, Put):
                messages[write.table, write.key] = write.value
            else:
                messages.pop((write.table, write.key), None)
        return None

    def read_messages(self) -> list[tuple[Table, bytes, bytes]]:
        """What is kept, in the order of keys."""
        return [(table, key, value) for (table, key), value in sorted(self._messages.items())]

    def read(self) -> KeptState | None:
        return self._saved
