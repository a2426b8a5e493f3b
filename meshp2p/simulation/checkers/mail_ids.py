"""The ids of messages, which order them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from meshp2p.simulation.checkers.base import Checker, Violation
from meshp2p.simulation.host import Host
from meshp2p.simulation.truth import Letter, Truth

__all__ = ["MessageIds"]


class MessageIds(Checker):
    """A node with a disk accepts each message under a greater id than the one before, whatever its clock does: readers
    order by them."""

    name: ClassVar[str] = "message-ids"

    def __init__(self, truth: Truth, report: Callable[[Violation], None]) -> None:
        super().__init__(truth, report)
        self._newest: dict[tuple[str, int], str] = {}

    def accepted(self, host: Host, letter: Letter) -> None:
        newest = self._newest.get((letter.node, letter.life), "")
        if host.disk is not None and letter.life == host.life and letter.id <= newest:
            self.violated(host, f"accepts {letter.id} after {newest}")
        self._newest[letter.node, letter.life] = max(letter.id, newest)
