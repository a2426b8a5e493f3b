"""Nodes of a secured mesh, without disks."""

from __future__ import annotations

import trio

from meshp2p.net.tls import NodeTls
from meshp2p.trust.certificates import consent_to
from meshp2p.trust.credential import MachineCredential, found_mesh
from meshp2p.trust.keys import PrivateKey

__all__ = ["Computer", "invited", "new_mesh"]


class Computer:
    """A machine of a mesh. What its nodes learn is in ``credential``."""

    def __init__(self, credential: MachineCredential) -> None:
        self.credential = credential
        self.kept = 0
        """How often the trust map was to be kept."""

    def start(self, instance_id: str = "agent", boot: int = 1) -> NodeTls:
        """The TLS of a new process of this instance."""
        key = PrivateKey.generate()
        certificate = self.credential.issue_agent(key.public, instance_id, boot, ["localhost"])
        return NodeTls(self.credential, key, certificate, refresh=lambda: None, keep=self._keep)

    async def _keep(self) -> None:
        await trio.lowlevel.checkpoint()
        self.kept += 1


def new_mesh(name: str = "studio") -> tuple[PrivateKey, Computer]:
    """The root's key and the first machine."""
    root_key, credential = found_mesh(name, "first")
    return root_key, Computer(credential)


def invited(inviter: Computer, label: str = "other", *, ids: str = "*", may_invite: bool = False) -> Computer:
    """Another machine. It knows what its inviter does not keep from it: its own chain."""
    key = PrivateKey.generate()
    credential = inviter.credential
    consent = consent_to(key, credential.mesh_id, credential.key.fingerprint)
    chain = credential.invite(key.public, consent, label, ids=ids, may_invite=may_invite)
    return Computer(MachineCredential(credential.root, key, chain))
