"""Callers of the HTTP API of a node of a secured mesh, and their rights."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from typing import Final

from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.trust.certificates import AgentRole, Certificate, MachineRole
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.grants import Grant
from meshp2p.trust.tokens import verify_token
from meshp2p.trust.trust_map import TrustMap

__all__ = ["Callers"]

KNOWN_MAX: Final = 1024
"""Tokens and certificates whose verification is remembered. Chosen, not measured."""


class Callers:
    """The callers of one node. ``refresh`` is called before the trust map is used.

    What was verified is remembered until the trust map changes, so that a caller costs two signatures once and not with
    each request. Only what is valid is remembered.
    """

    def __init__(self, credential: MachineCredential, refresh: Callable[[], None]) -> None:
        self._trust = credential.trust
        self._refresh = refresh
        self._known: collections.OrderedDict[str | bytes, tuple[bytes, float, Grant]] = collections.OrderedDict()
        machine = credential.machine
        self.local: Grant = Grant(f"{machine.key.fingerprint.hex()}/", ("*",), tuple(machine.id_patterns))
        """What programs on this machine may do without a token: all that this machine may, but for what takes an
        admin."""

    def by_token(self, token: str, now: float) -> Grant:
        """Return what the bearer of a token may do at this time, in Unix seconds. Raises
        :class:`RemoteProtocolError`."""

        def verify() -> tuple[float, Grant]:
            verified = verify_token(token, self._trust, now)
            return verified.expires_at, verified.grant

        return self._remember(token, now, verify)

    def by_certificate(self, der: bytes) -> Grant:
        """Return what the owner of a client certificate may do. TLS has verified that it leads to the root. Raises
        :class:`RemoteProtocolError` if the machine is not known to be in the mesh, or was revoked."""
        return self._remember(der, 0.0, lambda: (math.inf, _grant_of(der, self._trust)))

    def _remember(self, key: str | bytes, now: float, verify: Callable[[], tuple[float, Grant]]) -> Grant:
        self._refresh()
        digest, expires_at, grant = self._known.get(key, (b"", 0.0, None))
        if grant is None or digest != self._trust.digest() or expires_at <= now:
            self._known.pop(key, None)
            expires_at, grant = verify()
            self._known[key] = (self._trust.digest(), expires_at, grant)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return grant


def _grant_of(der: bytes, trust: TrustMap) -> Grant:
    certificate = Certificate.decode_untrusted(der)
    match certificate.role:
        case AgentRole(id=instance_id):
            trust.verify_agent(certificate)
            if "*" in instance_id:
                raise RemoteProtocolError(Refusal.UNTRUSTED, f"agent {instance_id!r}: use a token, as '*' is in its id")
            return Grant(f"{certificate.issuer.hex()}/{instance_id}", (instance_id,))
        case MachineRole():
            machine = trust.machines.get(certificate.fingerprint)
            if machine is None:
                raise RemoteProtocolError(Refusal.UNTRUSTED, f"{certificate!r}: this machine is not in the mesh")
            if not trust.is_trusted(certificate.fingerprint):
                raise RemoteProtocolError(Refusal.REVOKED, f"machine {machine.label!r} was revoked")
            owner = f"{certificate.fingerprint.hex()}/"
            return Grant(owner, ("*",), tuple(machine.id_patterns), is_admin=machine.is_admin)
    raise RemoteProtocolError(Refusal.UNTRUSTED, f"{certificate!r}: expected the certificate of a machine or an agent")
