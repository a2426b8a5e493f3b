"""The status of a message, wherever it was accepted."""

from __future__ import annotations

import msgspec

from meshp2p.core.calls import ForwardStatus, StatusReply
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.mail.home_calls import HomeCalls
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.uuid7 import node_bits_of
from meshp2p.core.message import CopyReceipt
from meshp2p.core.record import tag_of
from meshp2p.core.requests import AskStatus

__all__ = ["Receipts"]


class Receipts(msgspec.Struct, eq=False):
    """Answers from the outbox, or lets the node answer that accepted the message."""

    _state: NodeState
    _relay_selector: RelaySelector
    _outbox: Outbox
    _home_calls: HomeCalls

    def ask(self, ticket: int, request: AskStatus, now: float) -> None:
        """Answer an agent that asks for the status of a message. The id of a message tells which node accepted it."""
        reply = self.status(request.message_id)
        bits = None if reply.receipts else node_bits_of(request.message_id)
        nodes = self._state.members.nodes if bits is not None else ()
        holder = next((id_ for id_ in nodes if tag_of(id_) >> 32 == bits and id_ != self._state.id), None)
        if holder is None:
            self._state.resolve(ticket, reply)
        else:
            why = f"node {holder!r}, which accepted it, does not answer"
            self._home_calls.ask(ticket, holder, ForwardStatus(request.message_id), why, now)

    def status(self, message_id: str) -> StatusReply:
        """Return the status of each copy, and why one that is still here is not delivered if its home cannot be
        reached."""
        outgoing = self._outbox.by_id.get(message_id)
        return StatusReply(tuple(map(self._explain, outgoing.receipts() if outgoing is not None else ())))

    def _explain(self, receipt: CopyReceipt) -> CopyReceipt:
        record = self._state.members.records.get(receipt.recipient)
        if record is None or receipt.status.is_final or not (why := self._relay_selector.why_unreachable(record.home)):
            return receipt
        return msgspec.structs.replace(receipt, reason=f"no path to node {record.home!r}: {why}"[:1024])
