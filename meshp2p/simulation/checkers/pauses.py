"""What a node may say that was itself stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from meshp2p.core.effects import Call, CallFailed, Send
from meshp2p.core.events import Event, MemberJoined, MemberUpdated
from meshp2p.core.messages import Ack, CallReply, Datagram, Ping, Pong
from meshp2p.core.record import Rumour, State
from meshp2p.simulation.checkers.base import Checker, Violation
from meshp2p.simulation.host import Host
from meshp2p.simulation.truth import Truth

__all__ = ["PauseGuard"]

ROUNDS_SILENT = 3
"""After so many probe intervals in which no probe was answered a node may hold that the others are gone: its side of a
partition is itself alone."""

PAUSE_MIN = 3.0
"""A shorter pause need not be noticed. Chosen, not measured."""


class PauseGuard(Checker):
    """A node that was stopped accuses nobody and claims no leadership before a probe of its own succeeded, or went
    without answer for ``ROUNDS_SILENT`` rounds.

    A node all alone cannot probe, and may claim.
    """

    name: ClassVar[str] = "pause-guard"
    watches: ClassVar[tuple[type, ...]] = (MemberUpdated, MemberJoined)

    def __init__(self, truth: Truth, report: Callable[[Violation], None]) -> None:
        super().__init__(truth, report)
        self._epochs: dict[str, int] = {}
        self._asked: dict[str, dict[int, None]] = {}
        self._well: dict[str, dict[str, bool]] = {}
        """By host, whom it listed when it went on, and whether it did not suspect it then."""
        self._resumed_at: dict[str, float] = {}

    def resumed(self, host: Host, seconds: float) -> None:
        machine = host.machine
        if machine is not None and seconds >= PAUSE_MIN and machine.node_count() > 1:
            host.is_watched = True
            self._epochs[host.key] = machine.own.epoch
            self._asked[host.key] = {}
            self._resumed_at[host.key] = self.truth.engine.now
            self._well[host.key] = {
                record.id: record.state is State.ALIVE for record in machine.records().values() if record.is_node
            }

    def paused(self, host: Host) -> None:
        self._release(host)

    def stopped(self, host: Host) -> None:
        self._release(host)

    def _release(self, host: Host) -> None:
        host.is_watched = False
        self._epochs.pop(host.key, None)
        self._asked.pop(host.key, None)
        self._well.pop(host.key, None)
        self._resumed_at.pop(host.key, None)

    def _has_been_silent(self, host: Host) -> bool:
        silent_for = self.truth.engine.now - self._resumed_at[host.key]
        return silent_for >= ROUNDS_SILENT * self.truth.config.probe_interval

    def sent(self, host: Host, effect: Send) -> None:
        if self._has_been_silent(host):
            self._release(host)
            return
        datagram = effect.datagram
        target = self.truth.network.key_at(effect.address)
        if isinstance(datagram.body, Ping):
            self._asked[host.key][datagram.body.sequence] = None
        well = self._well[host.key]
        for item in datagram.items:
            if item.id == target:
                continue  # who is suspect is told so, whoever says it
            if not isinstance(item, Rumour) or item.by != host.id or item.state is State.LEFT:
                continue
            # an accusation from before may still go round, and no verdict of before is about one that it listed
            if item.id in well and (item.state is State.DEAD or well[item.id]):
                self.violated(host, f"was stopped, and says that {item.id} is {item.state.name.lower()}")
                self._release(host)
                return

    def heard(self, host: Host, datagram: Datagram) -> None:
        if isinstance(datagram.body, Ack) and datagram.body.sequence in self._asked[host.key]:
            self._release(host)

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if host.is_watched and isinstance(reply, Pong):
            self._release(host)

    def event(self, host: Host, event: Event) -> None:
        if not host.is_watched or not isinstance(event, MemberUpdated | MemberJoined):
            return
        record = event.record
        has_claimed = record.id == host.id and record.epoch > self._epochs.get(host.key, 0)
        if has_claimed and not self._has_been_silent(host):
            self.violated(host, f"was stopped, and claims to lead in epoch {record.epoch}")
            self._release(host)
