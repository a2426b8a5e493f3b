"""A credential in one text, for containers and service accounts: a key, its certificates, and that of the root, in PEM.

What its node learns is kept in the data directory of the node. Without one nothing is kept: the node starts without a
trust map and takes over that of its first peer.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from meshp2p.errors import RemoteProtocolError, StoreError
from meshp2p.store.credentials import parse_certificates
from meshp2p.store.trust_files import Boots, TrustFiles
from meshp2p.trust.certificates import announced_name, mesh_name
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.statements import Statements

__all__ = ["CredentialBundle", "bundle_of"]

_KEY_END = b"-----END PRIVATE KEY-----\n"


class CredentialBundle:
    """A credential from such a text. It has the methods of :class:`~meshp2p.store.credentials.CredentialDirectory` that
    a node uses. ``data_dir`` is the data directory of the node, None if it has none."""

    def __init__(self, pem: bytes, source: str, data_dir: Path | None = None) -> None:
        """Errors name ``source``. Raises :class:`StoreError` if ``pem`` is no credential."""
        key, end, certificates = pem.replace(b"\r\n", b"\n").partition(_KEY_END)
        try:
            self._key = PrivateKey.from_pem(key + end)
            *self._chain, self._root = parse_certificates(certificates, source)
            mesh_id = MachineCredential(self._root, self._key, self._chain).mesh_id
        except (ValueError, RemoteProtocolError) as error:
            raise StoreError(f"{source} is no credential, as meshp2p join --export makes it: {error}") from error
        self._files = None if data_dir is None else _DataFiles(data_dir / "trust" / mesh_id.hex())

    def load(self) -> MachineCredential:
        """Raises :class:`StoreError` if what the node has learned cannot be read."""
        credential = MachineCredential(self._root, self._key, self._chain)
        credential.trust.merge_untrusted(self.load_statements())
        return credential

    def load_name(self) -> str:
        return mesh_name(self._root)

    def load_announced_name(self) -> str:
        return announced_name(self._root)

    def load_statements(self) -> Statements:
        return Statements() if self._files is None else self._files.load_statements()

    def write_trust(self, statements: Statements, stamp: object) -> bool:
        return self._files is None or self._files.write_trust(statements, stamp)

    def trust_stamp(self) -> object:
        return None if self._files is None else self._files.trust_stamp()

    def load_agents(self) -> Boots:
        return {} if self._files is None else self._files.load_agents()

    def add_agents(self, boots: Boots) -> None:
        if self._files is not None:
            self._files.add_agents(boots)

    def next_boot(self) -> int:
        """Return the time in milliseconds, or more if this data directory had as much: a node may get its first data
        directory, or a new one."""
        now = time.time_ns() // 1_000_000
        return now if self._files is None else self._files.next_boot(now)


class _DataFiles(TrustFiles):
    """Those of a data directory, in which they are made when they are needed."""

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{str(self.path)!r} cannot be made: {error.strerror}") from error
        with super()._locked():
            yield


def bundle_of(credential: MachineCredential) -> bytes:
    """Return a credential as one text."""
    chain = (*credential.machine.chain, credential.root)
    return credential.key.to_pem() + b"".join(one.to_pem() for one in chain)
