"""Watch connections on the virtual network: silent while they stand, broken by what breaks a TCP connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshp2p.core.address import Address
from meshp2p.core.effects import CallFailed, Failure, Watch, WatchOpened

if TYPE_CHECKING:
    from meshp2p.simulation.host import Host
    from meshp2p.simulation.network import Network

__all__ = ["WatchLine", "WatchLines"]


class WatchLine:
    """One watch of one process: it is opened, stands, and is over."""

    __slots__ = ("address", "effect", "is_open", "is_over", "life", "refused", "watched", "watched_life", "watcher")

    def __init__(self, watcher: Host, effect: Watch) -> None:
        self.watcher: Host = watcher
        self.life: int = watcher.life
        self.effect: Watch = effect
        self.watched: Host | None = None
        self.watched_life: int = 0
        self.address: Address | None = None
        self.refused: int = 0
        self.is_open: bool = False
        self.is_over: bool = False


class WatchLines:
    """All watch connections of a network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lines: dict[tuple[str, int, int], WatchLine] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def of(self, watched: Host) -> list[WatchLine]:
        """The connections that a host's process holds for those who watch it."""
        return [line for line in self._lines.values() if line.watched is watched and line.watched_life == watched.life]

    def stands_between(self, one: Host, other: Host) -> bool:
        """Whether one of these processes watches the other."""
        for line in self._lines.values():
            if line.is_open and line.watched is not None and line.watched_life == line.watched.life:
                ends = (line.watcher, line.watched)
                if ends in ((one, other), (other, one)) and line.life == line.watcher.life:
                    return True
        return False

    def open(self, watcher: Host, effect: Watch) -> None:
        """Connect to all addresses of the effect."""
        network = self._network
        line = WatchLine(watcher, effect)
        self._lines[watcher.key, watcher.life, effect.watch_id] = line
        for address in effect.addresses:
            target = network.host_at(address)
            if target is not None and network.hidden and not network.may_connect(watcher, target):
                continue
            delay = network.legs(watcher.key, target.key, 3) if target is not None else None
            if delay is not None:
                network.engine.at(network.engine.now + delay, self._reach, (line, target, address))
        network.engine.at(network.engine.now + effect.timeout, self._expire, line)

    def close(self, watcher: Host, watch_id: int) -> None:
        """The watcher closes it. The watched process loses a connection that it did nothing for."""
        line = self._lines.pop((watcher.key, watcher.life, watch_id), None)
        if line is not None:
            line.is_over = True

    def _reach(self, arrival: tuple[WatchLine, Host, Address]) -> None:
        line, target, address = arrival
        if line.is_over or line.watched is not None or target.is_dark:
            return
        if target.machine is None or self._network.is_rejected(line.watcher.key, target.key):
            line.refused += 1
            if line.refused == len(line.effect.addresses):
                self._end(line, target, CallFailed(Failure.REFUSED, "connection refused"))
            return
        line.watched, line.watched_life, line.address = target, target.life, address
        target.take_watcher(line)

    def stand(self, line: WatchLine, outcome: WatchOpened) -> None:
        """The watched process has answered."""
        if line.is_over or line.watched is None:
            return
        delay = self._network.legs(line.watched.key, line.watcher.key, 1)
        if delay is not None:
            self._network.engine.at(self._network.engine.now + delay, self._open, (line, outcome))

    def _open(self, arrival: tuple[WatchLine, WatchOpened]) -> None:
        line, outcome = arrival
        if not line.is_over:
            line.is_open = True
            line.watcher.take_watch(line, outcome)

    def break_all(self, watched: Host, *, is_silent: bool) -> None:
        """The watched process is gone: its kernel says so, or is gone as well."""
        for line in self.of(watched):
            # what the host had at another address comes from a stranger there
            if not is_silent and line.address == watched.address:
                self.cut(line)
            line.watched_life = -1

    def reject(self) -> None:
        """Break those connections that a firewall rejects now."""
        for line in list(self._lines.values()):
            if line.watched is not None and self._network.is_rejected(line.watcher.key, line.watched.key):
                self.cut(line)

    def cut(self, line: WatchLine) -> None:
        """A reset is on its way to the watcher, and is lost where nothing passes."""
        if line.watched is not None:
            self._end(line, line.watched, CallFailed(Failure.UNREACHABLE, "connection reset"))

    def _end(self, line: WatchLine, by: Host, failed: CallFailed) -> None:
        network = self._network
        delay = network.legs(by.key, line.watcher.key, 1)
        if delay is not None:
            network.engine.at(network.engine.now + delay, self._conclude, (line, failed))

    def _expire(self, line: WatchLine) -> None:
        if not line.is_open:
            self._conclude((line, CallFailed(Failure.TIMEOUT, "no answer")))

    def _conclude(self, arrival: tuple[WatchLine, CallFailed]) -> None:
        line, failed = arrival
        if not line.is_over:
            line.is_over = True
            self._lines.pop((line.watcher.key, line.life, line.effect.watch_id), None)
            line.watcher.take_watch(line, failed)

    def forget(self, watcher: Host) -> None:
        """The watcher's process is gone, and its connections with it."""
        for key in [key for key in self._lines if key[0] == watcher.key]:
            self._lines.pop(key).is_over = True
