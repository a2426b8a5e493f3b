"""The identity of a node: its id, and what it remembers of its own past."""

from __future__ import annotations

import secrets
import time

import msgspec

from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.mail.uuid7 import uuid7
from meshp2p.core.randomness import Randomness
from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import ConfigError
from meshp2p.node.config import NodeConfig
from meshp2p.node.platform import Disk, Platform, SystemPlatform
from meshp2p.store.identity import Identity

__all__ = ["Self", "generate_instance_id"]


def generate_instance_id(hostname: str | None = None) -> str:
    """Generate a new id, ``~{uuid7}-{hostname}``.

    It sorts after all ids that were generated before, and after every id that begins with an ASCII letter or digit. So
    its node takes the leadership neither from an older node nor from one with a chosen id.
    """
    unique = uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))
    return _with_hostname(unique, hostname or SystemPlatform().hostname)


def _make_id(config: NodeConfig, platform: Platform) -> str:
    unique = uuid7(platform.wall_ms(), _random_bits(platform.random))
    return _with_hostname(unique, config.hostname or platform.hostname)


def _random_bits(source: Randomness) -> int:
    return source.randrange(0, 1 << 74)


def _with_hostname(unique: str, hostname: str) -> str:
    return f"~{unique}-{hostname or 'localhost'}".encode()[:ID_BYTES_MAX].decode(errors="ignore")


class Self:
    """A node's identity, and the disk on which it is stored, if any. Close it after use."""

    def __init__(self, config: NodeConfig, platform: Platform) -> None:
        """Take the id from the configuration, else from the disk, else generate one.

        Raises :class:`~meshp2p.errors.StartError` and :class:`~meshp2p.errors.StoreError` if the disk cannot be used,
        and :class:`ConfigError` if it belongs to another node.
        """
        self._config = config
        self._platform = platform
        self.disk: Disk | None = platform.open_disk(config)
        try:
            kept = None if self.disk is None else self.disk.load_identity()
            if kept is None:
                kept = Identity(config.id or _make_id(config, platform), config.id is None)
            elif config.id not in (None, kept.id):
                raise ConfigError(
                    f"id = {config.id!r}, but data directory {str(config.data_dir)!r} belongs to node {kept.id!r}:"
                    " choose another directory, or use that id"
                )
        except BaseException:
            self.close()
            raise
        self.identity: Identity = kept

    async def keep(self, state: KeptState) -> None:
        """Write what the protocol must remember. When this returns, it is on disk."""
        self.identity = msgspec.structs.replace(self.identity, kept=state)
        if self.disk is not None:
            await self.disk.save_identity(self.identity)

    def replace_id(self) -> None:
        """Generate a new id, because another node has the generated one: a directory was copied."""
        self.identity = Identity(_make_id(self._config, self._platform), is_generated=True)

    def close(self) -> None:
        if self.disk is not None:
            self.disk.close()
