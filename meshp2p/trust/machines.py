"""The machines of a secured mesh, as its certificates describe them."""

from __future__ import annotations

from typing import Final

import msgspec

from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.trust.certificates import Certificate, MachineRole
from meshp2p.trust.grants import matches
from meshp2p.trust.keys import PublicKey

__all__ = ["CHAIN_MAX", "MeshMachine"]

CHAIN_MAX: Final = 8
"""Machines between the root and an agent. Chosen, not measured."""


class MeshMachine(msgspec.Struct, frozen=True):
    """A machine, as the statements describe it. ``chain`` are its certificate and those above it, without the
    root's."""

    key: PublicKey
    label: str
    chain: tuple[Certificate, ...]
    may_invite: bool
    is_admin: bool

    @classmethod
    def below(cls, above: MeshMachine | None, certificate: Certificate, role: MachineRole) -> MeshMachine:
        """Return the machine with this certificate and role, whose inviter is ``above``, or the root if that is
        None."""
        chain = (certificate, *(() if above is None else above.chain))
        return cls(certificate.public, role.label, chain, role.may_invite, role.is_admin)

    @property
    def inviter(self) -> bytes:
        """The fingerprint of the key that issued its certificate."""
        return self.chain[0].issuer

    @property
    def branch(self) -> bytes:
        """The fingerprint of the highest machine of the chain that is no admin; its own if all are admins."""
        members = [one for one in self.chain if isinstance(one.role, MachineRole) and not one.role.is_admin]
        return members[-1].fingerprint if members else self.key.fingerprint

    def check_may_issue(self, certificate: Certificate, role: MachineRole) -> None:
        """Check that this machine may invite another one with that role. Raises :class:`RemoteProtocolError`."""
        if not self.may_invite or (role.is_admin and not self.is_admin):
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"{certificate!r}: its issuer had no right to issue it")
        if len(self.chain) >= CHAIN_MAX:
            raise RemoteProtocolError(Refusal.TOO_LARGE, f"{certificate!r}: a chain of more than {CHAIN_MAX}")

    @property
    def id_patterns(self) -> list[str]:
        """The patterns of the whole chain; an id must be covered by each."""
        return [one.role.ids for one in self.chain if isinstance(one.role, MachineRole)]

    def may_use(self, instance_id: str) -> bool:
        """Whether the patterns of the whole chain cover this id."""
        return all(matches(pattern, instance_id) for pattern in self.id_patterns)

    def check_may_use(self, instance_id: str) -> None:
        """Raise :class:`RemoteProtocolError` if the machine may not use this id."""
        if not self.may_use(instance_id):
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"machine {self.label!r} may not use the id {instance_id!r}")
