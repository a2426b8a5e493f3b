"""The machines of a secured mesh, as its certificates describe them."""

from __future__ import annotations

import msgspec

from meshp2p.trust.certificates import Certificate, MachineRole
from meshp2p.trust.grants import matches
from meshp2p.trust.keys import PublicKey

__all__ = ["MeshMachine"]


class MeshMachine(msgspec.Struct, frozen=True):
    """A machine, as the statements describe it. ``chain`` are its certificate and those above it, without the
    root's."""

    key: PublicKey
    label: str
    chain: tuple[Certificate, ...]
    may_invite: bool
    is_admin: bool

    @property
    def inviter(self) -> bytes:
        """The fingerprint of the key that issued its certificate."""
        return self.chain[0].issuer

    @property
    def branch(self) -> bytes:
        """The fingerprint of the highest machine of the chain that is no admin; its own if all are admins."""
        members = [one for one in self.chain if isinstance(one.role, MachineRole) and not one.role.is_admin]
        return members[-1].fingerprint if members else self.key.fingerprint

    @property
    def id_patterns(self) -> list[str]:
        """The patterns of the whole chain; an id must be covered by each."""
        return [one.role.ids for one in self.chain if isinstance(one.role, MachineRole)]

    def may_use(self, instance_id: str) -> bool:
        """Whether the patterns of the whole chain cover this id."""
        return all(matches(pattern, instance_id) for pattern in self.id_patterns)
