"""A node stores its own claims before it tells others of them."""

from __future__ import annotations

from meshp2p.core.record import Item, Record
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host

__all__ = ["Kept"]


class Kept(Checker):
    """A node with a disk tells nobody of its own incarnation or epoch before the disk has confirmed that it is stored.
    Otherwise, after a crash, it would publish a lower one than others have heard."""

    name = "kept"

    def tells(self, host: Host, items: tuple[Item, ...]) -> None:
        disk, machine = host.disk, host.running
        if disk is None:
            return
        for item in items:
            if not isinstance(item, Record) or item.id != host.id or item.boot != machine.own.boot:
                continue
            kept = disk.promised
            if kept is None or item.incarnation > kept.incarnation or item.epoch > kept.epoch:
                told = f"its incarnation {item.incarnation} and its epoch {item.epoch}"
                self.violated(host, f"tells {told}, and {kept} is on its disk")
