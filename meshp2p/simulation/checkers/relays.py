"""What is carried for others goes one step and no further."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar

from meshp2p.core.effects import Call
from meshp2p.core.messages import CallRequest, Carry
from meshp2p.simulation.checkers.base import Checker, Violation
from meshp2p.simulation.host import Host
from meshp2p.simulation.truth import Truth

__all__ = ["Relays"]

REMEMBERED = 1024
"""Requests of others that are kept by host; a machine carries no more at a time. Chosen, not measured."""


class Relays(Checker):
    """A call that another node asked to be carried is made to its target, and is not handed to a further node: else a
    call could go round for ever, and each detour would cost what two do."""

    name: ClassVar[str] = "relays"

    def __init__(self, truth: Truth, report: Callable[[Violation], None]) -> None:
        super().__init__(truth, report)
        self._carried: dict[str, deque[CallRequest]] = {}

    def called(self, host: Host, request: CallRequest) -> None:
        if type(request) is Carry:
            self._carried.setdefault(host.key, deque(maxlen=REMEMBERED)).append(request.request)

    def calls(self, host: Host, effect: Call) -> None:
        request = effect.request
        if type(request) is not Carry or host.key not in self._carried:
            return
        # the very object: another request may be equal and this node's own
        if any(carried is request.request for carried in self._carried[host.key]):
            about = type(request.request).__name__
            self.violated(host, f"hands on the {about} for {request.target} that it was asked to carry")
