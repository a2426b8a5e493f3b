"""Faults: what fails, when, and where. Each fault is a plain value, so that a run can be stored, replayed and shrunk.

::

    the network     Partition  OneWay  Blocked  Rejected  Lossy  Bursts  Duplicated  Reordered  Delayed  Oversized
                    Corrupted  Hidden  Narrow  Severed
    a process       Crash  Leave  Twin  Pause  Slow  Stalls
    a machine       Sleep  Moved
    a clock         ClockStep  ClockRate
    a disk          DiskForgets  DiskFull  DiskFails  DiskSlow  DiskTorn
    an attacker     Forged
    a secured mesh  ShutOut  Liar  Impostor

``begin`` and ``end`` are virtual seconds. Without an ``end``, a fault lasts until the network heals at the end of the
schedule's ``duration`` (a crashed node stays down). Nodes are named by their ids; without names, all nodes are
affected.
"""

from __future__ import annotations

from meshp2p.virtual.faults.base import ALL_KINDS, Faulty, Kind
from meshp2p.virtual.faults.clocks import ClockRate, ClockStep
from meshp2p.virtual.faults.disks import DiskFails, DiskForgets, DiskFull, DiskSlow, DiskTorn
from meshp2p.virtual.faults.network import (
    Blocked,
    Bursts,
    Corrupted,
    Delayed,
    Duplicated,
    Forged,
    Forgery,
    Hidden,
    Lossy,
    Narrow,
    OneWay,
    Oversized,
    Partition,
    Rejected,
    Reordered,
    Severed,
)
from meshp2p.virtual.faults.processes import Crash, Leave, Moved, Pause, Sleep, Slow, Stalls, Twin
from meshp2p.virtual.faults.security import Impostor, Liar, ShutOut

__all__ = [
    "ALL_KINDS",
    "Blocked",
    "Bursts",
    "ClockRate",
    "ClockStep",
    "Corrupted",
    "Crash",
    "CuttingFault",
    "Delayed",
    "DiskFails",
    "DiskFault",
    "DiskForgets",
    "DiskFull",
    "DiskSlow",
    "DiskTorn",
    "Duplicated",
    "EndingFault",
    "Fault",
    "Faulty",
    "Forged",
    "Forgery",
    "Hidden",
    "HostFault",
    "ImpairingFault",
    "Impostor",
    "Kind",
    "Leave",
    "Liar",
    "Lossy",
    "Moved",
    "Narrow",
    "OneWay",
    "OpenFault",
    "Oversized",
    "Partition",
    "Pause",
    "Rejected",
    "Reordered",
    "SecurityFault",
    "Severed",
    "ShutOut",
    "Sleep",
    "Slow",
    "Stalls",
    "Twin",
]

CuttingFault = Partition | OneWay | Blocked | Rejected
_OftenImpairing = Lossy | Bursts | Duplicated | Reordered | Delayed | Oversized | Corrupted
ImpairingFault = _OftenImpairing | Narrow
HostFault = Crash | Leave | Pause | Sleep | Slow | Stalls | ClockStep | ClockRate | Moved
DiskFault = DiskForgets | DiskFull | DiskFails | DiskSlow | DiskTorn
SecurityFault = ShutOut | Liar | Impostor
EndingFault = Crash | Leave | ShutOut
"""Faults that last beyond the schedule's ``duration`` if they have no end."""

OpenFault = CuttingFault | Hidden | _OftenImpairing | Crash | Leave | Twin | HostFault | DiskFault | Forged
"""Faults of every mesh. A swarm draws its kinds by their order here, and adds ``Narrow`` and ``Severed`` separately."""

Fault = OpenFault | SecurityFault | Narrow | Severed
