"""The suspicions of one node, and the timers of each."""

from __future__ import annotations

from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.record import Rumour
from meshp2p.core.swim.suspicion import Suspicion

__all__ = ["SuspicionTable"]


class SuspicionTable(dict[str, Suspicion]):
    """The suspicions by the ids of their suspects, which are nodes."""

    def __init__(self, state: NodeState) -> None:
        super().__init__()
        self._state = state

    def begin(self, rumour: Rumour, now: float) -> None:
        """Begin the suspicion of a listed node that does not answer ``rumour.by``."""
        state = self._state
        config = state.config
        nodes = len(state.members.nodes)
        # memberlist: k = suspicion multiplier - 2, and none if too few others could confirm
        confirmations_max = max(0, int(config.suspicion_multiplier) - 2)
        if nodes - 2 < confirmations_max:
            confirmations_max = 0
        timeout_min = timeout_max = config.suspicion_timeout(nodes)
        if confirmations_max and config.confirmers:
            timeout_min = min(timeout_min, config.confirmed_timeout)
        patience = state.patience.factor(rumour.id, now)
        timeout_min *= patience
        timeout_max = max(timeout_min, timeout_max)
        suspicion = self[rumour.id] = Suspicion(
            rumour.by,
            now,
            timeout_min=timeout_min,
            timeout_max=timeout_max * config.suspicion_max_multiplier,
            confirmations_max=confirmations_max,
        )
        suspicion.patience = patience
        if rumour.is_refused and rumour.by:
            suspicion.refused[rumour.by] = None
        self.set_timers(rumour.id, now)

    def note_death(self, rumour: Rumour, now: float) -> bool:
        """Note that another view holds a suspect dead. Return whether that was new."""
        config, suspicion = self._state.config, self[rumour.id]
        patience = self._state.patience.factor(rumour.id, now)
        timeout_max = config.suspicion_timeout(len(self._state.members.nodes)) * patience
        # as for this node's own findings: the period of a probe, then the suspicion
        timeout_min = (1 + config.suspicion_confirmed_multiplier) * config.probe_interval * patience
        is_new = suspicion.note_death(
            rumour.by, now, timeout_min=min(timeout_min, timeout_max), timeout_max=timeout_max
        )
        if is_new:
            suspicion.patience = patience
            self.set_timers(rumour.id, now)
        return is_new

    def has_accused(self, node_id: str, *, is_refused: bool) -> bool:
        """Return whether this node already accused the suspect of as much."""
        suspicion = self.get(node_id)
        if suspicion is None:
            return False
        return self._state.id in suspicion.refused if is_refused else self._state.id in suspicion.accusers

    def weigh_confirmers(self, now: float) -> None:
        """Update suspicions after a change of members: no confirmation is expected from a node that is suspected
        itself."""
        for node_id, suspicion in self.items():
            if suspicion.confirmers:
                able = 0
                for confirmer in suspicion.confirmers:
                    is_alive = self._state.is_live(confirmer) and confirmer not in self
                    able += is_alive or confirmer in suspicion.accusers
                if suspicion.expect(able):
                    self.set_timers(node_id, now)

    def set_timers(self, node_id: str, now: float) -> None:
        """Set the timers of a suspicion after its duration may have changed."""
        timers = self._state.timers
        deadline = max(now, self[node_id].deadline())  # a deadline in the past would look like a pause
        timers.set(Timer.SUSPICION, deadline, node_id)
        if self[node_id].is_shared:
            timers.cancel(Timer.LAST_WORD, node_id)
        else:
            timers.set(Timer.LAST_WORD, max(now, deadline - self._state.config.probe_timeout), node_id)

    def restart(self, now: float) -> None:
        """Restart all suspicions, because this process was suspended and could not receive refutations."""
        for node_id, suspicion in self.items():
            suspicion.restart(now)
            self.set_timers(node_id, now)

    def end(self, node_id: str) -> None:
        """End the suspicion of a node, if it is suspected."""
        if self.pop(node_id, None) is not None:
            self._state.timers.cancel(Timer.SUSPICION, node_id)
            self._state.timers.cancel(Timer.LAST_WORD, node_id)
