"""Disks that lose acknowledged writes, are full, fail or are slow, and damaged files.

A node stores two things: its state (the greatest incarnation and epoch that it may have used), in a file that is
replaced as a whole, and messages.
"""

from __future__ import annotations

from typing import ClassVar

from meshp2p.virtual.faults.base import FaultOfOne

__all__ = ["DiskFails", "DiskForgets", "DiskFull", "DiskSlow", "DiskTorn"]


class DiskForgets(FaultOfOne, frozen=True, kw_only=True):
    """Writes before ``end`` are acknowledged but lost in a crash."""

    is_mild: ClassVar[bool] = True


class DiskFull(FaultOfOne, frozen=True, kw_only=True):
    """No message can be written for lack of space. Existing messages can be read and removed, and the space for the
    node's state is reserved."""

    is_mild: ClassVar[bool] = True


class DiskFails(FaultOfOne, frozen=True, kw_only=True):
    """Nothing can be written or removed: I/O errors, or a file system that became read-only."""

    is_mild: ClassVar[bool] = True


class DiskSlow(FaultOfOne, frozen=True, kw_only=True):
    """A write takes ``seconds`` on average. Writes end in order."""

    seconds: float = 0.5

    is_mild: ClassVar[bool] = True

    def _check(self) -> None:
        self._seconds("seconds", self.seconds, 0.0, 60.0)


class DiskTorn(FaultOfOne, frozen=True, kw_only=True):
    """The file with the node's state is damaged at ``begin``, so a process that starts later finds none. Its messages
    are intact."""

    is_mild: ClassVar[bool] = True
