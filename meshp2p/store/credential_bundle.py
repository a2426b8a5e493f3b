"""A credential in one text, for containers and service accounts: a key, its certificates, and that of the root, in PEM.

This machine stores nothing of it. So a node starts without a trust map and takes over that of its first peer, and each
boot is the time.
"""

from __future__ import annotations

import time

from meshp2p.errors import RemoteProtocolError, StoreError
from meshp2p.store.credentials import Boots, parse_certificates
from meshp2p.trust.certificates import announced_name, mesh_name
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.statements import Statements

__all__ = ["CredentialBundle", "bundle_of"]

_KEY_END = b"-----END PRIVATE KEY-----\n"


class CredentialBundle:
    """A credential from such a text. It has the methods of :class:`~meshp2p.store.credentials.CredentialDirectory` that
    a node uses, and stores nothing."""

    def __init__(self, pem: bytes, source: str) -> None:
        """Errors name ``source``. Raises :class:`StoreError` if ``pem`` is no credential."""
        self.path: None = None
        key, end, certificates = pem.replace(b"\r\n", b"\n").partition(_KEY_END)
        try:
            self._key = PrivateKey.from_pem(key + end)
            *self._chain, self._root = parse_certificates(certificates, source)
            self.load()
        except (ValueError, RemoteProtocolError) as error:
            raise StoreError(f"{source} is no credential, as meshp2p join --export makes it: {error}") from error

    def load(self) -> MachineCredential:
        return MachineCredential(self._root, self._key, self._chain)

    def load_name(self) -> str:
        return mesh_name(self._root)

    def load_announced_name(self) -> str:
        return announced_name(self._root)

    def load_statements(self) -> Statements:
        return Statements()

    def write_trust(self, statements: Statements, stamp: object) -> bool:
        """Keeps nothing."""
        return True

    def trust_stamp(self) -> object:
        return None

    def load_agents(self) -> Boots:
        return {}

    def add_agents(self, boots: Boots) -> None:
        """Keeps nothing."""

    def next_boot(self) -> int:
        return time.time_ns() // 1_000_000


def bundle_of(credential: MachineCredential) -> bytes:
    """Return a credential as one text."""
    chain = (*credential.machine.chain, credential.root)
    return credential.key.to_pem() + b"".join(one.to_pem() for one in chain)
