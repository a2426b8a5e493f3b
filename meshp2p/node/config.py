"""The configuration of a node."""

from __future__ import annotations

import functools
import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import urlsplit

import msgspec

from meshp2p.core.address import DEFAULT_PORT, parse_endpoint
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.record import ID_BYTES_MAX, NAMES_MAX, SHORT_MAX
from meshp2p.core.validity import check_short
from meshp2p.errors import ConfigError
from meshp2p.http.limits import HttpLimits
from meshp2p.store.messages import Durability
from meshp2p.wire.contract import WAIT_SECONDS_MAX

__all__ = ["DEFAULT_MESH", "DEFAULT_PORT", "NodeConfig", "check_name", "check_path", "is_loopback"]

DEFAULT_MESH: Final = "default"

_NAMES_BYTES_MAX: Final = 16 * 1024  # of capabilities and profiles, which every node stores: chosen, not measured
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_KINDS: Final[tuple[tuple[str, Any, str], ...]] = (
    ("mdns", bool, "True or False"),
    ("beacon", bool | None, "True, False or None"),
    ("insecure_lan", bool, "True or False"),
    ("require_token", bool, "True or False"),
    ("tracing", bool, "True or False"),
    ("credentials", Path | bytes | None, "a path or bytes"),
    ("data_dir", Path | None, "a path"),
    ("protocol", ProtocolConfig, "a ProtocolConfig"),
    ("limits", HttpLimits, "an HttpLimits"),
)


class _Secret(bytes):
    """Bytes that are not shown with the configuration."""

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a node. Every field has a default. An invalid value raises :class:`ConfigError`, which names
    it, before anything starts."""

    id: str | None = None
    """1 to 128 bytes of UTF-8. None generates ``~{uuid7}-{hostname}``. Generated ids sort by age, after ids that begin
    with an ASCII letter or digit. With a ``data_dir`` the id is kept."""

    host: str | None = None
    """The address to bind to. None is all addresses in a secured mesh. In an open one it is loopback, or all addresses
    with ``insecure_lan``."""

    port: int | None = None
    """The port number for both UDP and TCP. None uses 7700, or any free port if 7700 is taken; 0 uses any free port."""

    mesh: str | None = None
    """The name of the mesh. Nodes of different meshes ignore each other. None is the one secured mesh that this user
    joined, or the open mesh ``"default"`` if the user joined none."""

    credentials: Path | bytes | None = None
    """The credential of a secured mesh, instead of the one that this user got by ``meshp2p join``: the path of the file
    that ``meshp2p join --export`` wrote, or its content, or the directory of a mesh."""

    join: tuple[str, ...] = ()
    """Seeds: ``HOST:PORT`` or URLs of nodes. They are tried for ever, and names are resolved again each time."""

    mdns: bool = True
    """Whether to announce this node and find others by mDNS."""

    beacon: bool | None = None
    """Whether to find other nodes by the UDP beacon (port 7699). None follows ``mdns``, so that ``mdns=False`` alone
    disables both."""

    capabilities: tuple[str, ...] = ()
    """The capabilities of the agent, by which others find it."""

    profiles: tuple[str, ...] = ()
    """The agent profiles that run here."""

    data_dir: Path | None = None
    """The directory in which the node stores its identity, known peers, and messages. None stores nothing."""

    durability: Durability = "process"
    """What an accepted message survives, with a ``data_dir``. ``"process"``: any end of this process. ``"power"``: also
    a power failure; each acceptance then waits until the disk has synced."""

    insecure_lan: bool = False
    """Whether to bind to all addresses in an open mesh if ``host`` is not set, so that the LAN reaches the node."""

    hostname: str | None = None
    """The host name that the registry shows. None is the name of this machine."""

    allow_hosts: tuple[str, ...] = ()
    """Further names and addresses, without a port, that callers may use in ``Host``, such as those of a proxy or of
    DNS."""

    allow_origins: tuple[str, ...] = ()
    """Web origins (``https://board.example``) whose pages may call this node."""

    require_token: bool = False
    """In a secured mesh: whether programs on this machine need a token or a client certificate to call the HTTP API, as
    others do. Set it if a proxy on this machine passes on requests of others."""

    tracing: bool = False
    """Whether to record OpenTelemetry spans of what the agent sends, asks, delegates and handles. It needs ``pip
    install meshp2p[otel]``."""

    protocol: ProtocolConfig = ProtocolConfig()
    limits: HttpLimits = HttpLimits()

    def __post_init__(self) -> None:
        _check_text("id", self.id, ID_BYTES_MAX)
        _check_text("mesh", self.mesh, ID_BYTES_MAX)
        _check_text("host", self.host, 253)
        _check_text("hostname", self.hostname, 253)
        if self.port is not None and not (_is_int(self.port) and 0 <= self.port <= 65535):
            raise ConfigError(f"port = {self.port!r}: expected a number from 0 to 65535, 0 for any that is free")
        for name in ("capabilities", "profiles", "join", "allow_hosts", "allow_origins"):
            _check_names(name, getattr(self, name))
        size = sum(len(name.encode()) for name in (*self.capabilities, *self.profiles))
        if size > _NAMES_BYTES_MAX:
            raise ConfigError(f"capabilities and profiles have {size} bytes: expected at most {_NAMES_BYTES_MAX}")
        for index, seed in enumerate(self.join):
            try:
                parse_endpoint(seed)
            except ConfigError as error:
                raise ConfigError(f"join[{index}]: {error}") from None
        for host in self.allow_hosts:
            _check_host(host)
        for origin in self.allow_origins:
            _check_origin(origin)
        for name, kind, expected in _KINDS:
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ConfigError(f"{name} = {value!r}: expected {expected}")
        for name in ("data_dir", "credentials"):
            if isinstance(path := getattr(self, name), Path):
                check_path(name, path)
        if self.durability not in get_args(Durability):
            raise ConfigError(f"durability = {_show(self.durability)}: expected 'process' or 'power'")
        request_seconds = self.limits.request_seconds
        if request_seconds is not None and request_seconds <= WAIT_SECONDS_MAX:
            raise ConfigError(
                f"limits.request_seconds = {request_seconds!r}: expected more than {WAIT_SECONDS_MAX:g}, the longest"
                " wait for a message, or None"
            )

    @classmethod
    def of(cls, config: NodeConfig | None = None, **options: Any) -> NodeConfig:
        """Return a configuration with some fields replaced.

        Lists become tuples and paths may be strings. Raises :class:`ConfigError` on an unknown option or an invalid
        value.
        """
        known = cls.__struct_fields__
        for name, value in options.items():
            if name not in known:
                raise ConfigError(f"unknown option {name!r}: expected one of {', '.join(known)}")
            if isinstance(value, list):
                options[name] = tuple(value)
        for name in ("data_dir", "credentials"):
            path = options.get(name)
            if path in ("", b""):
                raise ConfigError(f"{name} = {path!r}: expected a path")
            if isinstance(path, (str, os.PathLike)):
                options[name] = Path(path)
            elif isinstance(path, bytes):
                options[name] = _Secret(path)
        return msgspec.structs.replace(config or cls(), **options)

    @property
    def mesh_name(self) -> str:
        """The name of the mesh, ``default`` if none was named or chosen."""
        return DEFAULT_MESH if self.mesh is None else self.mesh

    @property
    def bound_host(self) -> str:
        """The host to bind to in an open mesh."""
        if self.host is not None:
            return self.host
        return "::" if self.insecure_lan else "127.0.0.1"

    @property
    def has_beacon(self) -> bool:
        """Whether the node uses the beacon."""
        return self.mdns if self.beacon is None else self.beacon


@functools.lru_cache(maxsize=1024)  # a node asks this about each member every second
def is_loopback(host: str) -> bool:
    """Return whether a literal address, or ``localhost``, can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_text(name: str, value: object, bytes_max: int) -> None:
    if value is None:
        return
    size = len(value.encode()) if isinstance(value, str) and _is_utf8(value) else -1
    if not 1 <= size <= bytes_max:
        raise ConfigError(f"{name} = {_show(value)}: expected 1 to {bytes_max} bytes of UTF-8")


def _check_names(field: str, names: object) -> None:
    if not isinstance(names, tuple) or len(names) > NAMES_MAX:
        raise ConfigError(f"{field} = {_show(names)}: expected a list of at most {NAMES_MAX} strings")
    for index, name in enumerate(names):
        check_name(f"{field}[{index}]", name)


def check_name(field: str, name: object) -> None:
    """Raise :class:`ConfigError` if ``name`` cannot be part of a record. Other nodes refuse a whole packet for an
    invalid name."""
    if not isinstance(name, str):
        raise ConfigError(f"{field} = {_show(name)}: expected a string of at most {SHORT_MAX} characters")
    check_short(field, name)


def check_path(field: str, path: str | os.PathLike[str]) -> None:
    """Raise :class:`ConfigError` if no file system allows this path.

    A path need not be UTF-8: Python represents its other bytes as surrogates (PEP 383).
    """
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ConfigError(f"{field} = {_show(str(path))}: {error.reason}; expected a path") from None
    if b"\0" in encoded:
        raise ConfigError(f"{field} = {_show(str(path))}: expected a path, which has no null byte")


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if len(host) > 253 or _HOST_NAME.fullmatch(host) is None:
            raise ConfigError(
                f"allow_hosts holds {_show(host)}: expected a name or an address without a port, in ASCII"
            ) from None


def _check_origin(origin: str) -> None:
    try:
        parts = urlsplit(origin)
        is_right = (
            origin.isascii() and bool(parts.hostname) and f"{parts.scheme}://{parts.netloc}" == origin.rstrip("/")
        )
    except ValueError:
        is_right = False
    if not is_right or "@" in origin:
        raise ConfigError(f"allow_origins holds {origin!r}: expected one such as https://board.example:8443, in ASCII")


def _is_utf8(text: str) -> bool:
    """Return whether the text has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _show(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."
