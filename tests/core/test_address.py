"""How an address is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.core.address import Address, parse_address
from meshp2p.errors import ConfigError

hosts = st.one_of(
    st.ip_addresses().filter(lambda address: address.version == 4 or not address.is_link_local).map(str),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,10}){0,2}", fullmatch=True),
)


@given(hosts, st.integers(1, 65535))
def test_what_an_address_is_written_as_is_read_as_that_address(host: str, port: int) -> None:
    address = Address(host, port)
    assert parse_address(str(address), 1) == address


@given(hosts, st.integers(1, 65535))
def test_without_a_port_the_default_is_taken(host: str, port: int) -> None:
    assert parse_address(host, port) == Address(host, port)


@given(st.text(max_size=30))
def test_any_other_text_is_refused_by_one_error_that_names_it(text: str) -> None:
    refusals: list[str] = []
    try:
        assert parse_address(str(parse_address(text, 7700)), 1) == parse_address(text, 7700)
    except ConfigError as error:
        refusals.append(str(error))
    assert all(repr(text) in refusal for refusal in refusals)


@pytest.mark.parametrize(
    "text",
    ["", ":7700", "host:", "host:0", "host:65536", "host:7x", "host:+1", "host:٣", "a:b:1", "[::1", "[::1]x", "[::1]:",
     "[host]:1", "a b", "a/b", "[]:1", "x" * 254, "host:000001"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        parse_address(text, 7700)


@pytest.mark.parametrize("text", ["[fe80::1%eth0]:7700", "fe80::1%eth0", "[fe80::1%2]"])
def test_a_link_local_address_is_read_with_its_zone(text: str) -> None:
    assert parse_address(text, 7700) == Address(text.strip("[]").partition("]")[0], 7700)


@pytest.mark.parametrize("text", ["[fe80::1]:7701", "fe80::1", "[fe80::1]", "[febf::1]:7701"])
def test_a_link_local_address_without_its_zone_is_refused_with_one_that_has_it(text: str) -> None:
    with pytest.raises(ConfigError, match="needs the interface of this machine") as caught:
        parse_address(text, 7700)
    suggestion = str(caught.value).rpartition(" ")[2]
    assert parse_address(suggestion, 1).port == (7701 if "7701" in text else 7700)


def test_addresses_have_an_order() -> None:
    assert sorted([Address("b", 1), Address("a", 2), Address("a", 1)])[0] == Address("a", 1)
