"""The credentials of this user on this machine, a directory for each mesh.

::

    meshes/{mesh id}/root.pem      the certificate of the root
                     machine.pem   this machine's certificate and those above it
                     machine.key   this machine's key; nobody else may read it
                     root.key      the root's key, until it is exported; nobody else may read it
                     trust         the trust map
                     boots         how many certificates for agents were issued
                     agents        the agents that nodes here were connected to, with their machines and boots

Several processes use them at once: a process that writes locks the directory of the mesh. Each file is replaced as a
whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from meshp2p.errors import ConfigError, RemoteProtocolError, StoreError
from meshp2p.store.private_files import create, read, write
from meshp2p.store.replacement import replace_durably, sync_name
from meshp2p.store.trust_files import TrustFiles
from meshp2p.trust.certificates import Certificate, announced_name, mesh_name
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.keys import PrivateKey

__all__ = ["CredentialDirectory", "Credentials", "load_key", "parse_certificates"]

_PEM_END: Final = b"-----END CERTIFICATE-----\n"


class CredentialDirectory(TrustFiles):
    """The directory of one mesh. Reading takes no lock."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(Path(path))

    def __repr__(self) -> str:
        return f"<CredentialDirectory {str(self.path)!r}>"

    def load(self) -> MachineCredential:
        """Load the credential. Raises :class:`StoreError` if it cannot be read, is damaged, or if others may read a
        key."""
        key = load_key(self.path / "machine.key")
        root = self._load_root()
        chain = self._load_certificates("machine.pem")
        try:
            credential = MachineCredential(root, key, chain)
        except RemoteProtocolError as error:
            raise StoreError(f"{str(self.path)!r} does not hold a credential: {error}") from error
        credential.trust.merge_untrusted(self.load_statements())
        return credential

    def load_name(self) -> str:
        """The name of the mesh. Raises :class:`StoreError` as :meth:`load` does."""
        return mesh_name(self._load_root())

    def load_announced_name(self) -> str:
        """The name of the mesh on the network. Raises :class:`StoreError` as :meth:`load` does."""
        try:
            return announced_name(self._load_root())
        except RemoteProtocolError as error:
            raise StoreError(f"{str(self.path / 'root.pem')!r} does not name a mesh: {error}") from error

    def load_root_key(self) -> PrivateKey | None:
        """The root's key, None if it is not here. Raises :class:`StoreError` as :meth:`load` does."""
        return load_key(self.path / "root.key") if (self.path / "root.key").exists() else None

    def export_root_key(self, destination: Path) -> None:
        """Write the root's key to a new file and remove it here. Raises :class:`StoreError`: then it is still here."""
        with self._locked():
            key = self.load_root_key()
            if key is None:
                raise StoreError(f"{str(self.path)!r} has no root key: it was exported, or the mesh was made elsewhere")
            try:
                create(destination, key.to_pem())
                sync_name(destination)  # before the only other copy is removed
                (self.path / "root.key").unlink()
            except OSError as error:
                raise StoreError(f"{str(destination)!r} cannot be written: {error.strerror}") from error

    # Files

    def _load_root(self) -> Certificate:
        return self._load_certificates("root.pem")[0]

    def _load_certificates(self, name: str) -> list[Certificate]:
        return parse_certificates(read(self.path / name), repr(str(self.path / name)))


class Credentials:
    """All meshes that a user joined, in a directory of :func:`~meshp2p.store.user_data.meshes_directory`'s kind."""

    def __init__(self, directory: Path) -> None:
        self._path = directory

    def all(self) -> list[CredentialDirectory]:
        """Every mesh, ordered by id. Raises :class:`StoreError`."""
        try:
            entries = sorted(entry for entry in self._path.iterdir() if not entry.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{str(self._path)!r} cannot be read: {error.strerror}") from error
        return [CredentialDirectory(entry) for entry in entries if entry.is_dir()]

    def has(self, mesh_id: bytes) -> bool:
        """Whether this user is in the mesh with this id, as far as is known here. Raises :class:`StoreError`."""
        directory = CredentialDirectory(self._path / mesh_id.hex())
        return directory.path.is_dir() and directory.load().is_trusted

    def find(self, name: str | None = None) -> CredentialDirectory | None:
        """The mesh with this name, or the only one there is; None if there is none. Raises :class:`ConfigError` if
        several fit, and :class:`StoreError`."""
        found = [(one, label) for one in self.all() if (label := one.load_name()) == name or name is None]
        if len(found) > 1:
            names = ", ".join(f"{label!r} in {str(one.path)!r}" for one, label in found)
            remedy = "name one with --mesh or MESHP2P_MESH" if name is None else "remove all but one"
            raise ConfigError(f"several meshes fit: {names}; {remedy}")
        return found[0][0] if found else None

    def add(self, credential: MachineCredential, root_key: PrivateKey | None = None) -> CredentialDirectory:
        """Keep a new credential. It replaces a revoked one of the same mesh. Raises :class:`StoreError` if it cannot be
        kept, or if there is one of that mesh that is not revoked."""
        directory = CredentialDirectory(self._path / credential.mesh_id.hex())
        new, old = (self._path / f".{word}-{secrets.token_hex(8)}" for word in ("new", "old"))
        try:
            new.mkdir(parents=True, mode=0o700)
            try:
                write(new / "root.pem", credential.root.to_pem())
                write(new / "machine.pem", b"".join(one.to_pem() for one in credential.machine.chain))
                write(new / "machine.key", credential.key.to_pem())
                if root_key is not None:
                    write(new / "root.key", root_key.to_pem())
                TrustFiles(new).write_trust(credential.trust.statements(), None)
                if directory.path.exists() and not directory.load().is_trusted:
                    directory.path.rename(old)
                replace_durably(new, directory.path)
                shutil.rmtree(old, ignore_errors=True)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise
        except OSError as error:
            if directory.path.exists():
                raise StoreError(
                    f"this user is in mesh {credential.name!r} already: {str(directory.path)!r}"
                ) from error
            raise StoreError(f"{str(directory.path)!r} cannot be made: {error.strerror}") from error
        return directory


def parse_certificates(pem: bytes, source: str) -> list[Certificate]:
    """Read one or more certificates. Raises :class:`StoreError`, which names ``source``."""
    parts = [part + _PEM_END for part in pem.split(_PEM_END)[:-1]]
    try:
        certificates = [Certificate.from_pem(part) for part in parts]
    except RemoteProtocolError as error:
        raise StoreError(f"{source} does not hold certificates: {error}") from error
    if not certificates:
        raise StoreError(f"{source} holds no certificate")
    return certificates


def load_key(path: Path) -> PrivateKey:
    """Read a private key, which nobody else may be able to read. Raises :class:`StoreError`."""
    try:
        return PrivateKey.from_pem(read(path, is_secret=True))
    except ValueError as error:
        raise StoreError(f"{str(path)!r} does not hold a key: {error}") from error
