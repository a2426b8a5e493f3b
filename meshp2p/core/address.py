"""The address of a node: one host and one port number, for both UDP and TCP."""

import ipaddress
from typing import Annotated, Final

import msgspec

from meshp2p.errors import ConfigError

__all__ = ["DEFAULT_PORT", "Address", "parse_address", "parse_endpoint"]

DEFAULT_PORT: Final = 7700


class Address(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A literal IP address (or, before resolution, a host name) and a port number from 0 to 65535."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int) -> Address:
    """Parse ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT`` or a bare IPv6 address.

    A link-local IPv6 address needs its zone, the interface of this machine that leads there: ``[fe80::1%eth0]:7700``.
    Raises :class:`ConfigError` with the text if it is none of these.
    """
    allowed = f"address {text!r}: expected HOST, HOST:PORT or [IPV6]:PORT with a port from 1 to 65535"
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(allowed)
        port_text = rest[1:]
        if rest == ":" or not _is_ipv6(host):
            raise ConfigError(allowed)
    elif _is_ipv6(text):
        pass
    elif ":" in text:
        host, _, port_text = text.rpartition(":")
        if not port_text or ":" in host:
            raise ConfigError(allowed)
    if _is_ipv6(host) and "%" not in host and ipaddress.IPv6Address(host).is_link_local:
        raise ConfigError(
            f"address {text!r}: a link-local IPv6 address needs the interface of this machine that leads there, such as"
            f" [{host}%eth0]:{port_text or default_port}"
        )
    if not host or any(character.isspace() or character in "/[]@" for character in host) or len(host) > 253:
        raise ConfigError(allowed)
    if not port_text:
        return Address(host, default_port)
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= 5 and 1 <= int(port_text) <= 65535):
        raise ConfigError(allowed)
    return Address(host, int(port_text))


def parse_endpoint(text: str) -> Address:
    """Parse an address as :func:`parse_address` does, with the default port 7700, or the URL of a node,
    ``http://HOST:PORT``.

    Raises :class:`ConfigError` with the text if it is neither.
    """
    scheme, is_url, rest = text.partition("://")
    if not is_url:
        return parse_address(text, DEFAULT_PORT)
    try:
        if scheme.lower() != "http":
            raise ConfigError("it is no URL with http://")
        return parse_address(rest.removesuffix("/"), DEFAULT_PORT)
    except ConfigError:
        raise ConfigError(f"URL {text!r}: expected http://HOST:PORT, without a path, or HOST:PORT") from None


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
