"""Trust maps of a small mesh."""

from __future__ import annotations

from collections.abc import Sequence

from meshp2p.errors import RemoteProtocolError
from meshp2p.trust.revocations import SignedRevocation
from meshp2p.trust.statements import Statements
from meshp2p.trust.trust_map import TrustMap
from tests.trust.builders import MadeMachine, MadeMesh

Statement = bytes | SignedRevocation


def merge(trust: TrustMap, statements: Sequence[Statement]) -> RemoteProtocolError | None:
    machines = tuple(one for one in statements if isinstance(one, bytes))
    revocations = tuple(one for one in statements if isinstance(one, SignedRevocation))
    return trust.merge_untrusted(Statements(machines, revocations))


def trusted(trust: TrustMap, *machines: MadeMachine) -> list[bool]:
    return [trust.is_trusted(one.fingerprint) for one in machines]


class Family:
    """The root invited an admin and a parent; the parent a child, and that a grandchild."""

    def __init__(self) -> None:
        self.mesh = MadeMesh()
        self.admin = self.mesh.invite("admin", is_admin=True)
        self.parent = self.mesh.invite("parent")
        self.child = self.parent.invite("child")
        self.grandchild = self.child.invite("grandchild", may_invite=False)
        self.all = (self.admin, self.parent, self.child, self.grandchild)

    def map_of(self, *revocations: SignedRevocation) -> TrustMap:
        return self.mesh.map_of(*self.all, revocations=revocations)
