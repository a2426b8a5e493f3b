"""What was accepted, read and acknowledged, and what of it breaks the promises of ``docs/messages.md``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from meshp2p.core.record import tag_of
from meshp2p.core.uuid7 import node_bits_of

__all__ = ["Ledger", "Tally"]


CUT_SECONDS: Final = 30.0
"""For so long after a cut two nodes may take themselves for an agent's home. Chosen, not measured."""


class Tally(msgspec.Struct):
    """How much happened."""

    accepted: int = 0
    refused: int = 0
    unanswered: int = 0
    read: int = 0
    acknowledged: int = 0
    acknowledgements_refused: int = 0
    acknowledgements_unanswered: int = 0
    handed_over: int = 0
    """Messages read behind later ones of a node that had handed over what it held."""
    moved: int = 0
    """Reads after an acknowledgement that the documentation allows: those of a hosted agent, whose home another node
    becomes where its own is cut off or stands still."""


class Ledger:
    """Hears of each answer. ``hosted`` are the agents that are no nodes. ``violations`` says what must not be;
    :meth:`missing` what is still to come."""

    def __init__(self, hosted: Collection[str]) -> None:
        self.tally: Tally = Tally()
        self.violations: list[str] = []
        self.accepted: dict[str, str] = {}
        """Recipients by message id."""
        self._read: set[str] = set()
        self._acknowledged: dict[str, float] = {}
        self._last_read: dict[tuple[str, str, int | None], str] = {}
        self._cuts: list[tuple[float, float]] = []
        self._hosted = hosted
        self._handed_over: set[int | None] = set()

    def note_handed_over(self, node_id: str) -> None:
        """A node was told to end: what it had not delivered is another's now, and comes in no order with the rest."""
        self._handed_over.add(tag_of(node_id) >> 32)

    def note_accepted(self, message_id: str, recipient: str) -> None:
        self.accepted[message_id] = recipient
        self.tally.accepted += 1

    def note_acknowledged(self, message_ids: Iterable[str], now: float) -> None:
        """The acknowledgement was answered 204."""
        for message_id in message_ids:
            self.tally.acknowledged += message_id not in self._acknowledged
            self._acknowledged.setdefault(message_id, now)

    def note_cut(self, begin: float, end: float) -> None:
        """A node was cut off, or stood still, from ``begin`` to ``end``."""
        self._cuts.append((begin, end))

    def note_read(self, recipient: str, messages: Iterable[tuple[str, str]], now: float) -> None:
        """A read that was begun after all acknowledgements known here were answered gave these, as pairs of
        (source, message id), in this order."""
        for sender, message_id in messages:
            if message_id in self._acknowledged:
                self._note_read_again(recipient, message_id, now)
            if message_id in self._read:
                continue
            self._read.add(message_id)
            self.tally.read += 1
            lane = (recipient, sender, node_bits_of(message_id))
            last = self._last_read.get(lane, "")
            if message_id < last and lane[2] in self._handed_over:
                self.tally.handed_over += 1
            elif message_id < last:
                self.violations.append(f"{recipient} read {message_id} after {last} of the same source and node")
            self._last_read[lane] = max(last, message_id)

    def _note_read_again(self, recipient: str, message_id: str, now: float) -> None:
        since = self._acknowledged[message_id]
        was_cut = any(begin <= now and end >= since - CUT_SECONDS for begin, end in self._cuts)
        if recipient in self._hosted and was_cut:
            self.tally.moved += 1
        else:
            after = now - since
            self.violations.append(f"{recipient} was handed {message_id} out {after:.2f} s after its acknowledgement")

    @property
    def missing(self) -> list[str]:
        """What was accepted and not read yet."""
        return [message_id for message_id in self.accepted if message_id not in self._read]
