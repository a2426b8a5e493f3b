"""A wrong option is refused before anything starts, by its name and value, with what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import meshp2p
from meshp2p import ConfigError, HttpLimits, MeshError, NodeConfig, ProtocolConfig

WRONG: dict[str, list[Any]] = {
    "id": ["", "x" * 129, "ü" * 65, "\ud800", 7, b"id"],
    "mesh": ["", "x" * 129, 7, "\udfff"],
    "host": ["", 7, "x" * 254, ("127.0.0.1",)],
    "hostname": ["", 7, "x" * 254, "\ud800"],
    "port": [-1, 65_536, "7700", 7700.0, True, 10**400, [7700]],
    "join": [
        *("127.0.0.1:7700", [7], [None], {"a"}, None),
        *([text] for text in ("", ":7700", "host:", "host:0", "host:65536", "host:x", "[::1", "a b", "\ud800")),
    ],
    "capabilities": ["draw", None, 7, [7], [None], ["\ud800"], ["x" * 1025], ["x"] * 257, ["x" * 1024] * 17],
    "profiles": ["draw", None, 7, [7], [None], ["\ud800"], ["x" * 1025], ["x"] * 257, ["x" * 1024] * 17],
    "mdns": [None, 1, "no"],
    "beacon": [1, "no"],
    "insecure_lan": [None, 1, "yes"],
    "data_dir": ["", 7, b"directory"],
    "durability": ["", "fsync", None, True, ["power"]],
    "allow_hosts": [
        *("board.example", [7], None),
        *(
            [text]
            for text in ("", "*", "a:80", "[::1]", "[::1]:80", "ü", "a b", "http://a", "a/b", ".a", "a..b", "x" * 254)
        ),
    ],
    "allow_origins": [
        *("https://a", [7]),
        *([text] for text in ("", "*", "null", "board.example", "https://", "https://ü", "https://a/b", "https://a?b")),
        ["https://me@a"],
    ],
    "protocol": [None, {}, ProtocolConfig],
    "limits": [None, {}, HttpLimits],
}
CASES = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=lambda value: ascii(value)[:40])
async def test_a_wrong_value_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        async with meshp2p.open_node(in_loop=True, **{"port": 0, "mdns": False, name: value}):
            pytest.fail("it was opened")
    message = str(caught.value)
    assert name in message or (name == "join" and "address" in message)
    assert "expected" in message
    assert "\n" not in message
    assert len(message) < 500
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "ü" * 64),
        ("id", "\0"),
        ("mesh", " "),
        ("port", 0),
        ("port", 65_535),
        ("port", None),
        ("join", ()),
        ("join", ["host", "host:1", "::1", "[::1]:7700", "127.0.0.1:65535"]),
        ("capabilities", ["", "ü" * 1024]),
        ("profiles", ["x"] * 256),
        ("data_dir", None),
        ("data_dir", "relative"),
        ("data_dir", Path("relative")),
        ("allow_hosts", ["board.example", "board.example.", "x_1", "10.0.0.7", "::1", "2001:db8::5"]),
        ("allow_origins", ["https://board.example:8443", "http://[::1]:1/"]),
    ],
)
def test_a_right_value_is_taken(name: str, value: Any) -> None:
    taken = getattr(NodeConfig.of(**{name: value}), name)
    assert taken == (tuple(value) if isinstance(value, list) else Path(value) if value == "relative" else value)


async def test_an_unknown_option_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'prot': .*id, .*port, .*protocol"):
        async with meshp2p.open_node(prot=1):  # type: ignore[call-arg]
            pytest.fail("it was opened")


def test_options_replace_fields_of_a_configuration_and_leave_it_as_it_was() -> None:
    config = NodeConfig(id="a", mesh="m", capabilities=("draw",))
    other = NodeConfig.of(config, id="b", capabilities=["paint"])
    assert (other.id, other.mesh, other.capabilities) == ("b", "m", ("paint",))
    assert (config.id, config.capabilities) == ("a", ("draw",))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("probe_interval", 0),
        ("probe_interval", float("nan")),
        ("probe_interval", float("inf")),
        ("probe_interval", "1"),
        ("probe_timeout", 1.0),
        ("quorum", -1),
        ("packet_bytes_max", 65_507),
    ],
)
def test_a_protocol_number_out_of_range_is_refused_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(MeshError, match=name):
        ProtocolConfig(**{name: value})


def test_a_bound_on_requests_that_would_cut_a_long_poll_is_refused() -> None:
    for seconds in (0.5, 60.0):
        with pytest.raises(ConfigError, match=r"limits\.request_seconds = .* more than 60"):
            NodeConfig(limits=HttpLimits(request_seconds=seconds))
    for allowed in (60.5, None):
        assert NodeConfig(limits=HttpLimits(request_seconds=allowed)).limits.request_seconds == allowed


def test_without_a_key_a_node_is_bound_to_loopback_unless_it_is_told_otherwise() -> None:
    assert NodeConfig().bound_host == "127.0.0.1"
    assert NodeConfig(insecure_lan=True).bound_host == "::"
    assert NodeConfig(insecure_lan=True, host="::1").bound_host == "::1"
