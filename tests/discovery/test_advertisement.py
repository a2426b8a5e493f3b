"""What strangers announce, and what is believed of it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.address import Address
from meshp2p.discovery.advertisement import NAME_BYTES_MAX, Advertisement, parse_service_untrusted
from meshp2p.discovery.responder import make_service
from meshp2p.discovery.source import ADDRESSES_MAX, Sighting
from meshp2p.errors import Refusal, RemoteProtocolError

PROPERTIES: dict[bytes, bytes | None] = {b"id": b"agent-7", b"mesh": b"lab", b"v": b"1", b"port": b"7700"}

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32)
hosts = st.integers(1, 223).filter(lambda first: first != 127).map(lambda first: f"{first}.2.3.4") | st.integers(
    1, 2**64
).map(lambda low: str(ipaddress.IPv6Address((0xFD << 120) + low)))


def parse(
    properties: dict[bytes, bytes | None] | None = None,
    hosts: tuple[str, ...] = ("192.0.2.7",),
    port: int | None = 7700,
    *,
    may_be_loopback: bool = False,
) -> Advertisement:
    return parse_service_untrusted(PROPERTIES | (properties or {}), hosts, port, may_be_loopback=may_be_loopback)


def test_an_advertisement_becomes_a_sighting_of_its_id_and_all_its_addresses() -> None:
    seen = parse(hosts=("192.0.2.7", "fd00::7"))
    assert seen == Advertisement("lab", "agent-7", 1, (Address("192.0.2.7", 7700), Address("fd00::7", 7700)))
    assert seen.to_sighting() == Sighting("mdns", seen.addresses, "agent-7")


@given(
    mesh=names,
    instance_id=names,
    version=st.integers(0, 65535),
    hosts=st.lists(hosts, min_size=1, max_size=ADDRESSES_MAX, unique=True),
    port=st.integers(1, 65535),
)
def test_what_one_node_announces_another_reads(
    mesh: str, instance_id: str, version: int, hosts: list[str], port: int
) -> None:
    own = Advertisement(mesh, instance_id, version, tuple(Address(host, port) for host in hosts))
    service = make_service(own)
    assert len(service.name.partition(".")[0]) <= 63
    seen = parse_service_untrusted(service.properties, service.parsed_addresses(), service.port, may_be_loopback=False)
    assert (seen.mesh, seen.instance_id, seen.version) == (mesh, instance_id, version)
    assert sorted(seen.addresses) == sorted(own.addresses)


def test_the_longest_names_fit() -> None:
    own = Advertisement("m" * NAME_BYTES_MAX, "é" * (NAME_BYTES_MAX // 2), 1, (Address("192.0.2.7", 7700),))
    properties = make_service(own).properties
    assert parse(properties).instance_id == own.instance_id
    assert parse(properties).mesh == own.mesh


def test_two_nodes_that_hold_one_id_have_two_labels_and_a_restart_keeps_its_own() -> None:
    here = Advertisement("lab", "agent-7", 1, (Address("192.0.2.7", 7700),))
    there = Advertisement("lab", "agent-7", 1, (Address("192.0.2.8", 7700),))
    assert make_service(here).name != make_service(there).name
    assert make_service(here).server != make_service(there).server
    assert make_service(here).name == make_service(here).name
    assert make_service(here).properties[b"run"] != make_service(here).properties[b"run"]


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({b"id": None}, Refusal.BAD_VALUE),
        ({b"id": b""}, Refusal.BAD_VALUE),
        ({b"id": b"x" * 129}, Refusal.BAD_VALUE),
        ({b"id": b"\xff\xfe"}, Refusal.BAD_ENCODING),
        ({b"id": b"\xed\xa0\x80"}, Refusal.BAD_ENCODING),
        ({b"mesh": None}, Refusal.BAD_VALUE),
        ({b"mesh": b"x" * 129}, Refusal.BAD_VALUE),
        ({b"v": None}, Refusal.BAD_VERSION),
        ({b"v": b"-1"}, Refusal.BAD_VERSION),
        ({b"v": "²".encode()}, Refusal.BAD_VERSION),
        ({b"v": b"9" * 5000}, Refusal.BAD_VERSION),
    ],
)
def test_names_and_versions_that_are_none_are_refused(properties: dict[bytes, bytes | None], reason: Refusal) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(properties)
    assert caught.value.reason == reason


@pytest.mark.parametrize("port", [None, -1, 0, 65536])
def test_a_port_that_is_none_is_refused(port: int | None) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(port=port)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "224.0.0.251", "255.255.255.255", "::", "ff02::fb", "fe80::1", "::ffff:192.0.2.7", "127.0.0.1", "::1"],
)
def test_an_address_that_nobody_can_be_called_at_is_left_out(host: str) -> None:
    assert parse(hosts=(host, "192.0.2.7")).addresses == (Address("192.0.2.7", 7700),)
    with pytest.raises(RemoteProtocolError):
        parse(hosts=(host,))


def test_loopback_is_believed_only_by_who_listens_on_loopback() -> None:
    assert parse(hosts=("127.0.0.1",), may_be_loopback=True).addresses == (Address("127.0.0.1", 7700),)
    assert parse(hosts=("::1",), may_be_loopback=True).addresses == (Address("::1", 7700),)


def test_of_many_addresses_the_first_ones_count_and_each_once() -> None:
    many = tuple(f"192.0.2.{n // 2}" for n in range(2, 200))
    assert parse(hosts=many).addresses == tuple(Address(f"192.0.2.{n}", 7700) for n in range(1, ADDRESSES_MAX + 1))


@given(
    properties=st.dictionaries(
        st.sampled_from([b"id", b"mesh", b"v", b"port", b"run", b"?"]), st.none() | st.binary(max_size=255)
    ),
    hosts=st.lists(st.ip_addresses().map(str), max_size=40),
    port=st.none() | st.integers(-1, 70000),
    may_be_loopback=st.booleans(),
)
def test_whatever_is_sent_is_read_within_bounds_or_refused(
    properties: dict[bytes, bytes | None], hosts: list[str], port: int | None, may_be_loopback: bool
) -> None:
    try:
        seen = parse_service_untrusted(properties, hosts, port, may_be_loopback=may_be_loopback)
    except RemoteProtocolError:
        return
    assert 1 <= len(seen.addresses) <= ADDRESSES_MAX
    assert 1 <= len(seen.instance_id.encode()) <= NAME_BYTES_MAX
    assert all(1 <= address.port <= 65535 for address in seen.addresses)
