"""Asking somebody whether all was heard, once the mesh has changed and is quiet again.

Gossip leaves out a few: of 64 nodes that hear 64 items, each told 8 times by each node, one or two miss something, and
more of them where a partition was mended, since what is told first is told to the half that is listed by then. They
would find out by a probe, which comes once a second. So each node asks one other, by a ping, and syncs with it where
their views differ.
"""

from __future__ import annotations

from typing import Final

from meshp2p.core.datagrams import Ack
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.events import InstanceChange, InstanceDied, InstanceJoined, InstanceLeft
from meshp2p.core.record import tag_of
from meshp2p.core.swim.prober import Prober
from meshp2p.core.swim.syncer import Syncer

__all__ = ["ConvergenceCheck"]

LOOKS_MAX: Final = 4
"""Looks in a row that had no answer or found a difference; then probes go on. Chosen, not measured."""


class ConvergenceCheck:
    """Looks ``look_delay`` seconds after the last instance came or went, and again until somebody agrees."""

    def __init__(self, state: NodeState, prober: Prober, syncer: Syncer) -> None:
        self._state = state
        self._prober = prober
        self._syncer = syncer
        self._looks = 0
        self._asked: tuple[int, str] = (0, "")
        """The ping under way: its number and whom it was sent to."""

    def notice(self, event: InstanceChange, now: float) -> None:
        """Somebody came or went: gossip about that, and what comes with it, is on its way. What a listed one publishes
        is no reason to look: that happens all the time."""
        match event:
            case InstanceJoined() | InstanceDied() | InstanceLeft():
                self._looks = 0
                self._state.timers.set(Timer.LOOK, now + self._state.config.look_delay)
            case _:
                pass

    def handle_look(self, now: float) -> None:
        """Ask one node for its view, drawn at random."""
        state = self._state
        if not state.is_announced or state.is_leaving or self._looks == LOOKS_MAX:
            return
        self._looks += 1
        state.timers.set(Timer.LOOK, now + state.config.look_delay)
        for node_id in state.choose_nodes(1):
            self._asked = (self._prober.next_sequence(), node_id)
            state.send_to_node(node_id, state.ping(self._asked[0], tag_of(node_id)), now)

    def receive_ack(self, message: Ack, sender: str | None, now: float) -> bool:
        """An ack that answers no probe. Whether it answers a look: then this node syncs where it has to."""
        if self._asked != (message.sequence, sender) or sender is None:
            return False
        self._asked = (0, "")
        if message.view == self._state.members.view:
            self._state.timers.cancel(Timer.LOOK)
        else:
            self._syncer.sync_with(sender, now)
        return True
