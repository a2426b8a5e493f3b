"""Faults: what fails, when, and where. Each fault is a plain value, so that a run can be stored, replayed and shrunk.

::

    the network     Partition  OneWay  Blocked  Rejected  Lossy  Bursts  Duplicated  Reordered  Delayed  Oversized
                    Corrupted  Hidden  Crowded  Narrow  Severed
    a process       Crash  Leave  Twin  Pause  Slow  Stalls  SmallBuffer
    a machine       Sleep  Moved  DeadAddress
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
    Crowded,
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
from meshp2p.virtual.faults.processes import (
    Crash,
    DeadAddress,
    Leave,
    Moved,
    Pause,
    Sleep,
    Slow,
    SmallBuffer,
    Stalls,
    Twin,
)
from meshp2p.virtual.faults.security import Impostor, Liar, ShutOut

__all__ = [
    "ALL_KINDS",
    "Blocked",
    "Bursts",
    "ClockRate",
    "ClockStep",
    "Corrupted",
    "Crash",
    "Crowded",
    "CuttingFault",
    "DeadAddress",
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
    "SmallBuffer",
    "Stalls",
    "Twin",
]

CuttingFault = Partition | OneWay | Blocked | Rejected
_OftenImpairing = Lossy | Bursts | Duplicated | Reordered | Delayed | Oversized | Corrupted
ImpairingFault = _OftenImpairing | Narrow
_OftenAtHost = Crash | Leave | Pause | Sleep | Slow | Stalls | ClockStep | ClockRate | Moved
HostFault = _OftenAtHost | SmallBuffer
DiskFault = DiskForgets | DiskFull | DiskFails | DiskSlow | DiskTorn
SecurityFault = ShutOut | Liar | Impostor
EndingFault = Crash | Leave | ShutOut
"""Faults that last beyond the schedule's ``duration`` if they have no end."""

OpenFault = CuttingFault | Hidden | _OftenImpairing | Crash | Leave | Twin | _OftenAtHost | DiskFault | Forged
"""Faults of every mesh. A swarm draws its kinds by their order here, and adds the rarer ones separately."""

Fault = OpenFault | SecurityFault | Narrow | Severed | Crowded | SmallBuffer | DeadAddress
