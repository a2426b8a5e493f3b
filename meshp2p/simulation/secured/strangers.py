"""The identities that impostors show: former ones, and forged ones."""

from __future__ import annotations

import random
from collections.abc import Sequence

from meshp2p.simulation.secured.machines import Genuine, MachineOnDisk, found_mesh_of
from meshp2p.simulation.secured.nominal import NominalCertificate, make_key
from meshp2p.trust.certificates import AgentRole, MachineRole, consent_to
from meshp2p.trust.keys import mesh_id_of

__all__ = ["Identity", "forged_identity", "old_identity"]

Identity = tuple[tuple[bytes, ...], bytes]
"""The certificates of a machine and of those above it, and that of a process on it."""


def old_identity(machines: Sequence[MachineOnDisk], draw: random.Random) -> Identity | None:
    """Return the identity of a process that has a successor, or None if there is none yet."""
    restarted = [machine for machine in machines if len(machine.processes) > 1]
    if not restarted:
        return None
    machine = draw.choice(restarted)
    leaf = draw.choice(machine.processes[:-1])
    return tuple(one.der for one in machine.chain), leaf.der


def forged_identity(machines: Sequence[MachineOnDisk], draw: random.Random) -> Identity:
    """Return an identity of a machine of another mesh, of a machine that no member has invited, or of a process that
    its machine has not started."""
    key = make_key("stranger")
    member = draw.choice(machines)
    mesh_id = mesh_id_of(member.root.public)
    role = AgentRole(mesh_id, draw.choice((member.name, "stranger")), 1 << 40)
    match draw.randrange(0, 3):
        case 0:
            other = found_mesh_of("stranger", Genuine())
            chain = other.chain
        case 1:
            rights = MachineRole(mesh_id, "stranger", consent_to(key, mesh_id, member.key.fingerprint), is_admin=True)
            invited = NominalCertificate.issue(key.public, key, rights)
            chain = (NominalCertificate.renamed(invited, member.key.fingerprint), *member.chain)
        case _:
            leaf = NominalCertificate.issue(key.public, key, role)
            return tuple(one.der for one in member.chain), NominalCertificate.renamed(leaf, member.key.fingerprint).der
    return tuple(one.der for one in chain), NominalCertificate.issue(make_key("process").public, key, role).der
