"""Faults of a process, or of its machine."""

from __future__ import annotations

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.virtual.faults.base import FaultOfOne, Faulty

__all__ = ["Crash", "DeadAddress", "Leave", "Moved", "Pause", "Sleep", "Slow", "SmallBuffer", "Stalls", "Twin"]


class Crash(FaultOfOne, frozen=True, kw_only=True):
    """The process dies; at ``end`` it is started again.

    With ``is_silent`` its machine dies with it: nothing is refused, and nothing answers. ``keeps_state`` tells whether
    its state file is there when it comes back; ``moves`` whether it comes back at another address. With ``takes`` it
    comes back at the address that this other node had when it crashed last, unless a process runs there. For
    ``lingers`` seconds after its death its kernel still accepts connections, and breaks them.
    """

    is_silent: bool = False
    keeps_state: bool = True
    moves: bool = False
    takes: str = ""
    lingers: float = 0.0

    def names(self) -> tuple[str, ...]:
        return (self.node, self.takes) if self.takes else (self.node,)

    def without(self, node_id: str) -> Faulty | None:
        return msgspec.structs.replace(self, takes="") if node_id == self.takes else super().without(node_id)


class Leave(FaultOfOne, frozen=True, kw_only=True):
    """The node leaves; at ``end`` it is started again."""


class Twin(FaultOfOne, frozen=True, kw_only=True):
    """A second process with this node's id is started at another address; it ends at ``end``.

    Its place in the network is that of the node ``beside``, which is its seed: so it can be started beyond a partition.
    Without ``beside`` it reaches all, and its rival is its seed.
    """

    beside: str = ""

    def names(self) -> tuple[str, ...]:
        return (self.node, self.beside) if self.beside else (self.node,)

    def without(self, node_id: str) -> Faulty | None:
        return msgspec.structs.replace(self, beside="") if node_id == self.beside else super().without(node_id)


class Pause(FaultOfOne, frozen=True, kw_only=True):
    """The process is suspended (SIGSTOP, a debugger, an overloaded machine): its sockets fill, its clock continues."""

    def is_bearable(self) -> bool:
        return self.end is not None and self.end - self.begin <= 3.0  # GOALS: a pause of 3 s kills nobody


class Sleep(FaultOfOne, frozen=True, kw_only=True):
    """The machine sleeps: packets to it are lost. ``clock_stops``: its monotonic clock stops meanwhile, as on Linux, or
    continues."""

    clock_stops: bool = True


class Slow(FaultOfOne, frozen=True, kw_only=True):
    """Each action of the process takes ``seconds`` on average: it handles one after the other, late."""

    seconds: float = 0.05

    def _check(self) -> None:
        self._seconds("seconds", self.seconds, 0.0, 60.0)


class Stalls(FaultOfOne, frozen=True, kw_only=True):
    """The process stops for ``seconds`` in every ``every``: an agent that blocks its loop."""

    every: float = 5.0
    seconds: float = 1.0

    def _check(self) -> None:
        self._seconds("every", self.every, 0.01)
        self._seconds("seconds", self.seconds, 0.0, self.every)


class Moved(FaultOfOne, frozen=True, kw_only=True):
    """The machine gets another address at ``begin``: packets to the old one are lost. With ``notices`` the process
    notices that after so many seconds; with 0 it never does."""

    notices: float = 0.0

    def _check(self) -> None:
        self._seconds("notices", self.notices, 0.0, 60.0)


class SmallBuffer(FaultOfOne, frozen=True, kw_only=True):
    """The receive buffer of the process holds only ``datagrams``. More of them are lost while it is stopped or busy."""

    datagrams: int = 4

    def _check(self) -> None:
        if not 1 <= self.datagrams <= 1_000_000:
            raise ConfigError(f"SmallBuffer: datagrams = {self.datagrams}: expected 1 to 1,000,000")


class DeadAddress(FaultOfOne, frozen=True, kw_only=True):
    """Packets to one of the machine's addresses are lost: the one with this ``number``, from 0. The machine sends from
    its first address that works."""

    number: int = 0

    def _check(self) -> None:
        if self.number < 0:
            raise ConfigError(f"DeadAddress: number = {self.number}: expected 0 or more")
