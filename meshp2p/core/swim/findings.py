"""What one part of the membership machine found that another has to look at.

The parts append findings, and :class:`~meshp2p.core.swim.machine.Swim` hands each to the part that it concerns, after
the input during which it was found.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshp2p.core.record import Rumour

__all__ = ["CheckAnswered", "Doubted", "Finding", "Findings", "ProbeAnswered", "Suspected", "ViewHeard"]


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    """The node that was probed in this period answered."""

    node_id: str


@dataclass(frozen=True, slots=True)
class ViewHeard:
    """A node said by TCP what the hash of its view is."""

    node_id: str
    view: int


@dataclass(frozen=True, slots=True)
class Suspected:
    """A suspicion is new, or another node was refused by the suspect."""

    rumour: Rumour


@dataclass(frozen=True, slots=True)
class Doubted:
    """A listed node is held dead in another view."""

    node_id: str


@dataclass(frozen=True, slots=True)
class CheckAnswered:
    """A node answered a check."""

    node_id: str


Finding = ProbeAnswered | ViewHeard | Suspected | Doubted | CheckAnswered

Findings = list[Finding]
"""What was found and not yet looked at, in its order."""
