"""The machines of a simulated secured mesh: what each keeps on disk, and the security of one process on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from meshp2p.core.record import Item, Record, Rumour, SignedRecord, SignedRumour
from meshp2p.errors import Refusal, check
from meshp2p.guard.guarded_machine import GuardedMachine
from meshp2p.guard.node_guard import NodeGuard
from meshp2p.simulation.secured.nominal import NominalCertificate, NominalSecret, make_key
from meshp2p.trust.certificates import AgentRole, Certificate, MachineRole, RootRole, announced_name, consent_to
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.datagram_keys import DatagramKeys
from meshp2p.trust.keys import PrivateKey, mesh_id_of
from meshp2p.trust.known_agents import KnownAgents
from meshp2p.trust.signatures import ClaimSigner
from meshp2p.trust.statements import Statements
from meshp2p.trust.trust_map import TrustMap
from meshp2p.wire.codec import Codec

__all__ = ["Genuine", "MachineOnDisk", "NodeSecurity", "found_mesh_of"]


class Genuine:
    """All claims that nodes really made, by their author's id, all machines that were really invited, and the machine,
    id and boot of all processes. An attacker's forgeries are not among them."""

    def __init__(self) -> None:
        self.claims: dict[Item, str] = {}
        self.machines: dict[bytes, str] = {}
        self.processes: set[tuple[bytes, str, int]] = set()


class MachineOnDisk:
    """A machine of the mesh, whose nodes come and go. ``processes`` are the certificates of all processes that it
    started."""

    def __init__(self, name: str, root: Certificate, chain: tuple[Certificate, ...], genuine: Genuine) -> None:
        self.name: str = name
        self.key: PrivateKey = make_key(name)
        self.root: Certificate = root
        self.chain: tuple[Certificate, ...] = chain
        self.genuine: Genuine = genuine
        self.statements: Statements = Statements(tuple(one.der for one in chain))
        self.boots: dict[tuple[bytes, str], int] = {}
        self.processes: list[Certificate] = []
        genuine.machines[self.key.fingerprint] = name

    def load(self) -> MachineCredential:
        """Read the credential and the trust map."""
        credential = MachineCredential(self.root, self.key, self.chain)
        refusal = credential.trust.merge_untrusted(self.statements)
        check(refusal is None, f"a trust map on disk is valid: {refusal}")
        return credential

    def keep(self, statements: Statements) -> None:
        """Add these statements to the trust map on disk."""
        known, news = self.statements, statements.without(self.statements)
        self.statements = Statements(known.machines + news.machines, known.revocations + news.revocations)

    def invite(self, name: str) -> MachineOnDisk:
        """Make another machine a member. It gets the trust map of this one."""
        return _add_machine(name, self.key, self.root, self.chain, self.genuine, (self,))

    def revoke(self, other: MachineOnDisk) -> TrustMap:
        """Revoke another machine, with what it invited. Return the trust map after that."""
        credential = self.load()
        credential.trust.revoke(self.key, other.key.fingerprint)
        self.keep(credential.trust.statements())
        return credential.trust

    def start_process(self, node_id: str, draw: random.Random) -> NodeSecurity:
        """Return the security of a new process. ``draw`` makes its keys for datagrams."""
        return NodeSecurity(self, node_id, draw)

    def issue_agent(self, node_id: str) -> Certificate:
        """Return the certificate of a new process."""
        role = AgentRole(mesh_id_of(self.root.public), node_id, len(self.processes) + 1)
        self.processes.append(NominalCertificate.issue(make_key(f"{self.name}/{role.boot}").public, self.key, role))
        self.genuine.processes.add((self.key.fingerprint, role.id, role.boot))
        return self.processes[-1]


def found_mesh_of(name: str, genuine: Genuine) -> MachineOnDisk:
    """Found a mesh and return its first machine, an admin. Nothing has the key of the root afterwards."""
    root_key = make_key(f"root of {name}")
    root = NominalCertificate.issue(root_key.public, root_key, RootRole("simulation"))
    return _add_machine(name, root_key, root, (), genuine, ())


def _add_machine(
    name: str,
    issuer: PrivateKey,
    root: Certificate,
    chain: tuple[Certificate, ...],
    genuine: Genuine,
    inviters: tuple[MachineOnDisk, ...],
) -> MachineOnDisk:
    key = make_key(name)
    mesh_id = mesh_id_of(root.public)
    consent = consent_to(key, mesh_id, issuer.fingerprint)
    role = MachineRole(mesh_id, name, consent, may_invite=True, is_admin=not chain)
    certificate = NominalCertificate.issue(key.public, issuer, role)
    machine = MachineOnDisk(name, root, (certificate, *chain), genuine)
    for inviter in inviters:
        inviter.keep(machine.statements)
        machine.keep(inviter.statements)
    return machine


class RecordingSigner(ClaimSigner):
    """Notes what a node publishes."""

    genuine: Genuine
    author: str

    def sign_record(self, record: Record) -> SignedRecord:
        """See :class:`~meshp2p.core.directory.state.Signer`."""
        signed = super().sign_record(record)
        self.genuine.claims[signed] = self.author
        return signed

    def sign_rumour(self, rumour: Rumour) -> SignedRumour:
        """See :class:`~meshp2p.core.directory.state.Signer`."""
        signed = super().sign_rumour(rumour)
        self.genuine.claims[signed] = self.author
        return signed


class NodeSecurity:
    """The security of one process. ``draw`` makes its keys for datagrams. :meth:`attach` comes first."""

    def __init__(self, machine: MachineOnDisk, node_id: str, draw: random.Random) -> None:
        self.machine: MachineOnDisk = machine
        self.node_id: str = node_id
        self.credential: MachineCredential = machine.load()
        self.certificate: Certificate = machine.issue_agent(node_id)
        self.process: int = len(machine.processes)
        """The number of the process in its certificate."""
        self.agents: KnownAgents = KnownAgents(machine.boots)
        self.agents.new = machine.boots  # on disk at once
        self.keys: DatagramKeys = DatagramKeys(partial(NominalSecret, draw))
        self.codec: Codec = Codec(announced_name(self.credential.root))
        self.spread: Statements = self.credential.trust.statements()
        self.spread_digest: bytes = self.credential.trust.digest()
        may_use = self.credential.machine.may_use
        self.signer: RecordingSigner = RecordingSigner(
            machine.key, self.credential.mesh_id, self.keys.public_keys, may_use
        )
        self.signer.genuine, self.signer.author = machine.genuine, node_id
        self.guard: NodeGuard
        self.refused: dict[Refusal, int] = {}
        """Claims that were left out, by reason."""

    @property
    def fingerprint(self) -> bytes:
        """The fingerprint of the machine's key."""
        return self.machine.key.fingerprint

    @property
    def is_revoked(self) -> bool:
        """Whether this node knows that it was revoked."""
        return not self.credential.trust.is_trusted(self.fingerprint, agent=self.node_id)

    def attach(self, machine: GuardedMachine, note_stranger: Callable[[Record], None]) -> None:
        """Guard this machine."""
        trust = self.credential.trust
        self.guard = NodeGuard(trust, self.agents, self.keys, self.codec, machine, note_stranger, self._count_refused)

    def _count_refused(self, reason: Refusal) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def take_news(self) -> tuple[bytes, Statements] | None:
        """Return what the trust map has that was not spread yet, and the digest before; None if it has not grown. It is
        on disk then."""
        trust, before = self.credential.trust, self.spread_digest
        if trust.digest() == before:
            return None
        statements = trust.statements()
        news = statements.without(self.spread)
        self.spread, self.spread_digest = statements, trust.digest()
        self.machine.keep(statements)
        return before, news

    def hide_revocations(self) -> None:
        """Let the trust map take in no more revocations, and so pass on none."""
        trust = self.credential.trust
        merge = trust.merge_untrusted
        trust.merge_untrusted = lambda statements: merge(Statements(statements.machines))  # type: ignore[method-assign]

    def refresh(self) -> None:
        """Take in what others wrote to the disk."""
        self.credential.trust.merge_untrusted(self.machine.statements)
