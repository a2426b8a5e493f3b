"""The claims that a node may make after it was stopped."""

from __future__ import annotations

import math

from meshp2p.core.calls import CallReply, Pong, SyncRequest
from meshp2p.core.datagrams import Ack, Datagram, Ping
from meshp2p.core.effects import Call, CallFailed, Send
from meshp2p.core.events import ContactLost, Event, InstanceJoined, InstanceUpdated
from meshp2p.core.record import Rumour, State
from meshp2p.simulation.checkers.base import Checker
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import Liar, Moved

__all__ = ["PauseChecker"]

ROUNDS_SILENT = 3
"""After so many probe intervals in which no probe was answered a node may hold that the others are gone: its side of a
partition is itself alone."""

PAUSE_MIN = 3.0
"""A shorter pause need not be noticed. Chosen, not measured."""


ROUNDING = 0.01


ANSWERED_WITHIN = 0.3
"""Seconds within which a node that goes on has probed another, and had its answer. Chosen, not measured."""


class PauseChecker(Checker):
    """A node that was stopped accuses nobody and claims no leadership before a probe of its own succeeded, or went
    without answer for ``ROUNDS_SILENT`` rounds. It says that it heard nobody for a time only if it ran all that time.

    Where all others are there and nothing is in the way it has a probe answered at once, and then syncs: it asks what
    it missed. A node all alone cannot probe, and may claim.
    """

    name = "pause-guard"
    watches: tuple[type, ...] = (InstanceUpdated, InstanceJoined, ContactLost)

    def prepare(self) -> None:
        self._epochs: dict[str, int] = {}
        self._asked: dict[str, dict[int, None]] = {}
        self._well: dict[str, dict[str, bool]] = {}
        """By host, whom it listed when it went on, and whether it did not suspect it then."""
        self._resumed_at: dict[str, float] = {}
        self._synced_at: dict[str, float] = {}
        """When each host synced since it went on."""
        self._paused_at: dict[str, float] = {}
        """When each host was last stopped, by its own clock."""
        self._went_on_at: dict[tuple[str, int], float] = {}
        """When each process last went on after a pause that it must notice."""

    def resumed(self, host: Host, seconds: float) -> None:
        machine = host.running
        if seconds >= PAUSE_MIN and machine.node_count() > 1:
            host.is_watched = True
            self._epochs[host.key] = machine.own.epoch
            self._asked[host.key] = {}
            self._resumed_at[host.key] = self.oracle.engine.now
            self._well[host.key] = {
                record.id: record.state is State.ALIVE for record in machine.records().values() if record.is_node
            }

            oracle = self.oracle
            self._synced_at.pop(host.key, None)
            # where its clock stood still as well nothing is due, and it learns of its pause by what comes
            has_run = host.clock.now - self._paused_at.get(host.key, host.clock.now) > PAUSE_MIN / 2
            # it looks at its clocks once a period, and notices what exceeds the threshold after that
            has_run &= seconds > oracle.config.pause_threshold + oracle.config.probe_interval
            if has_run:
                self._went_on_at[host.key, host.life] = oracle.engine.now
            # others have new keys for datagrams if it was stopped for longer, and those that moved, new addresses
            is_known = (oracle.genuine is None or seconds < host.retired_seconds) and not oracle.has_had(Moved)
            if has_run and is_known and not oracle.active_troubles() and machine.node_count() == len(oracle.live) > 2:
                oracle.engine.at(oracle.engine.now + ANSWERED_WITHIN, self._look_for_sync, (host, host.life))

    def calls(self, host: Host, effect: Call) -> None:
        if type(effect.request) is SyncRequest:
            self._synced_at[host.key] = self.oracle.engine.now

    def _look_for_sync(self, argument: tuple[Host, int]) -> None:
        host, life = argument
        oracle = self.oracle
        is_there = host.machine is not None and host.life == life and not host.is_stopped and not host.is_leaving
        is_quiet = oracle.engine.now - oracle.disturbed_at >= ANSWERED_WITHIN - 1e-6 and not oracle.active_troubles()
        if is_there and is_quiet and host.key not in self._synced_at:
            self.violated(host, f"was stopped, and syncs with nobody for {ANSWERED_WITHIN} s")

    def paused(self, host: Host) -> None:
        self._paused_at[host.key] = host.clock.now
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
        silent_for = self.oracle.engine.now - self._resumed_at[host.key]
        return silent_for >= ROUNDS_SILENT * self.oracle.config.probe_interval

    def sent(self, host: Host, effect: Send) -> None:
        if self._has_been_silent(host):
            self._release(host)
            return
        datagram = effect.datagram
        target = self.oracle.network.key_at(effect.address)
        if isinstance(datagram.body, Ping):
            self._asked[host.key][datagram.body.sequence] = None
        well = self._well[host.key]
        if any(isinstance(fault, Liar) and fault.node == host.id for fault in self.oracle.all_faults):
            return  # it passes on what was forged in its name
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
        if isinstance(event, ContactLost):
            runs_for = self.oracle.engine.now - self._went_on_at.get((host.key, host.life), -math.inf)
            if event.seconds > 1.1 * runs_for + ROUNDING:
                self.violated(host, f"heard nobody for {event.seconds:.1f} s, and was stopped {runs_for:.1f} s ago")
        if not host.is_watched or not isinstance(event, InstanceUpdated | InstanceJoined):
            return
        record = event.record
        has_claimed = record.id == host.id and record.epoch > self._epochs.get(host.key, 0)
        if has_claimed and not self._has_been_silent(host):
            self.violated(host, f"was stopped, and claims to lead in epoch {record.epoch}")
            self._release(host)
