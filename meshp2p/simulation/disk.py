"""What a node keeps across restarts, on a disk that may lie about what it wrote."""

from __future__ import annotations

from meshp2p.core.state import KeptState

__all__ = ["Disk"]


class Disk:
    """One node's state file. While it forgets, writes are held in a cache that a crash empties."""

    def __init__(self) -> None:
        self._saved: KeptState | None = None
        self._cached: KeptState | None = None
        self._is_forgetful = False
        self.has_lost = False
        """Whether it lost what was written since the last write that is still there."""

    def __repr__(self) -> str:
        return f"<Disk saved={self._saved} cached={self._cached}>"

    def write(self, kept: KeptState) -> None:
        if self._is_forgetful:
            self._cached = kept
        else:
            self._saved, self._cached = kept, None
            self.has_lost = False

    def become_forgetful(self) -> None:
        self._is_forgetful = True

    def become_honest(self) -> None:
        """What was held back is on the disk now."""
        self._is_forgetful = False
        if self._cached is not None:
            self._saved, self._cached = self._cached, None

    def crash(self) -> bool:
        """The process is gone, and its cache; whether that lost something."""
        lost = self._cached is not None
        self.has_lost = self.has_lost or lost
        self._cached = None
        return lost

    def erase(self) -> None:
        """The file is gone."""
        self.has_lost = True
        self._saved = self._cached = None

    def read(self) -> KeptState | None:
        return self._saved
