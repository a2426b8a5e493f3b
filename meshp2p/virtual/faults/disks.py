"""Disks that lie, are full, fail or are slow, and files that are torn.

A node keeps two things: its state (the greatest incarnation and epoch that it may have used), in a file that is
replaced as a whole, and messages.
"""

from __future__ import annotations

from typing import ClassVar

from meshp2p.virtual.faults.base import FaultOfOne

__all__ = ["DiskFails", "DiskForgets", "DiskFull", "DiskSlow", "DiskTorn"]


class DiskForgets(FaultOfOne, frozen=True, kw_only=True):
    """Writes are not on the disk before ``end``, whatever it says: what a crash finds is older."""

    is_mild: ClassVar[bool] = True


class DiskFull(FaultOfOne, frozen=True, kw_only=True):
    """No message can be written, for want of room; what is there can be read and removed. The room for the node's state
    is reserved."""

    is_mild: ClassVar[bool] = True


class DiskFails(FaultOfOne, frozen=True, kw_only=True):
    """Nothing can be written or removed: input and output errors, or a file system that became read-only."""

    is_mild: ClassVar[bool] = True


class DiskSlow(FaultOfOne, frozen=True, kw_only=True):
    """A write takes ``seconds`` on average; writes end in their order."""

    seconds: float = 0.5

    is_mild: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._seconds("seconds", self.seconds, 0.0, 60.0)


class DiskTorn(FaultOfOne, frozen=True, kw_only=True):
    """The file with the node's state is damaged at ``begin``: a process that starts later finds none. Its messages are
    there."""

    is_mild: ClassVar[bool] = True
    is_instant: ClassVar[bool] = True
