"""Meshes of keys and certificates, made for tests."""

from __future__ import annotations

from meshp2p.trust.certificates import (
    AgentRole,
    Certificate,
    consent_to,
    issue_agent,
    issue_machine,
    issue_root,
    root_mesh_id,
)
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.revocations import Revocation, SignedRevocation
from meshp2p.trust.statements import Statements
from meshp2p.trust.trust_map import TrustMap

__all__ = ["MadeMachine", "MadeMesh", "invite_credential"]


def invite_credential(
    inviter: MachineCredential,
    label: str = "other",
    *,
    ids: str = "*",
    may_invite: bool = False,
    is_admin: bool = False,
) -> MachineCredential:
    """Another machine, which the inviter's trust map has. It knows only its own chain."""
    key = PrivateKey.generate()
    consent = consent_to(key, inviter.mesh_id, inviter.key.fingerprint)
    chain = inviter.invite(key.public, consent, label, ids=ids, may_invite=may_invite, is_admin=is_admin)
    return MachineCredential(inviter.root, key, chain)


class MadeMachine:
    """A machine with its key. Its certificate is not in any map yet."""

    def __init__(self, mesh: MadeMesh, key: PrivateKey, certificate: Certificate) -> None:
        self.mesh = mesh
        self.key = key
        self.certificate = certificate

    @property
    def fingerprint(self) -> bytes:
        return self.key.fingerprint

    def invite(
        self, label: str = "machine", *, ids: str = "*", may_invite: bool = True, is_admin: bool = False
    ) -> MadeMachine:
        return self.mesh.issue(self.key, label, ids=ids, may_invite=may_invite, is_admin=is_admin)

    def start_agent(self, instance_id: str = "agent", boot: int = 1) -> Certificate:
        key = PrivateKey.generate()
        return issue_agent(key.public, instance_id, boot, mesh_id=self.mesh.id, machine=self.key)

    def revoke(self, target: MadeMachine, *, agent: str = "", kept: tuple[MadeMachine, ...] = ()) -> SignedRevocation:
        return self.mesh.revoke(target, agent=agent, kept=kept, author=self.key)


class MadeMesh:
    """A root, and what it issues."""

    def __init__(self, name: str = "studio") -> None:
        self.key = PrivateKey.generate()
        self.root = issue_root(self.key, name)
        self.id = root_mesh_id(self.root)

    def invite(
        self, label: str = "machine", *, ids: str = "*", may_invite: bool = True, is_admin: bool = False
    ) -> MadeMachine:
        return self.issue(self.key, label, ids=ids, may_invite=may_invite, is_admin=is_admin)

    def issue(self, issuer: PrivateKey, label: str, *, ids: str, may_invite: bool, is_admin: bool) -> MadeMachine:
        key = PrivateKey.generate()
        certificate = issue_machine(
            key.public,
            consent_to(key, self.id, issuer.fingerprint),
            label,
            mesh_id=self.id,
            issuer=issuer,
            ids=ids,
            may_invite=may_invite,
            is_admin=is_admin,
        )
        return MadeMachine(self, key, certificate)

    def revoke(
        self,
        target: MadeMachine,
        *,
        agent: str = "",
        kept: tuple[MadeMachine, ...] = (),
        author: PrivateKey | None = None,
    ) -> SignedRevocation:
        author = author or self.key
        revocation = Revocation(
            self.id, target.fingerprint, author.fingerprint, agent, tuple(one.fingerprint for one in kept)
        )
        return SignedRevocation.sign(revocation, author)

    def map_of(self, *machines: MadeMachine, revocations: tuple[SignedRevocation, ...] = ()) -> TrustMap:
        """A map with these statements, all of which it must take."""
        trust = TrustMap(self.root)
        refusal = trust.merge_untrusted(Statements(tuple(one.certificate.der for one in machines), revocations))
        assert refusal is None, refusal
        return trust


def agent_role(mesh: MadeMesh, instance_id: str = "agent", boot: int = 1) -> AgentRole:
    return AgentRole(mesh.id, instance_id, boot)
