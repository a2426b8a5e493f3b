"""Checking many nodes at the same time, once a probe met silence on all ways.

A probe without an answer accuses one node. If its relays did not send their nacks either, much may be gone: a part of
the mesh was cut off, or this node was. One probe a second would find that out in as many seconds as there are nodes. So
a few nodes are checked at once, and more the fewer of them answer::

    8 checked ──> half of them answer: end; those that do not are accused, and their confirmers check them too
              ├─> few answer: so many more that each silent node is checked by some of those that are left
              └─> nobody answers: all

Relays that answer this, also late, but sent no nack say that this node is slow, or its network (Lifeguard §IV-A).
Those that are gone do not: a node that was cut off keeps its pace.
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
"""Nodes of the first wave, silent relays among them. Chosen, not measured."""

CHECKERS: Final = 8
"""By about how many of those that are left each silent node is checked. Chosen so that of 128 nodes cut in halves
hardly one is left out; too low leaves some to later probes, too high costs packets."""

GROWTH: Final = 4
"""How many times as many as before are checked in a further wave. Chosen, not measured."""


OWING_PERIODS: Final = 5
"""Protocol periods for which an answer of a relay that owes a nack says that this node is slow. Chosen."""


class RollCall:
    """Waves of checks, ``probe_timeout`` apart, until half of those that were checked answer, or enough were."""

    def __init__(self, state: NodeState, confirmer: Confirmer) -> None:
        self._state = state
        self._confirmer = confirmer
        self._called: dict[str, None] = {}
        """Who was checked in the roll call under way."""
        self._owing: dict[str, float] = {}
        """Relays that owe a nack, and until when their answer counts."""

    def begin(self, now: float, relays: Iterable[str] = ()) -> None:
        """A probe had no answer, and these relays sent no nack."""
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
        """Those who live have answered the last wave: check more, or end."""
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
        """A node answered a check, or something else so late that nobody waits for it any more. If it owes a nack, this
        node or its network is slow."""
        if self._owing.pop(node_id, 0.0) > now:
            self._state.local_health.change(+1)

    def _draw(self, count: int) -> list[str]:
        """Up to so many others that are not suspected and were not called yet."""
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
