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

import collections
import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from meshp2p.errors import ConfigError, RemoteProtocolError, StoreError
from meshp2p.store.replacement import replace_durably, sync_name
from meshp2p.trust.certificates import Certificate, announced_name, mesh_name
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.statements import Statements

__all__ = [
    "Boots",
    "CredentialDirectory",
    "Credentials",
    "load_key",
    "parse_certificates",
    "read_secret",
    "write_secret",
]

AGENTS_MAX: Final = 256
"""Agents of one machine that are remembered. Chosen, not measured."""

Boots = dict[tuple[bytes, str], int]
"""The highest boots of agents. Each is named by the fingerprint of its machine and its id."""

_decode_agents: Final = msgspec.msgpack.Decoder(list[tuple[bytes, str, int]]).decode

_BYTES_MAX: Final = 64 << 20  # of the longest file, a trust map with all that fits: chosen, not measured
_TRUST_MAGIC: Final = b"m2trust\x01"
_PEM_END: Final = b"-----END CERTIFICATE-----\n"


class CredentialDirectory:
    """The directory of one mesh. Reading takes no lock."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)

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

    def update_trust(self, credential: MachineCredential) -> None:
        """Merge the trust map on disk and that of ``credential``. Afterwards both are equal. Raises
        :class:`StoreError`."""
        while True:
            stamp = self.trust_stamp()
            credential.trust.merge_untrusted(self.load_statements())
            if self.write_trust(credential.trust.statements(), stamp):
                return

    def write_trust(self, statements: Statements, stamp: object) -> bool:
        """Write the trust map, unless the one on disk has changed since ``stamp``: then return False. Raises
        :class:`StoreError`."""
        with self._locked():
            if self.trust_stamp() != stamp:
                return False
            data = _TRUST_MAGIC + statements.encode()
            if stamp is None or data != _read(self.path / "trust"):
                _write(self.path / "trust", data)
            return True

    def trust_stamp(self) -> object:
        """Return a value that changes whenever the trust map on disk does; None if there is no trust map."""
        with contextlib.suppress(OSError):
            status = (self.path / "trust").stat()
            return status.st_mtime_ns, status.st_ino
        return None

    def load_agents(self) -> Boots:
        """The highest boots of the agents that nodes of this user were connected to, the latest last. Raises
        :class:`StoreError`."""
        path = self.path / "agents"
        if not path.exists():
            return {}
        try:
            return {(machine, instance_id): boot for machine, instance_id, boot in _decode_agents(_read(path))}
        except (msgspec.DecodeError, ValueError) as error:
            raise StoreError(f"{str(path)!r} does not hold a list of agents: {error}") from error

    def add_agents(self, boots: Boots) -> None:
        """Note the boots of agents, and forget the earliest of more than ``AGENTS_MAX`` of one machine. Raises
        :class:`StoreError`."""
        with self._locked():
            known = self.load_agents()
            for agent, boot in boots.items():
                known[agent] = max(boot, known.pop(agent, 0))
            counts: collections.Counter[bytes] = collections.Counter()
            rows: list[tuple[bytes, str, int]] = []
            for (machine, instance_id), boot in reversed(known.items()):
                counts[machine] += 1
                if counts[machine] <= AGENTS_MAX:
                    rows.append((machine, instance_id, boot))
            _write(self.path / "agents", msgspec.msgpack.encode(rows[::-1]))

    def next_boot(self) -> int:
        """Return a number greater than all earlier ones. It is on disk when this returns. Raises
        :class:`StoreError`."""
        with self._locked():
            path = self.path / "boots"
            try:
                boot = int(_read(path)) + 1 if path.exists() else 1
            except ValueError as error:
                raise StoreError(f"{str(path)!r} does not hold a number") from error
            _write(path, str(boot).encode())
            return boot

    def export_root_key(self, destination: Path) -> None:
        """Write the root's key to a new file and remove it here. Raises :class:`StoreError`: then it is still here."""
        with self._locked():
            key = self.load_root_key()
            if key is None:
                raise StoreError(f"{str(self.path)!r} has no root key: it was exported, or the mesh was made elsewhere")
            try:
                _create(destination, key.to_pem())
                sync_name(destination)  # before the only other copy is removed
                (self.path / "root.key").unlink()
            except OSError as error:
                raise StoreError(f"{str(destination)!r} cannot be written: {error.strerror}") from error

    # Files

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"{str(self.path)!r} cannot be read: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _load_root(self) -> Certificate:
        return self._load_certificates("root.pem")[0]

    def _load_certificates(self, name: str) -> list[Certificate]:
        return parse_certificates(_read(self.path / name), repr(str(self.path / name)))

    def load_statements(self) -> Statements:
        """The trust map on disk, not verified. Raises :class:`StoreError`."""
        path = self.path / "trust"
        if not path.exists():
            return Statements()
        data = _read(path)
        if not data.startswith(_TRUST_MAGIC):
            raise StoreError(f"{str(path)!r} does not hold a trust map: it begins with {data[: len(_TRUST_MAGIC)]!r}")
        try:
            return Statements.decode_untrusted(data[len(_TRUST_MAGIC) :])
        except RemoteProtocolError as error:
            raise StoreError(f"{str(path)!r} does not hold a trust map: {error}") from error


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
            raise ConfigError(f"several meshes fit: {names}; name one, or remove the others")
        return found[0][0] if found else None

    def add(self, credential: MachineCredential, root_key: PrivateKey | None = None) -> CredentialDirectory:
        """Keep a new credential. It replaces a revoked one of the same mesh. Raises :class:`StoreError` if it cannot be
        kept, or if there is one of that mesh that is not revoked."""
        directory = CredentialDirectory(self._path / credential.mesh_id.hex())
        new, old = (self._path / f".{word}-{secrets.token_hex(8)}" for word in ("new", "old"))
        try:
            new.mkdir(parents=True, mode=0o700)
            try:
                _write(new / "root.pem", credential.root.to_pem())
                _write(new / "machine.pem", b"".join(one.to_pem() for one in credential.machine.chain))
                _write(new / "machine.key", credential.key.to_pem())
                if root_key is not None:
                    _write(new / "root.key", root_key.to_pem())
                _write(new / "trust", _TRUST_MAGIC + credential.trust.statements().encode())
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


def read_secret(path: Path) -> bytes:
    """Read a file that nobody else may be able to read. Raises :class:`StoreError`."""
    return _read(path, is_secret=True)


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file that nobody else may read. Raises :class:`StoreError`."""
    try:
        _create(path, data)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written: {error.strerror}") from error


def load_key(path: Path) -> PrivateKey:
    """Read a private key, which nobody else may be able to read. Raises :class:`StoreError`."""
    try:
        return PrivateKey.from_pem(_read(path, is_secret=True))
    except ValueError as error:
        raise StoreError(f"{str(path)!r} does not hold a key: {error}") from error


def _read(path: Path, *, is_secret: bool = False) -> bytes:
    """The content of a file, which nobody else may be able to read if it is secret. Raises :class:`StoreError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if is_secret and status.st_uid != os.geteuid():
                raise StoreError(f"{str(path)!r} belongs to another user: it is not used")
            if is_secret and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise StoreError(
                    f"{str(path)!r} may be read or changed by others: it is not used. If nobody did, run"
                    f" chmod 600 {str(path)!r}; otherwise revoke this machine and join again"
                )
            data = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    if len(data) > _BYTES_MAX:
        raise StoreError(f"{str(path)!r} has more than {_BYTES_MAX} bytes: it is not read")
    return data


def _write(path: Path, data: bytes) -> None:
    """Replace a file, which only this user may read. Raises :class:`StoreError`."""
    new = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        _create(new, data)
        replace_durably(new, path)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            new.unlink()


def _create(path: Path, data: bytes) -> None:
    """Write a new file, which only this user may read. Raises ``OSError``; then there is no such file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise
