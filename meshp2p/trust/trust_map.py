"""The trust map: which machines are in the mesh, who invited whom, and what is revoked.

It is a set of signed statements. Merging is a union, so every order and repetition of merges gives the same map (a
join-semilattice), unless one of the bounds below is reached. Of two certificates for the same key by the same issuer,
the one with the lower bytes is kept.

A machine is trusted if a chain of certificates leads from it to the root and no link is revoked. A revocation counts
unless its author was revoked by the root or by a machine above the author. So a machine that was revoked cannot revoke
others, and two machines that revoke each other are both revoked. The author of a revocation signs again what its target
had revoked: see :meth:`TrustMap.revoke`. Revocations of one machine by one author that exceed a bound count as the
revocation of that machine and of all that it invited. So the map can leave out further ones, and nothing that was
revoked becomes valid again.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from meshp2p.errors import ConfigError, Refusal, RemoteProtocolError
from meshp2p.trust.certificates import AgentRole, Certificate, MachineRole, root_mesh_id
from meshp2p.trust.keys import PrivateKey, PublicKey
from meshp2p.trust.known_revocations import KnownRevocation, KnownRevocations
from meshp2p.trust.machines import MeshMachine
from meshp2p.trust.revocation_room import RevocationRoom, bound_of
from meshp2p.trust.revocations import KEPT_MAX, Revocation, SignedRevocation
from meshp2p.trust.statements import MACHINES_MAX, Statements

__all__ = ["TrustMap"]

_Edge = tuple[bytes, bytes]  # the fingerprints of a machine and of its inviter

_BY_NOBODY: Final = (Revocation(bytes(16), bytes(32), bytes(32)),)  # keeps nobody


class TrustMap:
    """The statements of one mesh. ``root`` is its root certificate."""

    def __init__(self, root: Certificate) -> None:
        """Begin with the root alone. Raises :class:`RemoteProtocolError` if ``root`` is not a root certificate."""
        self.mesh_id: bytes = root_mesh_id(root)
        self.root: Certificate = root
        self._certificates: dict[_Edge, Certificate] = {}
        self._revocations = KnownRevocations()
        self._machines: dict[bytes, MeshMachine] = {}
        self._silenced: dict[bytes, tuple[Revocation, ...]] = {}
        """Machines whose revocations do not count, with the revocations that caused that; empty if a machine above it
        caused it."""
        self._trusted: dict[bytes, None] = {}
        self._room: RevocationRoom | None = None
        """None if it is to be counted again."""
        self._is_stale = False
        """Whether statements were added since the last walk."""
        self._may_forget = False
        """Whether to look for revocations to forget: once in a merge, and after those by the root or an admin."""
        self._digest: bytes | None = None

    # Reading

    @property
    def machines(self) -> Mapping[bytes, MeshMachine]:
        """Every machine that was invited, also revoked ones, by fingerprint. An inviter comes before its newcomers.
        Later merges do not change it."""
        return self._machines

    @property
    def revocations(self) -> list[Revocation]:
        """The revocations that count, in the order of their targets, with those that follow from too many."""
        return [one for target in self._revocations.targets for one in self._counting(target)]

    def is_trusted(self, fingerprint: bytes, *, agent: str = "", token: str = "") -> bool:
        """Whether this is the key of a machine of the mesh that is not revoked, and neither is the agent on it, or the
        token that it signed, if one is given."""
        if fingerprint not in self._revocations:  # each datagram asks this
            return fingerprint in self._trusted
        return fingerprint in self._trusted and not any(
            one.agent == agent and one.token == token and not one.is_of_machine for one in self._counting(fingerprint)
        )

    def why_revoked(self, fingerprint: bytes, *, agent: str = "") -> str:
        """Return who revoked this machine, a machine above it, or this agent on it, as a text; empty if nobody did."""
        if self.is_trusted(fingerprint, agent=agent) or fingerprint not in self._machines:
            return ""
        below = b""
        for link in self._machines[fingerprint].chain:
            for one in self._counting(link.fingerprint):
                if (one.is_of_machine and below not in one.kept) or (not below and one.agent == agent != ""):
                    what = f"agent {agent!r} on machine" if one.agent else "machine"
                    above = f", which invited {self.label_of(below)}," if below else ""
                    return f"{what} {self.label_of(link.fingerprint)}{above} was revoked by {self.label_of(one.author)}"
            below = link.fingerprint
        return f"machine {self.label_of(fingerprint)} was revoked"

    def why_refused(self, fingerprint: bytes, agent: str) -> str:
        """Return why this agent on this machine may not have a connection; empty if it may."""
        if self.is_trusted(fingerprint, agent=agent):
            return ""
        return self.why_revoked(fingerprint, agent=agent) or "its machine is not in the mesh"

    def label_of(self, fingerprint: bytes) -> str:
        """Return the quoted label of a machine, or ``the root``."""
        machine = self._machines.get(fingerprint)
        return "the root" if machine is None else repr(machine.label)

    def evidence_against(self, fingerprint: bytes) -> Statements:
        """Return the evidence that a key was revoked, for its owner: the revocations of its chain, with their
        authors."""
        machine = self._machines.get(fingerprint)
        links = () if machine is None else machine.chain
        against = [known for link in links for known in self._revocations.of(link.fingerprint)]
        authors = [
            self._machines[known.revocation.author] for known in against if known.revocation.author in self._machines
        ]
        ders = dict.fromkeys(one.der for chain in (links, *(author.chain for author in authors)) for one in chain)
        return Statements(tuple(ders), tuple(known.signed for known in against))

    def statements(self) -> Statements:
        """Return all statements, in an order that depends on nothing else."""
        certificates = tuple(self._certificates[edge].der for edge in sorted(self._certificates))
        return Statements(certificates, tuple(known.signed for known in self._revocations))

    def digest(self) -> bytes:
        """Return 32 bytes that are equal for equal maps."""
        if self._digest is None:
            hasher = hashlib.sha256(self.mesh_id)
            for edge in sorted(self._certificates):
                hasher.update(hashlib.sha256(self._certificates[edge].der).digest())
            hasher.update(b"revoked")
            for known in self._revocations:
                hasher.update(hashlib.sha256(known.signed.body).digest())
            self._digest = hasher.digest()
        return self._digest

    # Growing

    def merge_untrusted(self, statements: Statements) -> RemoteProtocolError | None:
        """Add statements from an untrusted source, and verify each once. Those that are invalid, or whose author has no
        right to make them, are left out. Returns the first reason for that, None if all are in the map."""
        refusal = self._merge_certificates(statements.machines)
        self._may_forget = True
        for signed in statements.revocations:
            try:
                self._merge_revocation(signed)
            except RemoteProtocolError as error:
                refusal = refusal or error
        self._walk()
        return refusal

    def revoke(
        self, author: PrivateKey, target: bytes, *, agent: str = "", token: str = "", keep_invited: bool = False
    ) -> tuple[SignedRevocation, ...]:
        """Revoke a machine, or one agent on it or one token of it, and return what was signed for that.

        ``author`` also revokes the machines that the target had revoked, because the target's revocations may not count
        any more. ``keep_invited`` keeps the machines that the target invited and that are trusted now. Raises
        :class:`RemoteProtocolError` if ``author`` may not revoke the target, and :class:`ConfigError` if a bound is
        reached.
        """
        invited = [key for key, machine in self._machines.items() if machine.inviter == target and key in self._trusted]
        if keep_invited and len(invited) > KEPT_MAX:
            raise ConfigError(f"{len(invited)} machines are to be kept: expected at most {KEPT_MAX}")
        kept = tuple(sorted(invited)) if keep_invited else ()
        revocation = Revocation(self.mesh_id, target, author.fingerprint, agent, kept, token)
        self._author_of(revocation)
        alike = self._revocations.alike(revocation)
        if (kept or not revocation.is_of_machine) and len(alike) >= bound_of(revocation) and revocation not in alike:
            instead = "revoke it without keeping others" if revocation.is_of_machine else "revoke the machine"
            by = self.label_of(author.fingerprint)
            raise ConfigError(
                f"machine {self.label_of(target)} has {len(alike)} such revocations by {by} already: {instead} instead"
            )
        below = {key for key, one in self._machines.items() if target in {link.fingerprint for link in one.chain}}
        again = [
            msgspec.structs.replace(one, author=author.fingerprint)
            for one in self.revocations
            if revocation.is_of_machine
            and one.author in below
            and one.target in self._machines  # not forgotten
            and (one.target not in below or (keep_invited and one.target != target))
        ]
        signed = tuple(SignedRevocation.sign(one, author) for one in (revocation, *again))
        refusal = self.merge_untrusted(Statements((), signed))
        if refusal is not None and refusal.reason is Refusal.TOO_LARGE:
            raise ConfigError(str(refusal)) from refusal
        if refusal is not None:
            raise refusal
        if self.is_trusted(target, agent=agent, token=token):
            raise RemoteProtocolError(
                Refusal.REVOKED, f"{self.label_of(author.fingerprint)} was revoked: it revokes nobody"
            )
        return signed

    def _merge_certificates(self, ders: Iterable[bytes]) -> RemoteProtocolError | None:
        known = {certificate.der for certificate in self._certificates.values()}
        refusal: RemoteProtocolError | None = None
        waiting: list[Certificate] = []
        for der in dict.fromkeys(ders):
            if der not in known:
                try:
                    waiting.append(self.root.decode_untrusted(der))
                except RemoteProtocolError as error:
                    refusal = refusal or error
        while waiting:
            issuers = {*self._machines, self.root.fingerprint}
            ready = [one for one in waiting if one.issuer in issuers]
            waiting = [one for one in waiting if one.issuer not in issuers]
            if not ready:
                return refusal or RemoteProtocolError(Refusal.UNTRUSTED, f"{waiting[0]!r}: its issuer is unknown")
            for certificate in ready:
                try:
                    self._merge_certificate(certificate)
                except RemoteProtocolError as error:
                    refusal = refusal or error
            self._walk()
        return refusal

    def _merge_certificate(self, certificate: Certificate) -> None:
        role = certificate.role
        if not isinstance(role, MachineRole) or role.mesh != self.mesh_id:
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"{certificate!r}: expected a machine of this mesh")
        if certificate.fingerprint == self.root.fingerprint:
            raise RemoteProtocolError(Refusal.UNTRUSTED, "the root is no machine")
        issuer = self.root.public
        if certificate.issuer != self.root.fingerprint:
            inviter = self._machines[certificate.issuer]
            inviter.check_may_issue(certificate, role)
            issuer = inviter.key
        certificate.verify_issued_by(issuer)
        edge = (certificate.fingerprint, certificate.issuer)
        other = self._certificates.get(edge)
        if other is None and len(self._certificates) >= MACHINES_MAX:
            if certificate.issuer in self._silenced:
                raise RemoteProtocolError(Refusal.REVOKED, f"{certificate!r}: its issuer was revoked")
            self._make_room()
        if other is None or certificate.der < other.der:
            self._certificates[edge] = certificate
            self._is_stale = True

    def _make_room(self) -> None:
        """Forget the machines below revoked ones, except those that were kept. Raises :class:`RemoteProtocolError` if
        there are none."""
        gone = [edge for edge in self._certificates if edge[1] in self._silenced and self._is_below_revoked(edge[0])]
        if not gone:
            raise RemoteProtocolError(Refusal.TOO_LARGE, f"the mesh has {MACHINES_MAX} machines: no more are taken")
        for edge in gone:
            del self._certificates[edge]

    def _merge_revocation(self, signed: SignedRevocation) -> None:
        revocation = signed.decode_untrusted()
        if any(signed.body == known.signed.body for known in self._revocations.of(revocation.target)):
            return
        if revocation.mesh != self.mesh_id:
            raise RemoteProtocolError(Refusal.UNTRUSTED, "a revocation of another mesh")
        signed.verify(self._author_of(revocation))
        alike = self._revocations.alike(revocation)
        if len(alike) > bound_of(revocation) and signed.body > max(alike.values()):
            return
        self._add_to_room(revocation)
        dropped = self._revocations.add(KnownRevocation(revocation, signed))
        self._is_stale = True
        if revocation.author == self.root.fingerprint or self._machines[revocation.author].is_admin:
            self._may_forget = True
        if dropped is not None:
            self._current_room().remove(dropped)

    def _add_to_room(self, revocation: Revocation) -> None:
        """Count the room for a revocation. Raises :class:`RemoteProtocolError` if there is none."""
        why = self._current_room().why_full(revocation)
        if why and self._may_forget:
            self._forget_revocations()
            why = self._current_room().why_full(revocation)
            if revocation.author in self._silenced:
                why = f"{self.label_of(revocation.author)} was revoked"
        if why:
            raise RemoteProtocolError(Refusal.TOO_LARGE, why)
        self._current_room().add(revocation)

    def _current_room(self) -> RevocationRoom:
        if self._room is None:
            revocations = (known.revocation for known in self._revocations)
            self._room = RevocationRoom(self.root.fingerprint, self._machines, revocations)
        return self._room

    def _forget_revocations(self) -> None:
        """Forget the revocations that do not count, and those of machines below a revoked one."""
        self._walk()
        self._may_forget = False
        self._revocations.keep(lambda one: not self._is_below_revoked(one.target) and self._may_count(one.author))
        self._room, self._is_stale = None, True

    def _author_of(self, revocation: Revocation) -> PublicKey:
        """Return the key of the author, which must be the root, an admin, a machine above the target, or the target
        itself: a machine may revoke its own agents. Raises :class:`RemoteProtocolError`."""
        target = self._machines.get(revocation.target)
        if target is None:
            raise RemoteProtocolError(
                Refusal.UNTRUSTED, f"a revocation of {revocation.target.hex()}, which is not a machine of the mesh"
            )
        if revocation.author == self.root.fingerprint:
            return self.root.public
        author = self._machines.get(revocation.author)
        above = {one.issuer for one in target.chain} | {target.key.fingerprint}
        if author is None or not (author.is_admin or revocation.author in above):
            raise RemoteProtocolError(
                Refusal.UNTRUSTED, f"{revocation.author.hex()} had no right to revoke {revocation.target.hex()}"
            )
        return author.key

    # What the statements mean

    def _walk(self) -> None:
        """If statements were added, find all machines from the root down, those whose revocations do not count, and
        then those that are trusted."""
        if not self._is_stale:
            return
        self._is_stale, self._digest, self._room = False, None, None
        by_issuer: dict[bytes, list[Certificate]] = {}
        for edge in sorted(self._certificates):
            by_issuer.setdefault(edge[1], []).append(self._certificates[edge])
        self._machines, self._silenced, self._trusted = {}, {}, {}
        level = [self.root.fingerprint]
        while level:
            below: list[bytes] = []
            for issuer in level:
                above = self._machines.get(issuer)
                for certificate in by_issuer.pop(issuer, ()):
                    key, role = certificate.fingerprint, certificate.role
                    if key in self._machines or not isinstance(role, MachineRole):
                        continue
                    self._machines[key] = MeshMachine.below(above, certificate, role)
                    self._note_silence(key, self._machines[key].chain)
                    below.append(key)
            level = below
        for certificate in itertools.chain(*by_issuer.values()):  # their issuers were forgotten
            del self._certificates[certificate.fingerprint, certificate.issuer]
        reached: dict[bytes, None] = {self.root.fingerprint: None}
        for key, machine in self._machines.items():
            revoked_above = self._counting(machine.inviter)
            if machine.inviter in reached and all(not one.is_of_machine or key in one.kept for one in revoked_above):
                reached[key] = None
                if not any(one.is_of_machine for one in self._counting(key)):
                    self._trusted[key] = None

    def _note_silence(self, key: bytes, chain: tuple[Certificate, ...]) -> None:
        """Note if the revocations of this machine do not count. The machines above it were examined before."""
        above = [certificate.issuer for certificate in chain]
        by_superiors = tuple(one for one in self._counting(key) if one.is_of_machine and one.author in above)
        inviter = above[0]
        if inviter in self._silenced and not all(key in one.kept for one in self._silenced[inviter] or _BY_NOBODY):
            self._silenced[key] = ()
        elif by_superiors:
            self._silenced[key] = by_superiors

    def _is_below_revoked(self, key: bytes) -> bool:
        """Whether a machine above this one was revoked, and this one was not kept."""
        return self._silenced.get(key) == ()

    def _counting(self, target: bytes) -> list[Revocation]:
        """Return the revocations of this machine, and of agents and tokens of it, that count."""
        known = [one.revocation for one in self._revocations.of(target)]
        counting = [one for one in known if self._may_count(one.author)]
        alike = Counter((one.author, one.is_of_machine) for one in counting)
        too_many = dict.fromkeys(one.author for one in counting if alike[one.author, one.is_of_machine] > bound_of(one))
        return [*counting, *(Revocation(self.mesh_id, target, author) for author in too_many)]

    def _may_count(self, author: bytes) -> bool:
        """Whether this author is known, and its revocations count."""
        return author == self.root.fingerprint or (author in self._machines and author not in self._silenced)

    # Agents

    def verify_agent(self, certificate: Certificate) -> AgentRole:
        """Check that a machine of this map issued the certificate of an agent, is trusted, and may use that id. Raises
        :class:`RemoteProtocolError`."""
        role = certificate.role
        if not isinstance(role, AgentRole) or role.mesh != self.mesh_id:
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"{certificate!r}: expected an agent of this mesh")
        certificate.verify_issued_by(self.verify_user(certificate.issuer, role.id))
        return role

    def verify_user(self, fingerprint: bytes, agent: str, *hosted: str) -> PublicKey:
        """Check that this is a machine of this map, that it and its agent with this id are trusted, and that it may use
        that id and those of hosted instances. Returns its key. Raises :class:`RemoteProtocolError`, for an unknown
        machine with ``UNKNOWN``."""
        machine = self._machines.get(fingerprint)
        if machine is None:
            raise RemoteProtocolError(Refusal.UNKNOWN, f"agent {agent!r}: its machine is not in the mesh")
        if not self.is_trusted(fingerprint, agent=agent):
            why = self.why_revoked(fingerprint, agent=agent)
            raise RemoteProtocolError(Refusal.REVOKED, f"agent {agent!r} on {machine.label!r}: {why}")
        for instance_id in (agent, *hosted):
            machine.check_may_use(instance_id)
        return machine.key
