"""Watch connections on the virtual network. They carry nothing, and break as a TCP connection breaks."""

from __future__ import annotations

from meshp2p.core.address import Address
from meshp2p.core.effects import CallFailed, Failure, Watch, WatchOpened
from meshp2p.simulation.endpoint import Endpoint, WatchLine
from meshp2p.simulation.paths import NetworkPaths

__all__ = ["KEEPALIVE", "WatchLines"]

KEEPALIVE = (30.0, 60.0)
"""Seconds after which keepalive ends a broken connection that is idle, as :mod:`meshp2p.net.sockets` sets it: it asks
after 30 s, and gives up after three answers that were missed, 10 s apart."""


class WatchLines:
    """All watch connections of a paths."""

    def __init__(self, paths: NetworkPaths) -> None:
        self._paths = paths
        self._lines: dict[tuple[str, int, int], WatchLine] = paths.connections.watches

    def __len__(self) -> int:
        return len(self._lines)

    def of(self, watched: Endpoint) -> list[WatchLine]:
        """The connections that a host's process holds for those who watch it."""
        return [line for line in self._lines.values() if line.watched is watched and line.watched_life == watched.life]

    def open(self, watcher: Endpoint, effect: Watch) -> None:
        """Connect to all addresses of the effect."""
        paths = self._paths
        line = WatchLine(watcher, effect)
        self._lines[watcher.key, watcher.life, effect.watch_id] = line
        for address in effect.addresses:
            target = paths.host_at(address)
            if target is not None and paths.hidden and not paths.may_connect(watcher, target):
                continue
            delay = paths.legs(watcher.key, target.key, 3) if target is not None else None
            if delay is not None:
                paths.engine.at(paths.engine.now + delay, self._reach, (line, target, address))
        paths.engine.at(paths.engine.now + effect.timeout, self._expire, line)

    def close(self, watcher: Endpoint, watch_id: int) -> None:
        """Close a watch for the watcher. The watched process loses an incoming connection."""
        line = self._lines.pop((watcher.key, watcher.life, watch_id), None)
        if line is not None:
            line.is_over = True

    def _reach(self, arrival: tuple[WatchLine, Endpoint, Address]) -> None:
        line, target, address = arrival
        if line.is_over or line.watched is not None or target.is_dark:
            return
        if target.machine is None or self._paths.is_rejected(line.watcher.key, target.key):
            line.refused += 1
            if line.refused == len(line.effect.addresses):
                self._end(line, target, CallFailed(Failure.REFUSED, "connection refused"))
            return
        line.watched, line.watched_life, line.address = target, target.life, address
        target.handle_watcher(line)

    def stand(self, line: WatchLine, outcome: WatchOpened) -> None:
        """The watched process has answered."""
        if line.is_over or line.watched is None:
            return
        delay = self._paths.legs(line.watched.key, line.watcher.key, 1)
        if delay is not None:
            self._paths.engine.at(self._paths.engine.now + delay, self._open, (line, outcome))

    def _open(self, arrival: tuple[WatchLine, WatchOpened]) -> None:
        line, outcome = arrival
        if not line.is_over and not line.is_severed:
            line.is_open = True
            line.watcher.handle_watch(line, outcome)

    def break_all(self, watched: Endpoint, *, is_silent: bool) -> None:
        """Break the watches of a process that has ended. Its kernel reports that, unless its machine is gone as
        well."""
        for line in self.of(watched):
            # what the host had at another address comes from a stranger there
            if not is_silent and line.address == watched.address:
                self.cut(line)
            line.watched_life = -1

    def reject(self) -> None:
        """Break the connections that a firewall now rejects."""
        for line in list(self._lines.values()):
            if line.watched is not None and self._paths.is_rejected(line.watcher.key, line.watched.key):
                self.cut(line)

    def cut(self, line: WatchLine) -> None:
        """Send a reset to the watcher. It is lost if the network is cut."""
        if line.watched is not None:
            self._end(line, line.watched, CallFailed(Failure.UNREACHABLE, "connection reset"))

    def sever(self, hosts: list[Endpoint]) -> None:
        """Break the connections of these hosts. Keepalive tells the watchers, much later."""
        engine = self._paths.engine
        for line in self._lines.values():
            if line.watched is not None and (line.watcher in hosts or line.watched in hosts):
                line.is_severed = True
                found_at = engine.now + self._paths.links.random.uniform(*KEEPALIVE)
                engine.at(found_at, self._conclude, (line, CallFailed(Failure.UNREACHABLE, "keepalive had no answer")))

    def _end(self, line: WatchLine, by: Endpoint, failed: CallFailed) -> None:
        paths = self._paths
        if line.is_severed:
            return
        delay = paths.legs(by.key, line.watcher.key, 1)
        if delay is not None:
            paths.engine.at(paths.engine.now + delay, self._conclude, (line, failed))

    def _expire(self, line: WatchLine) -> None:
        if not line.is_open:
            self._conclude((line, CallFailed(Failure.TIMEOUT, "no answer")))

    def _conclude(self, arrival: tuple[WatchLine, CallFailed]) -> None:
        line, failed = arrival
        if not line.is_over:
            line.is_over = True
            self._lines.pop((line.watcher.key, line.life, line.effect.watch_id), None)
            line.watcher.handle_watch(line, failed)

    def forget(self, watcher: Endpoint) -> None:
        """Remove the connections of a watcher whose process has ended."""
        for key in [key for key in self._lines if key[0] == watcher.key]:
            self._lines.pop(key).is_over = True
