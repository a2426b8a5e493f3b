"""Care after a suspension of this process: a closed lid, a stopped process, a migrated virtual machine.

To such a node all others seem to have been silent. So it restarts its timeouts, and until it has heard from another
node, it accuses none, declares none dead and names no leader.
"""

from __future__ import annotations

from meshp2p.core.directory.state import NodeState
from meshp2p.core.swim.election import Election
from meshp2p.core.swim.hosting import Hosting
from meshp2p.core.swim.membership import Membership
from meshp2p.core.swim.prober import Prober
from meshp2p.core.swim.syncer import Syncer

__all__ = ["PauseGuard"]

LAG_THRESHOLD = 0.1
"""A timer that fires this many seconds late means that this node is slow. Chosen, not measured."""

ROUNDS_MAX = 3
"""Probe rounds without any answer after which the other nodes are considered gone. Chosen, not measured."""


class PauseGuard:
    """Detects a suspension by a timer that fires late, or by a wall clock that ran ahead of the monotonic one (which
    stops while a machine sleeps). A smaller delay is lag, and worsens local health."""

    def __init__(
        self,
        state: NodeState,
        membership: Membership,
        prober: Prober,
        hosting: Hosting,
        syncer: Syncer,
        election: Election,
    ) -> None:
        self._state = state
        self._membership = membership
        self._prober = prober
        self._hosting = hosting
        self._syncer = syncer
        self._election = election
        self.next_look: float = 0.0
        """When to run timers or, if none is due soon, to check the clocks: as of the end of the last input."""
        self._wall_ahead = 0.0
        self._looked_at = 0.0
        self._lag_counted_at = 0.0
        self._began_at = 0.0
        self._rounds_failed = 0

    def start(self, now: float) -> None:
        self._wall_ahead = self._state.wall_ms() / 1000 - now
        self._looked_at = now

    def plan_look(self) -> None:
        """Set :attr:`next_look` at the end of an input.

        A node that finds itself slow has few timers. Without a check of the clocks, none would be late after a
        suspension.
        """
        deadline, look = self._state.timers.next_deadline(), self._looked_at + self._state.config.probe_interval
        self.next_look = deadline if deadline < look else look  # min() takes longer, and each input does this

    def check_arrival(self, now: float) -> None:
        """Check for a suspension when an input arrives from another node, the disk or an agent.

        If a deadline is long past, or the wall clock ran ahead, this process was suspended.
        """
        state = self._state
        if not state.is_guarded:
            threshold = state.config.pause_threshold
            slept = state.wall_ms() / 1000 - now - self._wall_ahead
            if slept >= threshold or now - self.next_look >= threshold:
                self.check_clocks(now)
        self._looked_at = now

    def check_clocks(self, now: float) -> None:
        """Check for a suspension when a timer fires."""
        config = self._state.config
        late = now - self.next_look
        self._looked_at = now
        wall_ahead = self._state.wall_ms() / 1000 - now
        slept, self._wall_ahead = wall_ahead - self._wall_ahead, wall_ahead
        if late >= config.pause_threshold or slept >= config.pause_threshold:
            self._begin(now)
        elif late >= LAG_THRESHOLD and now - self._lag_counted_at >= config.probe_interval:
            self._lag_counted_at = now
            self._state.local_health.change(+1)

    def _begin(self, now: float) -> None:
        state = self._state
        if state.is_guarded and now - self._began_at < state.config.pause_threshold:
            return  # it is the same pause: inputs were processed before the timers
        self._began_at = now
        state.counters.pauses += 1
        state.is_guarded = True
        self._rounds_failed = 0
        state.heard_at = now  # what was not received meanwhile was nobody's silence
        self._membership.suspicions.restart(now)
        self._hosting.restart_expiries(now)
        self._prober.restart(now)
        self._election.unsettle(now)

    def note_round(self, answered_by: str | None, now: float) -> None:
        """Note that a probe round ended, with an answer or without."""
        if not self._state.is_guarded:
            return
        if answered_by is None:
            self._rounds_failed += 1
            if self._rounds_failed < ROUNDS_MAX and len(self._state.members.nodes) > 1:
                return
        self._state.is_guarded = False
        if answered_by is not None:
            self._syncer.sync_with(answered_by, now)
