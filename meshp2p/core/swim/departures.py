"""Departed instances: dead nodes are called again, and all are finally forgotten."""

from __future__ import annotations

from collections.abc import Callable

from meshp2p.core.address import Address
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.record import tag_of

__all__ = ["Departures"]


class Departures:
    """Calls dead nodes, rarely, for ``departed_retention``, because they may live beyond a partition."""

    def __init__(self, state: NodeState, dial: Callable[[Address, str, float], None]) -> None:
        """``dial`` syncs with the dead node at an address."""
        self._state = state
        self._dial = dial

    def handle_call(self, now: float) -> None:
        """Call a dead node, with a probability of dead / all; of two, the one called less often.

        The call tells the node that it is held dead, so that it refutes at once. In a secured mesh every second one is
        a sync: a process that was started since then opens no datagram to the one before it.
        """
        state = self._state
        dead = state.members.callable_dead()
        if not dead or state.is_leaving:
            return
        state.timers.set(Timer.CALL_DEAD, now + state.config.dead_call_interval)
        if state.random.random() * (len(dead) + len(state.members.nodes)) >= len(dead):
            return
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
