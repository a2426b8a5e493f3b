"""Nodes of a secured mesh, without disks."""

from __future__ import annotations

import trio

from meshp2p.core.record import BOOT_DICE_BITS, Proof, Record, SignedRecord, State
from meshp2p.net.mesh_trust import MeshTrust
from meshp2p.net.tls import NodeTls
from meshp2p.trust.certificates import AgentRole, Certificate
from meshp2p.trust.credential import MachineCredential, found_mesh
from meshp2p.trust.keys import PrivateKey
from tests.trust.builders import invite_credential

__all__ = ["Computer", "invited", "new_mesh", "record_of"]


class Computer:
    """A machine of a mesh. What its nodes learn is in ``credential``."""

    def __init__(self, credential: MachineCredential) -> None:
        self.credential = credential
        self.kept = 0
        """How often the trust map was to be kept."""
        self.boots: dict[tuple[bytes, str], int] = {}

    def start(self, instance_id: str = "agent", boot: int = 1) -> NodeTls:
        """The TLS of a new process of this instance."""
        key = PrivateKey.generate()
        certificate = self.credential.issue_agent(key.public, instance_id, boot, ["localhost"])
        return self.tls(key, certificate)

    def tls(self, key: PrivateKey, certificate: Certificate) -> NodeTls:
        """The TLS of a process with this certificate."""
        role = certificate.role
        assert isinstance(role, AgentRole)
        return NodeTls(MeshTrust(self.credential, role.id, self.boots, self), key, certificate)

    def refresh(self) -> None:
        """Nothing is on disk."""

    async def keep(self) -> None:
        await trio.lowlevel.checkpoint()
        self.kept += 1

    async def keep_agents(self, boots: dict[tuple[bytes, str], int], /) -> None:
        await trio.lowlevel.checkpoint()
        self.boots.update(boots)


def record_of(computer: Computer, instance_id: str, process: int, incarnation: int = 1) -> SignedRecord:
    """The record of a process of this node. Its signature is left out."""
    boot = process << BOOT_DICE_BITS
    record = Record(instance_id, incarnation, State.ALIVE, instance_id, boot, (), "h", 1, (), (), 0)
    fields = {name: getattr(record, name) for name in Record.__struct_fields__}
    return SignedRecord(**fields, proof=Proof(computer.credential.key.fingerprint, b""))


def new_mesh(name: str = "studio") -> tuple[PrivateKey, Computer]:
    """The root's key and the first machine."""
    root_key, credential = found_mesh(name, "first")
    return root_key, Computer(credential)


def invited(inviter: Computer, label: str = "other", *, ids: str = "*", may_invite: bool = False) -> Computer:
    """Another machine. It knows only its own chain."""
    return Computer(invite_credential(inviter.credential, label, ids=ids, may_invite=may_invite))
