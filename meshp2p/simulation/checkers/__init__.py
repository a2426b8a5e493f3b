"""The laws, each watched by one checker. They stand outside the code under test."""

from __future__ import annotations

from meshp2p.simulation.checkers.accusations import Accusations, Rivals
from meshp2p.simulation.checkers.base import Checker, Violation
from meshp2p.simulation.checkers.bounds import Bounds
from meshp2p.simulation.checkers.budgets import Budgets
from meshp2p.simulation.checkers.claims import Epochs, Incarnations
from meshp2p.simulation.checkers.comparing import Comparing
from meshp2p.simulation.checkers.convergence import Convergence
from meshp2p.simulation.checkers.crashes import CrashEvidence
from meshp2p.simulation.checkers.cuts import Cuts
from meshp2p.simulation.checkers.deaths import Detection, FalseDeaths
from meshp2p.simulation.checkers.dials import Detours, DialChecker, Watching
from meshp2p.simulation.checkers.grants import Grants
from meshp2p.simulation.checkers.health import SelfDoubt
from meshp2p.simulation.checkers.homes import AdoptionChecker, AgentNews, Homes
from meshp2p.simulation.checkers.ids import GivingWay, Returns
from meshp2p.simulation.checkers.kept import Kept
from meshp2p.simulation.checkers.leases import OneLeader
from meshp2p.simulation.checkers.mail_calls import MailCalls
from meshp2p.simulation.checkers.mail_flow import MailFlow
from meshp2p.simulation.checkers.mail_kept import MailKept
from meshp2p.simulation.checkers.mail_room import MailRoom, ReadingOn
from meshp2p.simulation.checkers.maps import SharedMaps
from meshp2p.simulation.checkers.messages import Messages
from meshp2p.simulation.checkers.pauses import PauseChecker
from meshp2p.simulation.checkers.probing import ProbeRing
from meshp2p.simulation.checkers.records import Ages, Heartbeats, Records
from meshp2p.simulation.checkers.registrations import Registrations
from meshp2p.simulation.checkers.settling import SettlingChecker
from meshp2p.simulation.checkers.sides import Sides
from meshp2p.simulation.checkers.suspicions import Suspicions
from meshp2p.simulation.checkers.tables import Tables

__all__ = ["CHECKERS", "Checker", "Convergence", "Violation"]

CHECKERS: dict[str, type[Checker]] = {
    checker.name: checker
    for checker in (
        Incarnations,
        Epochs,
        OneLeader,
        FalseDeaths,
        Detection,
        CrashEvidence,
        Convergence,
        Cuts,
        PauseChecker,
        ProbeRing,
        SelfDoubt,
        SettlingChecker,
        Suspicions,
        Registrations,
        Messages,
        SharedMaps,
        Bounds,
        Budgets,
        Kept,
        Grants,
        Sides,
        GivingWay,
        Returns,
        Homes,
        AdoptionChecker,
        AgentNews,
        MailFlow,
        MailKept,
        MailCalls,
        MailRoom,
        ReadingOn,
        Records,
        Ages,
        Accusations,
        Rivals,
        DialChecker,
        Detours,
        Watching,
        Comparing,
        Tables,
        Heartbeats,
    )
}
"""All checkers by name."""
