"""Validation of the addresses that packets come from.

Anybody can send a packet with a node's tag from anywhere. So a packet from another address than the node's is not
trusted; pings validate it (path validation as in QUIC, RFC 9000 §8.2 and §9):

::

    a packet from elsewhere ──> a ping there, and one to the address in use
                                │
                                ├── the address in use answers, or the other does not: nothing changes
                                └── only the other answers in time: it is used from now on

So a node behind NAT is reached at its external address, and so is a machine that moved without noticing. An attacker
that pretends to be a node that answers gets none of its packets. While nothing proves who sends, it gets them if the
node does not answer.
"""

from __future__ import annotations

from typing import Final

from meshp2p.core.address import Address
from meshp2p.core.datagrams import Ack
from meshp2p.core.directory.state import NodeState, accusation_of
from meshp2p.core.directory.timers import Timer
from meshp2p.core.record import Record, tag_of
from meshp2p.core.swim.prober import Prober

__all__ = ["PathValidator"]

ADDRESS_CHECKS_MAX: Final = 256
"""How many nodes have an address checked at the same time. Chosen, not measured."""

_SEQUENCE_MIN, _SEQUENCE_MAX = 1 << 32, 1 << 63
"""Numbers that nobody guesses, and that no other ping of this node's bears."""


class _AddressCheck:
    __slots__ = ("address", "boot", "is_answered", "sequence", "sequence_in_use")

    def __init__(self, boot: int, address: Address, sequence: int, sequence_in_use: int) -> None:
        self.boot = boot
        self.address = address
        self.sequence = sequence
        self.sequence_in_use = sequence_in_use
        self.is_answered = False


class PathValidator:
    """Checks one address of a node at a time."""

    def __init__(self, state: NodeState, prober: Prober) -> None:
        self._state = state
        self._prober = prober
        self._checks: dict[str, _AddressCheck] = {}

    def hear(self, record: Record, source: Address, now: float) -> None:
        """Process a packet with the tag of this listed node, which came from this address."""
        state = self._state
        in_use = state.address_of(record)
        if source == in_use or record.id in self._checks or len(self._checks) >= ADDRESS_CHECKS_MAX:
            return
        sequence, sequence_in_use = (state.random.randrange(_SEQUENCE_MIN, _SEQUENCE_MAX) for _ in range(2))
        self._checks[record.id] = _AddressCheck(record.boot, source, sequence, sequence_in_use)
        state.timers.set(Timer.PATH, now + self._prober.direct_timeout(record.id, now), record.id)
        # no gossip: a forged source must not cause a larger answer
        tag = tag_of(record.id)
        for address, number in ((source, sequence), (in_use, sequence_in_use)):
            state.send_bare(address, tag, state.ping(number, tag), accusation_of(record))

    def receive_ack(self, message: Ack, sender: str | None, source: Address) -> bool:
        """Receive an ack that came from this address. Return whether it answers one of these pings."""
        check = self._checks.get(sender) if sender is not None else None
        if check is None or sender is None:
            return False
        if message.sequence == check.sequence_in_use:
            self._end(sender)
        elif message.sequence != check.sequence:
            return False
        elif source == check.address:
            record = self._state.members.records.get(sender)
            check.is_answered = True
            if record is not None and (source,) == record.addresses[:1]:
                self._use_address(sender, check)  # the address it publishes
        return True

    def handle_end(self, node_id: str) -> None:
        """End a check, because the address in use did not answer in time."""
        check = self._checks.get(node_id)
        if check is not None:
            self._use_address(node_id, check)

    def _use_address(self, node_id: str, check: _AddressCheck) -> None:
        self._end(node_id)
        record = self._state.members.records.get(node_id)
        if check.is_answered and record is not None and record.is_node and record.boot == check.boot:
            self._state.reach[node_id] = check.address

    def _end(self, node_id: str) -> None:
        del self._checks[node_id]
        self._state.timers.cancel(Timer.PATH, node_id)

    def forget(self, node_id: str) -> None:
        """Forget a node that is no longer listed."""
        if node_id in self._checks:
            self._end(node_id)
