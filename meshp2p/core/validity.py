"""The validity of records, rumours and their fields: the same check for every input.

Data from a peer's packets and calls, an agent's registration and heartbeat, and a node's own configuration reaches
every node. If one node accepts it and another refuses it, the second does not see the first. Whether a valid claim is
believed is another question: :func:`~meshp2p.core.record.is_sound`.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import Final

from meshp2p.core.address import Address
from meshp2p.core.plain_json import NotPlainJson, check_plain_json
from meshp2p.core.record import ADDRESSES_MAX, COUNTER_MAX, ID_BYTES_MAX, NAMES_MAX, SHORT_MAX, Item, Record, State
from meshp2p.errors import ConfigError

__all__ = [
    "METRICS_BYTES_MAX",
    "METRICS_DEPTH_MAX",
    "TIME_MAX",
    "check_addresses",
    "check_bytes",
    "check_id",
    "check_ids",
    "check_item",
    "check_metrics",
    "check_short",
]

METRICS_BYTES_MAX: Final = 16 * 1024
"""The most that metrics may have as JSON text, whatever a node's ``metrics_bytes_max`` says."""

METRICS_DEPTH_MAX: Final = 32
"""Levels of nesting in metrics: all decoders read as many, however deep their own stack is. Chosen, not measured."""

TIME_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: what comes after it cannot be written as RFC 3339."""

_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


def check_item(item: Item) -> None:
    """Raise :class:`ConfigError` unless every node accepts this record or rumour."""
    check_id(item.id)
    _check_counter(item.id, "incarnation", item.incarnation)
    if not isinstance(item, Record):
        check_bytes("by", item.by)
        if item.state is State.ALIVE:
            raise ConfigError(f"rumour that {item.id!r} is alive: only its record says so")
        return
    check_id(item.home)
    check_addresses(item.addresses)
    if not item.is_live:
        raise ConfigError(f"record of {item.id!r} as {item.state.name.lower()}: only a rumour says so")
    if item.is_node != bool(item.addresses):
        raise ConfigError(f"record of {item.id!r}: a node has addresses and a hosted instance has none")
    if max(item.created_at, item.epoch_since) > TIME_MAX:
        raise ConfigError(f"record of {item.id!r}: a time is after the year 9999")
    _check_counter(item.id, "boot", item.boot)
    _check_counter(item.id, "epoch", item.epoch)
    if not 0 <= item.port <= 65535:
        raise ConfigError(f"port {item.port} of {item.id!r}: expected 0 to 65535")
    check_short("hostname", item.hostname)
    check_short("status", item.status)
    if max(len(item.capabilities), len(item.profiles)) > NAMES_MAX or len(item.addresses) > ADDRESSES_MAX:
        raise ConfigError(
            f"record of {item.id!r}: at most {NAMES_MAX} capabilities, as many profiles, and {ADDRESSES_MAX} addresses"
        )
    for name in (*item.capabilities, *item.profiles):
        check_short("name", name)
    check_metrics(item.metrics)


def check_metrics(metrics: str) -> None:
    """Raise :class:`ConfigError` unless this is a JSON object as text, which every client can read, or empty: none."""
    if not metrics:
        return
    text = _encode("metrics", metrics)
    if len(text) > METRICS_BYTES_MAX:
        raise ConfigError(f"metrics of {len(text)} bytes: expected at most {METRICS_BYTES_MAX}")
    try:
        check_plain_json(text, METRICS_DEPTH_MAX)
    except NotPlainJson as error:
        raise ConfigError(f"the text of metrics {error}: expected a JSON object") from None
    if not text.lstrip(b" \t\n\r").startswith(b"{"):
        raise ConfigError(f"metrics {metrics[:80]!r}: expected a JSON object")


def check_ids(instance_ids: Iterable[str]) -> None:
    for instance_id in instance_ids:
        check_id(instance_id)


def check_id(instance_id: str) -> None:
    """Raise :class:`ConfigError` unless it has 1 to ``ID_BYTES_MAX`` bytes of UTF-8."""
    if not instance_id:
        raise ConfigError("an id is empty: expected 1 byte or more")
    check_bytes("id", instance_id)


def check_bytes(what: str, text: str) -> None:
    """Raise :class:`ConfigError` for more than ``ID_BYTES_MAX`` bytes of UTF-8, and for what has no form in it."""
    if text.isascii() and len(text) <= ID_BYTES_MAX:
        return
    if (size := len(_encode(what, text))) > ID_BYTES_MAX:
        raise ConfigError(f"{what} of {size} bytes: expected at most {ID_BYTES_MAX}")


def check_short(what: str, text: str) -> None:
    """Raise :class:`ConfigError` for more than ``SHORT_MAX`` characters, and for what has no form in UTF-8."""
    if len(text) > SHORT_MAX:
        raise ConfigError(f"{what} of {len(text)} characters: expected at most {SHORT_MAX}")
    if not text.isascii():
        _encode(what, text)


def check_addresses(addresses: Iterable[Address]) -> None:
    """Raise :class:`ConfigError` unless each is a literal address of one host: nobody can make a node look up names."""
    for address in addresses:
        if not 0 < address.port <= 65535 or not _is_one_host(address.host):
            raise ConfigError(f"address {str(address)!r}: expected a literal IP address of one host, and a port")


def _check_counter(instance_id: str, what: str, value: int) -> None:
    if not 0 <= value <= COUNTER_MAX:
        raise ConfigError(f"{what} {value} of {instance_id!r}: expected 0 to 2^63 - 1")


def _encode(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{what} = {text[:80]!r}: expected text without lone surrogates, which have no form in UTF-8"
        ) from None


@functools.lru_cache(maxsize=4096)
def _is_one_host(host: str) -> bool:
    """Whether this is a literal address that leads to one host, and to the same one whoever uses it: no zone (``%``),
    no multicast, no broadcast."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        address = address.ipv4_mapped or address
    return not (address.is_multicast or address.is_unspecified or address == _BROADCAST)
