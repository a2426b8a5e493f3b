"""The credential of one user on one machine for one mesh: a key, its certificates, and the trust map."""

from __future__ import annotations

from collections.abc import Sequence

from meshp2p.errors import LocalProtocolError, Refusal, RemoteProtocolError
from meshp2p.trust.certificates import (
    Certificate,
    announced_name,
    consent_to,
    issue_agent,
    issue_machine,
    issue_root,
    mesh_name,
    root_mesh_id,
)
from meshp2p.trust.keys import PrivateKey, PublicKey
from meshp2p.trust.machines import MeshMachine
from meshp2p.trust.statements import Statements
from meshp2p.trust.trust_map import TrustMap

__all__ = ["MachineCredential", "found_mesh"]


class MachineCredential:
    """A machine of a mesh. ``key`` belongs to the first certificate of ``chain``, each of which is issued by the next,
    the last by ``root``."""

    def __init__(self, root: Certificate, key: PrivateKey, chain: Sequence[Certificate]) -> None:
        """Check that these belong together. Raises :class:`RemoteProtocolError` if they do not."""
        self.trust: TrustMap = TrustMap(root)
        refusal = self.trust.merge_untrusted(Statements(tuple(one.der for one in chain)))
        if refusal is not None:
            raise refusal
        machine = self.trust.machines.get(key.fingerprint)
        if machine is None:
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"no certificate is for the key {key.fingerprint.hex()}")
        self._first_machine = machine
        self.key: PrivateKey = key
        self.root: Certificate = root

    def __repr__(self) -> str:
        return f"<MachineCredential {self.machine.label!r} of mesh {self.name!r}>"

    @property
    def mesh_id(self) -> bytes:
        return self.trust.mesh_id

    @property
    def name(self) -> str:
        """The name of the mesh."""
        return mesh_name(self.root)

    @property
    def announced_name(self) -> str:
        """See :func:`~meshp2p.trust.certificates.announced_name`."""
        return announced_name(self.root)

    @property
    def machine(self) -> MeshMachine:
        """This machine, as the trust map lists it, or as it was if the map forgot it after a revocation."""
        return self.trust.machines.get(self.key.fingerprint, self._first_machine)

    @property
    def is_trusted(self) -> bool:
        """Whether no revocation of this machine is known here."""
        return self.trust.is_trusted(self.key.fingerprint)

    def issue_agent(self, public: PublicKey, instance_id: str, boot: int, names: Sequence[str] = ()) -> Certificate:
        """Return a certificate for one process of an agent here. Raises :class:`LocalProtocolError` if this machine may
        not use that id, or was revoked."""
        certificate = issue_agent(public, instance_id, boot, names, mesh_id=self.mesh_id, machine=self.key)
        try:
            self.trust.verify_agent(certificate)
        except RemoteProtocolError as error:
            raise LocalProtocolError(f"mesh {self.name!r}: {error}") from error
        return certificate

    def invite(
        self,
        public: PublicKey,
        consent: bytes,
        label: str,
        *,
        ids: str = "*",
        may_invite: bool = False,
        is_admin: bool = False,
    ) -> tuple[Certificate, ...]:
        """Make a newcomer a machine of the mesh, and note that in the trust map. Returns its chain.

        Raises :class:`LocalProtocolError` if this machine has no right to that, :class:`ConfigError` and
        :class:`RemoteProtocolError` as :func:`~meshp2p.trust.certificates.issue_machine` does.
        """
        if not self.is_trusted:
            raise LocalProtocolError(f"this machine was revoked from mesh {self.name!r}")
        certificate = issue_machine(
            public,
            consent,
            label,
            mesh_id=self.mesh_id,
            issuer=self.key,
            ids=ids,
            may_invite=may_invite,
            is_admin=is_admin,
        )
        refusal = self.trust.merge_untrusted(Statements((certificate.der,)))
        if refusal is not None:
            raise LocalProtocolError(f"mesh {self.name!r}: {refusal}") from refusal
        return (certificate, *self.machine.chain)


def found_mesh(name: str, label: str) -> tuple[PrivateKey, MachineCredential]:
    """Make a new mesh, and its first machine, which is an admin and may invite. Returns the root's key and the
    credential of that machine. Raises :class:`ConfigError` on a name or label that cannot be."""
    root_key, key = PrivateKey.generate(), PrivateKey.generate()
    root = issue_root(root_key, name)
    consent = consent_to(key, root_mesh_id(root), root.fingerprint)
    certificate = issue_machine(
        key.public, consent, label, mesh_id=root_mesh_id(root), issuer=root_key, may_invite=True, is_admin=True
    )
    return root_key, MachineCredential(root, key, (certificate,))
