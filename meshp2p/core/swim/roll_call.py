"""Checks many nodes at the same time, after a probe that got no answer on any path.

A failed probe accuses one node. If its relays sent no nacks either, much may be gone: part of the mesh, or this node,
may be cut off. One probe a second would take as many seconds as there are nodes to find out. So a few nodes are checked
at once, and more if few of them answer::

    8 checked ──> half of them answer: end; those that do not are accused, and their confirmers check them too
              ├─> few answer: so many more that each silent node is checked by some of those that are left
              └─> none answers: all

Relays that sent no nack but answer this, even late, show that this node or its network is slow (Lifeguard §IV-A).
Relays that are gone do not: a node that was cut off keeps its pace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.record import State
from meshp2p.core.swim.confirmer import Confirmer

__all__ = ["RollCall"]

FIRST: Final = 8
"""The size of the first wave, including silent relays. Chosen, not measured."""

CHECKERS: Final = 8
"""By about how many of the remaining nodes each silent node is checked. Chosen so that of 128 nodes cut in halves
hardly one is missed; too low leaves some to later probes, too high costs packets."""

GROWTH: Final = 4
"""By how much each further wave may grow. Chosen, not measured."""


OWING_PERIODS: Final = 5
"""Protocol periods for which an answer of a relay that owes a nack shows that this node is slow. Chosen."""


class RollCall:
    """Waves of checks, ``probe_timeout`` apart, until half of the checked nodes answer, or enough were checked."""

    def __init__(self, state: NodeState, confirmer: Confirmer) -> None:
        self._state = state
        self._confirmer = confirmer
        self._called: dict[str, None] = {}
        """The nodes checked in the roll call under way."""
        self._owing: dict[str, float] = {}
        """Relays that owe a nack, and until when their answer counts."""

    def begin(self, now: float, relays: Iterable[str] = ()) -> None:
        """Begin a roll call, because a probe got no answer and these relays sent no nack."""
        state = self._state
        if state.is_guarded or state.is_leaving or not state.is_announced:
            return
        relays = [relay for relay in relays if not self._confirmer.is_silent(relay)]
        self._owing = {relay: until for relay, until in self._owing.items() if until > now}
        self._owing |= dict.fromkeys(relays, now + OWING_PERIODS * state.config.probe_interval)
        self._call(relays, now)
        if not state.timers.is_set(Timer.ROLL_CALL):
            self._call(self._draw(FIRST - len(relays)), now)
            state.timers.set(Timer.ROLL_CALL, now + state.config.probe_timeout)

    def handle_wave(self, now: float) -> None:
        """Check more nodes or end, by the answers to the last wave."""
        state = self._state
        count = len(self._called)
        answered = sum(not self._confirmer.is_silent(node_id) for node_id in self._called)
        wanted = count * CHECKERS // answered if answered else len(state.members.nodes)
        more = self._draw(min(wanted - count, GROWTH * count)) if 2 * answered < count else []
        if more and not state.is_guarded and not state.is_leaving:
            self._call(more, now)
            state.timers.set(Timer.ROLL_CALL, now + state.config.probe_timeout)
        else:
            self._called.clear()

    def note_answer(self, node_id: str, now: float) -> None:
        """Note that a node answered a check, or something else too late. If it owes a nack, this node or its network is
        slow."""
        if self._owing.pop(node_id, 0.0) > now:
            self._state.local_health.change(+1)

    def _draw(self, count: int) -> list[str]:
        """Return up to so many random other nodes that are not suspected and were not called yet."""
        state = self._state
        records = state.members.records
        left = [
            node_id
            for node_id in state.members.nodes
            if node_id != state.id and node_id not in self._called and records[node_id].state is State.ALIVE
        ]
        return state.random.sample(left, max(0, min(count, len(left), self._confirmer.room)))

    def _call(self, node_ids: Iterable[str], now: float) -> None:
        for node_id in node_ids:
            self._called[node_id] = None
            self._confirmer.check(node_id, now, by_udp_first=True)
