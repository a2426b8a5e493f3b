"""Calls to a recipient's home on behalf of an agent that asked another node."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from meshp2p.core.calls import CallReply, CallRequest, ForwardAcknowledge, ForwardFetch, Refused, Why
from meshp2p.core.directory.adoption import Adoption
from meshp2p.core.directory.relay_selector import RelaySelector
from meshp2p.core.directory.state import NodeState
from meshp2p.core.effects import CallFailed
from meshp2p.core.record import Record

__all__ = ["HomeCalls"]


class HomeCalls(msgspec.Struct, eq=False):
    """Lets the home answer. If it is gone, or cannot be reached, this node adopts a hosted recipient."""

    _state: NodeState
    _relay_selector: RelaySelector
    _adoption: Adoption

    def ask(self, ticket: int, node_id: str, request: CallRequest, why: str, now: float) -> None:
        """Let one node answer ``ticket``. It is refused with this reason if the node does not, or says that it is not
        the home."""

        def conclude(reply: CallReply | CallFailed, _now: float) -> None:
            if isinstance(reply, CallFailed) or (isinstance(reply, Refused) and reply.why is Why.NOT_HOME):
                reply = Refused(Why.UNREACHABLE, why)
            self._state.resolve(ticket, reply)

        self._relay_selector.call(node_id, request, conclude, self._state.config.forward_timeout, now)

    def forward(
        self,
        ticket: int,
        held: Record,
        request: ForwardFetch | ForwardAcknowledge,
        again: Callable[[float], None],
        now: float,
        *,
        on_reply: Callable[[CallReply, float], None] | None = None,
        wait: float = 0.0,
    ) -> None:
        """Call the home of this record, which may take ``wait`` seconds longer than usual to answer.

        Its answer goes to ``ticket``, or to ``on_reply(reply, now)`` if given. ``again(now)`` repeats the request if
        the recipient has another home by then. If there is no home to answer, ``ticket`` is refused.
        """
        state = self._state

        def conclude(reply: CallReply | CallFailed, now: float) -> None:
            present = state.members.records.get(held.id)
            if isinstance(reply, Refused) and reply.why is Why.NOT_HOME:
                if present is not None and present.home != held.home:
                    again(now)
                    return
                reply = Refused(Why.UNREACHABLE, f"the home of {held.id!r} changes: try again")
            if not isinstance(reply, CallFailed) and on_reply is not None:
                on_reply(reply, now)
            elif not isinstance(reply, CallFailed):
                state.resolve(ticket, reply)
            elif (
                present is None
                or present.home != held.home
                or (not held.is_node and self._adoption.adopt(held.id, now))
            ):
                again(now)
            else:
                why = f"node {held.home!r}, where {held.id!r} is at home, does not answer"
                state.resolve(ticket, Refused(Why.UNREACHABLE, why))

        self._relay_selector.call(held.home, request, conclude, state.config.forward_timeout + wait, now)
