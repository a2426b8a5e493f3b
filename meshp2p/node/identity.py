"""Which id a node has, and what it knows of its own past."""

from __future__ import annotations

import secrets
import socket
import time

import msgspec
import trio

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.core.state import KeptState
from meshp2p.core.uuid7 import uuid7
from meshp2p.errors import ConfigError
from meshp2p.node.config import NodeConfig
from meshp2p.store.identity import Identity, IdentityStore

__all__ = ["Self", "generate_instance_id"]


def generate_instance_id(hostname: str | None = None) -> str:
    """A new id, ``{uuid7}-{hostname}``: greater than all that were made before, so that its node never deposes a
    leader."""
    name = hostname or socket.gethostname() or "localhost"
    unique = uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))
    return f"{unique}-{name}".encode()[:ID_BYTES_MAX].decode(errors="ignore")


class Self:
    """A node's identity, and the file in which it is kept where there is a directory. To be closed."""

    def __init__(self, config: NodeConfig) -> None:
        """Take the id from the configuration, else from the directory, else make one.

        Raises :class:`~meshp2p.errors.StartError` and :class:`~meshp2p.errors.StoreError` where the directory cannot be
        used, :class:`ConfigError` where it is another node's.
        """
        self._store = None if config.data_dir is None else IdentityStore(config.data_dir)
        try:
            kept = None if self._store is None else self._store.load()
            if kept is None:
                kept = Identity(config.id or generate_instance_id(config.hostname), config.id is None)
            elif config.id not in (None, kept.id):
                raise ConfigError(
                    f"id = {config.id!r}, but data directory {str(config.data_dir)!r} is that of {kept.id!r}:"
                    " choose another directory, or that id"
                )
        except BaseException:
            self.close()
            raise
        self.identity = kept

    @property
    def can_keep(self) -> bool:
        return self._store is not None

    async def keep(self, state: KeptState) -> None:
        """Write what the protocol must remember. When this returns it is on disk."""
        self.identity = msgspec.structs.replace(self.identity, kept=state)
        if self._store is not None:
            await trio.to_thread.run_sync(self._store.save, self.identity)

    def become(self, identity: Identity) -> None:
        """Take another id, because the one that was made is another's as well: a directory was copied."""
        self.identity = identity

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
