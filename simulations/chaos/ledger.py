"""What was accepted, read and acknowledged, and which of it breaks the guarantees of ``docs/messages.md``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from meshp2p.core.mail.uuid7 import node_bits_of
from meshp2p.core.record import tag_of
from simulations.chaos.contacts import Contacts

__all__ = ["Ledger", "Tally"]

SEEN_SECONDS: Final = 5.0
"""A node that is a recipient's home at a moment was seen to be it so long before at most. Chosen, not measured."""


class Tally(msgspec.Struct):
    """Counts of what happened."""

    accepted: int = 0
    refused: int = 0
    unanswered: int = 0
    read: int = 0
    acknowledged: int = 0
    acknowledgements_refused: int = 0
    acknowledgements_unanswered: int = 0
    moved: int = 0
    """Reads after an acknowledgement that the documentation allows: see :class:`Ledger`."""


class _Acknowledgement(msgspec.Struct, frozen=True):
    """When it was answered, the recipient's home according to the answering node (empty if unknown), and that node."""

    at: float
    home: str
    asked: str


class Ledger:
    """Hears of each answer. ``violations`` says what must not be; :meth:`missing` what is still to come.

    ``hosted`` are the agents that are no nodes. One of them may read again what it acknowledged in two cases:

    - Its home is another by then, and the acknowledgement cannot have come there: since it was answered, the home that
      took it or the present one was never well at the same time as the node that accepted the message.
    - Another node holds the message and cannot have been told: since then it was never well at the same time as the
      node that accepted the message. It was the home at some time and took over what it could not return, or was given
      it by the node that accepted it, which was told to end.
    """

    def __init__(self, nodes: Collection[str], hosted: Collection[str]) -> None:
        self.tally: Tally = Tally()
        self.violations: list[str] = []
        self.contacts: Contacts = Contacts()
        self.faults: list[tuple[float, str]] = []
        """When each fault began, or ended, and what it was."""
        self.accepted: dict[str, str] = {}
        """Recipients by message id."""
        self._accepted_at: dict[str, float] = {}
        self._home_at: dict[tuple[str, str], float] = {}
        """By recipient and node, when that was last seen to be its home."""
        self._read: set[str] = set()
        self._acknowledged: dict[str, list[_Acknowledgement]] = {}
        self._last_read: dict[tuple[str, str, int | None], str] = {}
        self._makers = {tag_of(node) >> 32: node for node in nodes}
        self._hosted = hosted

    def note_accepted(self, message_id: str, recipient: str, now: float = 0.0) -> None:
        self.accepted[message_id] = recipient
        self._accepted_at[message_id] = now
        self.tally.accepted += 1

    def note_home(self, recipient: str, home: str, now: float) -> None:
        """Some node lists this home."""
        self._home_at[recipient, home] = now

    def is_acknowledged(self, message_id: str) -> bool:
        return message_id in self._acknowledged

    def note_acknowledged(self, message_ids: Iterable[str], home: str, now: float, asked: str = "") -> None:
        """The acknowledgement was answered 204 by the node ``asked``, which lists ``home`` as the recipient's; empty if
        it is not known."""
        for message_id in message_ids:
            self.tally.acknowledged += message_id not in self._acknowledged
            self._acknowledged.setdefault(message_id, []).append(_Acknowledgement(now, home, asked))

    def note_read(
        self, recipient: str, messages: Iterable[tuple[str, str]], home: str, now: float, asked: str = ""
    ) -> None:
        """A read that was begun after all acknowledgements known here were answered gave these, as pairs of
        (source, message id), in this order, at the node ``asked``. ``home`` is the recipient's, which is asked for only
        if one of these is acknowledged."""
        for sender, message_id in messages:
            if message_id in self._acknowledged:
                self._note_read_again(recipient, message_id, home, now, asked)
            if message_id in self._read:
                continue
            self._read.add(message_id)
            self.tally.read += 1
            lane = (recipient, sender, node_bits_of(message_id))
            last = self._last_read.get(lane, "")
            if message_id < last:
                self.violations.append(f"{recipient} read {message_id} after {last} of the same source and node")
            self._last_read[lane] = max(last, message_id)

    def _note_read_again(self, recipient: str, message_id: str, home: str, now: float, asked: str) -> None:
        maker = self._makers.get(node_bits_of(message_id) or 0, "")
        taken = self._acknowledged[message_id]
        if recipient in self._hosted and all(
            self._is_lost(one, maker, home, now) or self._has_other_holder(one, recipient, message_id, maker, now)
            for one in taken
        ):
            self.tally.moved += 1
        else:
            homes = ", ".join(
                f"{now - one.at:.2f} s after {one.home or 'an unknown home'} (by {one.asked})" for one in taken
            )
            began = min(one.at for one in taken)
            faults = "; ".join(f"{at - began:+.1f} {what}" for at, what in self.faults if began - 20 <= at <= now)
            self.violations.append(
                f"{recipient} was handed {message_id} of {maker} out at {home or 'an unknown home'} (by {asked})"
                f" {homes} took its acknowledgement; faults, in seconds from then: {faults}"
            )

    def _is_lost(self, acknowledgement: _Acknowledgement, maker: str, home: str, now: float) -> bool:
        """Whether it may not have come to ``home``."""
        met, since = self.contacts.has_met, acknowledgement.at
        former = [acknowledgement.home] if acknowledgement.home else [*self._makers.values()]
        present = [home] if home else [*self._makers.values()]
        return any(
            one != other and not (met(one, maker, since, now) and met(other, maker, since, now))
            for one in former
            for other in present
        )

    def _has_other_holder(
        self, acknowledgement: _Acknowledgement, recipient: str, message_id: str, maker: str, now: float
    ) -> bool:
        """Whether a node may hold it beside the one that accepted it, and not have been told."""
        since = self._accepted_at.get(message_id, 0.0) - SEEN_SECONDS
        has_left = any(what == f"restart {maker}" and since <= at <= now for at, what in self.faults)
        return any(
            (has_left or self._home_at.get((recipient, other), since - 1) >= since)
            and not self.contacts.has_met(other, maker, acknowledgement.at, now)
            for other in self._makers.values()
            if other != maker
        )

    @property
    def missing(self) -> list[str]:
        """What was accepted and not read yet."""
        return [message_id for message_id in self.accepted if message_id not in self._read]
