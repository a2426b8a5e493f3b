"""What became of a message, wherever it was accepted."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from meshp2p.core.directory.carrier import Carrier
from meshp2p.core.directory.state import NodeState
from meshp2p.core.effects import CallFailed
from meshp2p.core.mail.outbox import Outbox
from meshp2p.core.mail.uuid7 import node_bits_of
from meshp2p.core.message import Receipt
from meshp2p.core.messages import CallReply, ForwardStatus, Refused, StatusReply, Why
from meshp2p.core.record import tag_of
from meshp2p.core.requests import AskStatus

__all__ = ["Receipts"]


@dataclass(eq=False, repr=False)
class Receipts:
    """Answers from the outbox, or lets the node answer that accepted the message."""

    _state: NodeState
    _carrier: Carrier
    _outbox: Outbox

    def ask(self, ticket: int, request: AskStatus, now: float) -> None:
        """An agent asks. The id of a message tells which node accepted it."""
        state = self._state
        reply = self.status(request.message_id)
        holder: str | None = None
        if not reply.receipts:
            bits = node_bits_of(request.message_id)
            holder = next((id_ for id_ in state.members.nodes if tag_of(id_) >> 32 == bits and id_ != state.id), None)
        if holder is None:
            state.resolve(ticket, reply)
            return

        def conclude(answer: CallReply | CallFailed, _now: float) -> None:
            if isinstance(answer, CallFailed):
                answer = Refused(Why.UNREACHABLE, f"node {holder!r}, which accepted it, does not answer")
            state.resolve(ticket, answer)

        self._carrier.call(holder, ForwardStatus(request.message_id), conclude, state.config.forward_timeout, now)

    def status(self, message_id: str) -> StatusReply:
        """What became of each copy, and why one that is still here is not delivered, if its home cannot be reached."""
        outgoing = self._outbox.by_id.get(message_id)
        return StatusReply(tuple(map(self._explain, outgoing.receipts() if outgoing is not None else ())))

    def _explain(self, receipt: Receipt) -> Receipt:
        record = self._state.members.records.get(receipt.recipient)
        if record is None or receipt.status.is_final or not (why := self._carrier.why_unreachable(record.home)):
            return receipt
        return msgspec.structs.replace(receipt, reason=f"no path to node {record.home!r}: {why}"[:1024])
