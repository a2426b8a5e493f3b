"""Asks another node whether the views agree, once the mesh has changed and is quiet again.

Gossip misses a few: of 64 nodes that receive 64 items, each sent 8 times by each node, one or two miss an item. After a
partition it is more, since the first items go to the half that is listed by then. These nodes would find out by a
probe, which comes once a second. So each node pings one other, and syncs with it if their views differ.
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
"""The maximum number of looks in a row without an answer or with a difference; then probes take over. Chosen, not
measured."""


class ConvergenceCheck:
    """Looks ``look_delay`` seconds after the last instance came or went, and again until a view matches."""

    def __init__(self, state: NodeState, prober: Prober, syncer: Syncer) -> None:
        self._state = state
        self._prober = prober
        self._syncer = syncer
        self._looks = 0
        self._asked: tuple[int, str] = (0, "")
        """The ping under way: its number and its target."""

    def notice(self, event: InstanceChange, now: float) -> None:
        """Note that an instance came or went: gossip about it is on its way. Changes of listed instances do not count,
        because they happen all the time."""
        match event:
            case InstanceJoined() | InstanceDied() | InstanceLeft():
                self._looks = 0
                self._state.timers.set(Timer.LOOK, now + self._state.config.look_delay)
            case _:
                pass

    def handle_look(self, now: float) -> None:
        """Ask a random node for its view."""
        state = self._state
        if not state.is_announced or state.is_leaving or self._looks == LOOKS_MAX:
            return
        self._looks += 1
        state.timers.set(Timer.LOOK, now + state.config.look_delay)
        for node_id in state.choose_nodes(1):
            self._asked = (self._prober.next_sequence(), node_id)
            state.send_to_node(node_id, state.ping(self._asked[0], tag_of(node_id)), now)

    def receive_ack(self, message: Ack, sender: str | None, now: float) -> bool:
        """Receive an ack that answers no probe. Return whether it answers a look; then this node syncs if necessary."""
        if self._asked != (message.sequence, sender) or sender is None:
            return False
        self._asked = (0, "")
        if message.view == self._state.members.view:
            self._state.timers.cancel(Timer.LOOK)
        else:
            self._syncer.sync_with(sender, now)
        return True
