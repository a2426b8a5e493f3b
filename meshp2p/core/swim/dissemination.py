"""Rounds of gossip, in addition to what rides on pings (SWIM §4.1), news that is told at once, and the farewell."""

from __future__ import annotations

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, Push
from meshp2p.core.datagrams import Gossip
from meshp2p.core.directory.state import NodeState
from meshp2p.core.directory.timers import Timer
from meshp2p.core.effects import CallFailed
from meshp2p.core.record import Item, Record, Rumour, State, tag_of

__all__ = ["Dissemination", "pass_on"]

NEWS_HASTE = 16
"""How much faster rounds of gossip follow each other while there is news. Of 16 nodes, the first rounds miss one every
other time."""

ARC_MAX = 16
"""In a mesh with longer arcs, the nodes that an author told pass its news on by gossip. Chosen, not measured."""

ROUND_PAUSE = 0.01
"""The minimum time in seconds between two rounds, whatever arrives meanwhile.

If half of a mesh is news to the other half, each packet brings some; with one round for each, packets would be a third
full.
"""


def pass_on(state: NodeState, item: Item, told_by: int) -> bool:
    """Tell an item that is new here to the rest of this node's arc, if its author told this node. Return whether all
    nodes are told so.

    The author tells one node in each arc of the ring of ids, and that one tells the others. So news reaches all in two
    hops, and each once. Gossip repairs what is lost. While there is other gossip, arcs of several nodes hear all by
    gossip, many items in a packet. ``told_by`` is the tag of the node that told this one, 0 if it was gossip.
    """
    if not told_by:
        return False
    author = item.home if isinstance(item, Record) else item.by
    nodes, fanout = state.members.nodes, state.config.birth_fanout
    others = len(nodes) - 1
    if others <= fanout or author not in state.members.records:
        return True  # the author told all, as a node that leaves does
    if others > fanout * ARC_MAX or len(state.gossip) > (item.id in state.gossip):
        return False
    if told_by == tag_of(author):
        for node_id in next((arc for arc in nodes.arcs(author, fanout) if state.id in arc), ()):
            if node_id != state.id and not state.is_silent(node_id):
                state.tell(node_id, item)
    return True


class Dissemination:
    """Sends gossip to a few nodes every ``gossip_interval``, while there is some."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._farewells = 0

    def handle_round(self, now: float) -> None:
        """Send the items that were sent least often to ``gossip_fanout`` nodes. Items that fit into no packet go by
        TCP."""
        state = self._state
        if not len(state.gossip) or not state.is_announced:
            return
        nodes = state.choose_listeners(state.config.gossip_fanout)
        if not nodes:
            return
        oversize = state.gossip.pop_oversize(state.config.sync_bytes_max)
        for node_id in nodes:
            for item in oversize:
                state.tell(node_id, item)
            if len(state.gossip):
                state.send_to_node(node_id, Gossip(state.tag), now)
        # news is sent sooner, not more often
        interval = state.config.gossip_interval
        state.gossip_after = now + ROUND_PAUSE
        state.timers.set(Timer.GOSSIP, now + (interval / NEWS_HASTE if state.gossip.has_news else interval))

    def say_farewell(self) -> None:
        """Tell every listed node that this one leaves, and a few of them by TCP, to be sure that they received it."""
        state = self._state
        if not state.is_announced:
            return
        others = state.choose_nodes(len(state.members.nodes))
        farewell = self._farewell()
        for node_id in others:
            state.tell(node_id, farewell)
        for node_id in others[: state.config.gossip_fanout]:
            node = state.members.records[node_id]
            self.say_farewell_to(node, state.addresses_of(node))

    def say_farewell_to(self, node: Record, addresses: tuple[Address, ...]) -> None:
        """Tell the node at these addresses by TCP that this one leaves, unless leaving may take no time."""
        state = self._state
        timeout = state.config.leave_timeout
        if timeout:
            self._farewells += 1
            state.call(addresses, Push(state.tag, (self._farewell(),)), self._conclude_farewell, timeout, node)

    def _farewell(self) -> Rumour:
        state = self._state
        return state.find(state.id, state.own.incarnation, State.LEFT)

    def _conclude_farewell(self, _reply: CallReply | CallFailed, _now: float) -> None:
        self._farewells -= 1

    @property
    def is_saying_farewell(self) -> bool:
        return self._farewells > 0
