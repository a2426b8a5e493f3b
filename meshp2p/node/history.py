"""What a node remembers of its recent past for the status: who died, who led, and what went wrong."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Final, NamedTuple

import trio

from meshp2p.core.events import (
    Event,
    Evidence,
    InstanceDied,
    InstanceJoined,
    InstanceLeft,
    LeadershipChanged,
)
from meshp2p.core.record import Record, SignedRecord
from meshp2p.node.events import NetworkProblemFound
from meshp2p.wire.status_contract import LeaderTerm

__all__ = ["REMEMBERED_SECONDS", "Death", "History", "Removal"]

REMEMBERED_SECONDS: Final = 900.0
"""For how long a death or a revocation is a finding. Chosen, not measured."""

_KEPT_MAX: Final = 256
_TERMS_MAX: Final = 64


class Death(NamedTuple):
    """A member that was declared dead at ``at``, by trio's clock. ``by`` is empty if that is not known."""

    record: Record
    at: float
    by: str
    evidence: Evidence


class Removal(NamedTuple):
    """A member that was removed at ``at``, because its machine or itself was revoked: ``why``."""

    at: float
    why: str


class History:
    """A reader of the node's events, in bounded memory. ``why_revoked`` says why a machine, or the agent on it, was
    revoked, and is empty if it was not. ``show_time`` writes the present as RFC 3339."""

    def __init__(self, why_revoked: Callable[[bytes, str], str], show_time: Callable[[], str]) -> None:
        self._why_revoked = why_revoked
        self._show_time = show_time
        self.deaths: dict[str, Death] = {}
        """By id, until it is listed again."""
        self.revoked: dict[str, Removal] = {}
        """By id, until it is listed again."""
        self.leaders: collections.deque[LeaderTerm] = collections.deque(maxlen=_TERMS_MAX)
        self.problems: dict[str, tuple[float, NetworkProblemFound]] = {}
        """When each problem was found, by trio's clock."""

    def put(self, event: Event | NetworkProblemFound) -> bool:
        """Note an event."""
        now = trio.current_time()
        match event:
            case InstanceDied():
                self.deaths[event.id] = Death(event.record, now, event.by, event.evidence)
            case InstanceLeft():
                self.deaths.pop(event.id, None)
                record = event.record
                why = self._why_revoked(record.proof.owner, event.id) if isinstance(record, SignedRecord) else ""
                if why:
                    self.revoked[event.id] = Removal(now, why)
            case InstanceJoined():
                self.deaths.pop(event.id, None)
                self.revoked.pop(event.id, None)
            case LeadershipChanged():
                self.leaders.append(LeaderTerm(self._show_time(), event.leader_id, event.epoch))
            case NetworkProblemFound():
                self.problems[event.problem] = (now, event)
            case _:
                pass
        for kept in (self.deaths, self.revoked):
            if len(kept) > _KEPT_MAX:
                del kept[next(iter(kept))]
        return False

    def end(self) -> None:
        """Mark the end: no change follows."""

    def forget_old(self) -> None:
        """Forget deaths and revocations of more than ``REMEMBERED_SECONDS`` ago."""
        oldest = trio.current_time() - REMEMBERED_SECONDS
        self.deaths = {name: death for name, death in self.deaths.items() if death.at >= oldest}
        self.revoked = {name: one for name, one in self.revoked.items() if one.at >= oldest}
        self.problems = {name: one for name, one in self.problems.items() if one[0] >= oldest}
