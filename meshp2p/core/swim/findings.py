"""Findings: what one part of the membership machine found that another must process.

The parts append findings, and :class:`~meshp2p.core.swim.machine.Swim` passes each to the part it concerns, after the
input during which it was found.
"""

from __future__ import annotations

import msgspec

from meshp2p.core.record import Rumour

__all__ = ["CheckAnswered", "Doubted", "Finding", "Findings", "ProbeAnswered", "Suspected", "ViewHeard"]


class ProbeAnswered(msgspec.Struct, frozen=True):
    """The node probed in this period answered."""

    node_id: str


class ViewHeard(msgspec.Struct, frozen=True):
    """A node reported the hash of its view by TCP."""

    node_id: str
    view: int


class Suspected(msgspec.Struct, frozen=True):
    """A suspicion is new, or the suspect refused another node."""

    rumour: Rumour


class Doubted(msgspec.Struct, frozen=True):
    """Another view holds a listed node dead."""

    node_id: str


class CheckAnswered(msgspec.Struct, frozen=True):
    """A node answered a check."""

    node_id: str


Finding = ProbeAnswered | ViewHeard | Suspected | Doubted | CheckAnswered

Findings = list[Finding]
"""The findings not processed yet, in order."""
