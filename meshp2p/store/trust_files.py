"""The files that grow while nodes run: the trust map, the agents that were met, and the number of certificates.

Several processes use them at once: a process that writes locks the directory.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from meshp2p.errors import RemoteProtocolError, StoreError
from meshp2p.store.private_files import read, write
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.statements import Statements

__all__ = ["AGENTS_MAX", "Boots", "TrustFiles"]

AGENTS_MAX: Final = 256
"""Agents of one machine that are remembered. Chosen, not measured."""

Boots = dict[tuple[bytes, str], int]
"""The boots of the agents' last processes, 0 if they are not known. Each is named by the fingerprint of its machine and
its id."""

_TRUST_MAGIC: Final = b"m2trust\x01"
_decode_agents: Final = msgspec.msgpack.Decoder(list[tuple[bytes, str, int]]).decode


class TrustFiles:
    """These files in one directory. Reading takes no lock."""

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self._trust_path = os.fspath(path / "trust")

    def load_statements(self) -> Statements:
        """The trust map on disk, not verified. Raises :class:`StoreError`."""
        path = self.path / "trust"
        if not path.exists():
            return Statements()
        data = read(path)
        if not data.startswith(_TRUST_MAGIC):
            raise StoreError(f"{str(path)!r} does not hold a trust map: it begins with {data[: len(_TRUST_MAGIC)]!r}")
        try:
            return Statements.decode_untrusted(data[len(_TRUST_MAGIC) :])
        except RemoteProtocolError as error:
            raise StoreError(f"{str(path)!r} does not hold a trust map: {error}") from error

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
            if stamp is None or data != read(self.path / "trust"):
                write(self.path / "trust", data)
            return True

    def trust_stamp(self) -> object:
        """Return a value that changes whenever the trust map on disk does; None if there is no trust map."""
        with contextlib.suppress(OSError):
            status = os.stat(self._trust_path)  # noqa: PTH116  # faster, and asked at each request with a token
            return status.st_mtime_ns, status.st_ino
        return None

    def load_agents(self) -> Boots:
        """The agents that nodes of this user listed or were connected to, the latest last. Raises
        :class:`StoreError`."""
        path = self.path / "agents"
        if not path.exists():
            return {}
        try:
            return {(machine, instance_id): boot for machine, instance_id, boot in _decode_agents(read(path))}
        except (msgspec.DecodeError, ValueError) as error:
            raise StoreError(f"{str(path)!r} does not hold a list of agents: {error}") from error

    def add_agents(self, boots: Boots) -> None:
        """Note the boots of agents, and forget the earliest of more than ``AGENTS_MAX`` of one machine. Raises
        :class:`StoreError`."""
        with self._locked():
            known = self.load_agents()
            for agent, boot in boots.items():
                earlier = known.pop(agent, 0)
                known[agent] = boot or earlier
            counts: collections.Counter[bytes] = collections.Counter()
            rows: list[tuple[bytes, str, int]] = []
            for (machine, instance_id), boot in reversed(known.items()):
                counts[machine] += 1
                if counts[machine] <= AGENTS_MAX:
                    rows.append((machine, instance_id, boot))
            write(self.path / "agents", msgspec.msgpack.encode(rows[::-1]))

    def next_boot(self, at_least: int = 1) -> int:
        """Return a number greater than all earlier ones, and not below ``at_least``. It is on disk when this returns.
        Raises :class:`StoreError`."""
        with self._locked():
            path = self.path / "boots"
            try:
                boot = max(at_least, int(read(path)) + 1 if path.exists() else 1)
            except ValueError as error:
                raise StoreError(f"{str(path)!r} does not hold a number") from error
            write(path, str(boot).encode())
            return boot

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
