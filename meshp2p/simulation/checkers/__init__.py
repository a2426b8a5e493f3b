"""The laws, each watched by one checker. They stand outside the code under test."""

from __future__ import annotations

from meshp2p.simulation.checkers.base import Checker, Violation
from meshp2p.simulation.checkers.bounds import Bounds
from meshp2p.simulation.checkers.budgets import Budgets
from meshp2p.simulation.checkers.claims import Epochs, Incarnations
from meshp2p.simulation.checkers.crashes import CrashEvidence
from meshp2p.simulation.checkers.deaths import Detection, FalseDeaths
from meshp2p.simulation.checkers.health import SelfDoubt
from meshp2p.simulation.checkers.leases import OneLeader
from meshp2p.simulation.checkers.maps import SharedMaps
from meshp2p.simulation.checkers.messages import Messages
from meshp2p.simulation.checkers.pauses import PauseGuard
from meshp2p.simulation.checkers.probing import ProbeRing
from meshp2p.simulation.checkers.registrations import Registrations
from meshp2p.simulation.checkers.settling import Settling
from meshp2p.simulation.checkers.suspicions import Suspicions
from meshp2p.simulation.checkers.wholeness import Wholeness

__all__ = ["CHECKERS", "Checker", "Violation", "Wholeness"]

CHECKERS: dict[str, type[Checker]] = {
    checker.name: checker
    for checker in (
        Incarnations,
        Epochs,
        OneLeader,
        FalseDeaths,
        Detection,
        CrashEvidence,
        Wholeness,
        PauseGuard,
        ProbeRing,
        SelfDoubt,
        Settling,
        Suspicions,
        Registrations,
        Messages,
        SharedMaps,
        Bounds,
        Budgets,
    )
}
"""All checkers by name."""
