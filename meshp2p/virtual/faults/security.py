"""Attacks on a secured mesh, and the revocation of a machine."""

from __future__ import annotations

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.virtual.faults.base import FaultOfNodes, FaultOfOne, Faulty

__all__ = ["Impostor", "Liar", "ShutOut"]


def _check_rate(name: str, rate: float) -> None:
    if not 0 < rate <= 1000:
        raise ConfigError(f"{name}: rate = {rate}: expected more than 0 and at most 1,000 a second")


class ShutOut(FaultOfOne, frozen=True, kw_only=True):
    """The machine of a node is revoked, on the machine of the node ``by``. If it ``keeps_talking``, its software was
    changed: it ignores revocations and passes on none."""

    by: str
    keeps_talking: bool = False

    def names(self) -> tuple[str, ...]:
        return (self.node, self.by)

    def _check(self) -> None:
        if self.by == self.node:
            raise ConfigError(f"ShutOut: by = {self.by!r}: expected another node than the one that is revoked")


class Liar(FaultOfOne, frozen=True, kw_only=True):
    """A member forges claims with the key of its machine, ``rate`` per second: that others leave or are dead, in its
    own name and in theirs, and that it has their ids. It sends them by datagrams and calls."""

    rate: float = 2.0

    def _check(self) -> None:
        _check_rate("Liar", self.rate)


class Impostor(FaultOfNodes, frozen=True, kw_only=True):
    """A stranger connects to these nodes, or to all, ``rate`` times a second: with certificates that it made itself,
    and with those of processes that have ended."""

    rate: float = 1.0

    def _check(self) -> None:
        _check_rate("Impostor", self.rate)

    def without(self, node_id: str) -> Faulty | None:
        rest = tuple(name for name in self.nodes if name != node_id)
        return msgspec.structs.replace(self, nodes=rest) if rest or not self.nodes else None
