"""What the person who embeds a node may choose."""

from __future__ import annotations

import ipaddress
import math
from pathlib import Path
from typing import Any, Final

import msgspec

from meshp2p.core.address import parse_address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import ConfigError
from meshp2p.http.limits import HttpLimits

__all__ = ["DEFAULT_PORT", "NodeConfig"]

DEFAULT_PORT: Final = 7700
_NAMES_MAX: Final = 256
_NAME_CHARACTERS_MAX: Final = 1024


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A node's configuration. Every field has a default; a wrong value raises :class:`ConfigError`, which names it,
    before anything starts."""

    id: str | None = None
    """1 to 128 bytes of UTF-8. None makes ``{uuid7}-{hostname}``, so that ids order by age; with a ``data_dir`` it is
    kept."""

    host: str | None = None
    """The address to bind to. None is loopback, or all addresses with ``insecure_lan``."""

    port: int | None = None
    """One number for UDP and TCP. None takes 7700, or any that is free where that is taken; 0 takes any that is
    free."""

    mesh: str = "default"
    """The mesh's name: nodes of other meshes are neither heard nor seen."""

    join: tuple[str, ...] = ()
    """``HOST:PORT`` of nodes to begin with. They are tried for ever, and names are resolved again each time."""

    mdns: bool = True
    """Whether to announce this node and look for others by mDNS."""

    capabilities: tuple[str, ...] = ()
    """What the agent can do; others find it by these."""

    profiles: tuple[str, ...] = ()
    """The agent profiles that run here."""

    data_dir: Path | None = None
    """Where the node keeps who it is and whom it met. None keeps nothing."""

    insecure_lan: bool = False
    """Whether a node without a mesh key may be reached from the LAN when no ``host`` says so."""

    hostname: str | None = None
    """The name that the registry shows. None is this machine's."""

    allow_origins: tuple[str, ...] = ()
    """Web origins (``https://board.example``) whose pages may call this node."""

    protocol: ProtocolConfig = ProtocolConfig()
    limits: HttpLimits = HttpLimits()

    def __post_init__(self) -> None:
        _check_text("id", self.id, ID_BYTES_MAX)
        _check_text("mesh", self.mesh, ID_BYTES_MAX)
        _check_text("host", self.host, 253)
        _check_text("hostname", self.hostname, 253)
        if self.port is not None and not (_is_int(self.port) and 0 <= self.port <= 65535):
            raise ConfigError(f"port = {self.port!r}: expected a number from 0 to 65535, 0 for any that is free")
        for name in ("capabilities", "profiles"):
            _check_names(name, getattr(self, name))
        for seed in self.join:
            parse_address(seed, DEFAULT_PORT)
        if not isinstance(self.mdns, bool):
            raise ConfigError(f"mdns = {self.mdns!r}: expected True or False")

    @classmethod
    def of(cls, config: NodeConfig | None = None, **options: Any) -> NodeConfig:
        """One configuration from another and options that replace its fields.

        Lists become tuples and paths may be strings. Raises :class:`ConfigError` on an unknown option or a wrong value.
        """
        known = cls.__struct_fields__
        for name, value in options.items():
            if name not in known:
                raise ConfigError(f"unknown option {name!r}: expected one of {', '.join(known)}")
            if isinstance(value, list):
                options[name] = tuple(value)
        if isinstance(options.get("data_dir"), str):
            options["data_dir"] = Path(options["data_dir"])
        return msgspec.structs.replace(config or cls(), **options)

    @property
    def bound_host(self) -> str:
        """The host to bind to."""
        if self.host is not None:
            return self.host
        return "::" if self.insecure_lan else "127.0.0.1"


def is_loopback(host: str) -> bool:
    """Whether a literal address, or ``localhost``, is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and math.isfinite(value)


def _check_text(name: str, value: object, bytes_max: int) -> None:
    if value is None:
        return
    try:
        size = len(value.encode()) if isinstance(value, str) else -1
    except UnicodeEncodeError:
        size = -1
    if not 1 <= size <= bytes_max:
        shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}... ({size} bytes)"
        raise ConfigError(f"{name} = {shown}: expected 1 to {bytes_max} bytes of UTF-8")


def _check_names(field: str, names: object) -> None:
    if not isinstance(names, tuple) or len(names) > _NAMES_MAX:
        raise ConfigError(f"{field} = {names!r}: expected a list of at most {_NAMES_MAX} strings")
    for name in names:
        if not isinstance(name, str) or len(name) > _NAME_CHARACTERS_MAX:
            raise ConfigError(f"{field} holds {name!r}: expected strings of at most {_NAME_CHARACTERS_MAX} characters")
