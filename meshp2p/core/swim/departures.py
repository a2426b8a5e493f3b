"""Departed instances: dead nodes are called again, and all are finally forgotten."""

from __future__ import annotations

from collections.abc import Callable

from meshp2p.core.address import Address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.events import InstanceChange, InstanceDied
from meshp2p.core.record import Departed, tag_of

__all__ = ["Departures", "call_pause"]

HASTE = 5
"""How many times as often dead nodes are called just after one died: most partitions are short."""

HASTE_SECONDS = 60.0
"""Seconds from the last death until dead nodes are called as rarely as ``dead_call_interval`` says. Chosen, not
measured."""


def call_pause(config: ProtocolConfig, seconds: float) -> float:
    """Return the pause of one node between two calls, in seconds, if nearly all nodes are dead. ``seconds`` is the time
    since the last death."""
    return config.dead_call_interval * min(1.0, max(1 / HASTE, seconds / HASTE_SECONDS))


class Departures:
    """Calls dead nodes, rarely, for ``departed_retention``, because they may live beyond a partition."""

    def __init__(self, state: NodeState, dial: Callable[[Address, str, float], None]) -> None:
        """``dial`` syncs with the dead node at an address."""
        self._state = state
        self._dial = dial

    def notice(self, event: InstanceChange, now: float) -> None:
        """Plan a call after a death, unless one is planned early enough: many may die at once, and listing the dead
        takes a while."""
        if isinstance(event, InstanceDied) and event.record.is_node:
            planned = self._state.timers.deadline(Timer.CALL_DEAD)
            if planned is None or planned > now + self._pause(len(self._state.members.departed), 0.0):
                self._plan_call(self._state.members.callable_dead(), now)

    def _plan_call(self, dead: list[Departed], now: float) -> None:
        """Set the time of the next call, unless it is set for an earlier time."""
        if dead:
            pause = self._pause(len(dead), now - max(departed.since for departed in dead))
            self._state.timers.set_earlier(Timer.CALL_DEAD, now + pause * (0.5 + self._state.random.random()))

    def _pause(self, dead: int, seconds: float) -> float:
        """Return the average pause if so many are dead, the longer the fewer. ``seconds`` as for :func:`call_pause`."""
        share = dead / (dead + len(self._state.members.nodes))
        return call_pause(self._state.config, seconds) / share

    def handle_call(self, now: float) -> None:
        """Call a dead node; of two drawn at random, the one called less often.

        The call tells the node that it is held dead, so that it refutes at once. In a secured mesh every second one is
        a sync: a process that was started since then opens no datagram to the one before it.
        """
        state = self._state
        dead = state.members.callable_dead()
        if not dead or state.is_leaving:
            return
        self._plan_call(dead, now)
        drawn = state.random.sample(dead, min(2, len(dead)))
        target = min(drawn, key=lambda departed: departed.calls)
        target.calls += 1
        address = target.addresses[target.calls % len(target.addresses)]
        if state.signer is not None and not target.calls % 2:
            self._dial(address, target.id, now)
            return
        tag = tag_of(target.id)
        state.send(address, tag, state.ping(0, tag), now, first=target.as_rumour())

    def handle_forget(self, now: float) -> None:
        """Forget instances that departed more than ``departed_retention`` ago."""
        state = self._state
        state.forget_departed(now)
        oldest = next(iter(state.members.departed.values()), None)
        if oldest is not None:
            state.timers.set(Timer.FORGET, oldest.since + state.config.departed_retention)
