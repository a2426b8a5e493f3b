"""A configuration: arguments before the environment before a file before a preset, and an error says from which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import meshp2p
from meshp2p import ConfigError, HttpLimits, NodeConfig, ProtocolConfig, load_config
from meshp2p.cli import main
from meshp2p.core.presets import PRESETS
from meshp2p.node.settings import variable_of
from meshp2p.testing import VirtualMesh, run

FILE = """
preset = "wan"
id = "from-the-file"
port = 7701
capabilities = ["paint", "draw, too"]
data_dir = "state"

[protocol]
quorum = 3
probe_interval = 4

[limits]
connections_max = 512
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(FILE)
    return path


def load(file: Path | None = None, /, environment: dict[str, str] | None = None, **options: Any) -> NodeConfig:
    return load_config(file, environment=environment or {}, **options)


def test_nothing_given_is_the_defaults() -> None:
    assert load() == NodeConfig() == load(preset="lan")


def test_a_file_gives_values_of_every_group(file: Path) -> None:
    config = load(file)
    assert (config.id, config.port, config.capabilities) == ("from-the-file", 7701, ("paint", "draw, too"))
    assert config.data_dir == file.parent / "state"
    assert (config.protocol.quorum, config.protocol.probe_interval, config.protocol.probe_timeout) == (3, 4, 1.5)
    assert config.limits == HttpLimits(connections_max=512)
    assert not config.mdns


def test_of_those_that_give_a_value_the_first_wins(file: Path) -> None:
    environment = {
        "MESHP2P_CONFIG": str(file),
        "MESHP2P_PORT": "7702",
        "MESHP2P_MESH": "studio",
        "MESHP2P_MDNS": "TRUE",
        "MESHP2P_JOIN": "a:1, b:2,",
        "MESHP2P_DATA_DIR": "elsewhere",
        "MESHP2P_DURABILITY": "power",
        "MESHP2P_PROTOCOL_QUORUM": "5",
        "MESHP2P_LIMITS_REQUEST_SECONDS": "90.5",
        "MESHP2P_HOST": "",
        "PATH": "/bin",
    }
    config = load(None, environment, mesh="given")
    assert (config.mesh, config.port, config.id, config.host) == ("given", 7702, "from-the-file", None)
    assert (config.join, config.data_dir, config.durability) == (("a:1", "b:2"), Path("elsewhere"), "power")
    assert (config.protocol.quorum, config.protocol.probe_interval) == (5, 4)
    assert config.limits == HttpLimits(connections_max=512, request_seconds=90.5)
    assert config.mdns  # which the preset says no to
    assert load(None, {**environment, "MESHP2P_PRESET": "local"}).protocol.gossip_interval == 0.1
    assert load(None, environment, preset="local").protocol.gossip_interval == 0.1


def test_a_protocol_that_is_an_argument_is_taken_as_a_whole(file: Path) -> None:
    given = ProtocolConfig(quorum=7)
    assert load(file, {"MESHP2P_PROTOCOL_PROBE_INTERVAL": "9"}, protocol=given).protocol == given


def test_every_key_has_one_variable() -> None:
    keys = [*NodeConfig.__struct_fields__, "config", "preset"]
    keys += [f"protocol.{name}" for name in ProtocolConfig.__struct_fields__]
    keys += [f"limits.{name}" for name in HttpLimits.__struct_fields__]
    assert len({variable_of(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_differs_from_the_defaults_in_what_it_lists_and_in_nothing_else(preset: Any) -> None:
    config, default = load(preset=preset.name), NodeConfig()
    changed = {name for name in config.__struct_fields__ if getattr(config, name) != getattr(default, name)}
    protocol = ProtocolConfig.__struct_fields__
    changed |= {f"protocol.{n}" for n in protocol if getattr(config.protocol, n) != getattr(default.protocol, n)}
    assert changed - {"protocol"} == {choice.key for choice in preset.choices}
    for choice in preset.choices:
        group, _, name = choice.key.rpartition(".")
        assert getattr(getattr(config, group) if group else config, name) == choice.value


WRONG = [
    ({"MESHP2P_PORT": "x"}, "MESHP2P_PORT = 'x': expected a whole number"),
    ({"MESHP2P_PORT": "9" * 5000}, "MESHP2P_PORT = '999"),
    ({"MESHP2P_MDNS": "maybe"}, "MESHP2P_MDNS = 'maybe': expected true or false"),
    ({"MESHP2P_PROTOCOL_CALL_TIMEOUT": "2 s"}, "MESHP2P_PROTOCOL_CALL_TIMEOUT = '2 s': expected a number"),
    ({"MESHP2P_PORT": "70000"}, "port = 70000: expected a number from 0 to 65535.*; port comes from MESHP2P_PORT"),
    ({"MESHP2P_DURABILITY": "fsync"}, "durability = 'fsync': expected 'process' .*comes from MESHP2P_DURABILITY"),
    ({"MESHP2P_JOIN": "a,b:x"}, r"join\[1\]: address 'b:x': expected .*; join comes from MESHP2P_JOIN"),
    ({"MESHP2P_PRESET": "lam"}, "preset = 'lam': expected one of 'lan', .*; preset comes from MESHP2P_PRESET"),
    ({"MESHP2P_CONFIG": "/nowhere/a.toml"}, "file '/nowhere/a.toml': No such file or directory"),
    (
        {"MESHP2P_PROTOCOL_PROBE_TIMEOUT": "2", "MESHP2P_PROTOCOL_PROBE_INTERVAL": "1.5"},
        r"protocol\.probe_timeout = 2.0: .*probe_timeout comes from MESHP2P_PROTOCOL_PROBE_TIMEOUT; .*INTERVAL",
    ),
    ({"MESHP2P_LIMITS_REQUEST_SECONDS": "5"}, r"limits\.request_seconds = 5.0: .*comes from MESHP2P_LIMITS_REQ"),
]


@pytest.mark.parametrize(("environment", "message"), WRONG, ids=lambda value: ascii(value)[:40])
def test_a_wrong_variable_is_named_with_its_value_and_what_is_allowed(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(None, environment)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("MESHP2P_PROT", "unknown environment variable MESHP2P_PROT: did you mean 'MESHP2P_PORT'"),
        ("MESHP2P_CAPABILITY", "MESHP2P_CAPABILITY: did you mean 'MESHP2P_CAPABILITIES'"),
    ],
)
def test_an_unknown_variable_is_an_error_if_strict_and_else_a_warning_given_once(
    variable: str, message: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshp2p.node.settings._warned", set())
    with pytest.raises(ConfigError, match=message):
        load(None, {variable: "1"}, is_strict=True)
    for _ in range(2):
        assert load(None, {variable: "1"}) == NodeConfig()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert message in caplog.text


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MESHP2P_SERVICE_HOST", "10.96.0.17"),
        ("MESHP2P_SERVICE_PORT", "7700"),
        ("MESHP2P_SERVICE_PORT_HTTP", "7700"),
        ("MESHP2P_PORT", "tcp://10.96.0.17:7700"),
        ("MESHP2P_PORT_7700_TCP", "tcp://10.96.0.17:7700"),
        ("MESHP2P_PORT_7700_TCP_PORT", "7700"),
        ("MESHP2P_PORT_7699_UDP_ADDR", "10.96.0.17"),
        ("MESHP2P_WEST_1_SERVICE_HOST", "10.96.0.18"),
        ("MESHP2P_WEST_1_PORT", "UDP://10.96.0.18:7700"),
        ("MESHP2P_WEST_1_PORT_7700_TCP_PROTO", "tcp"),
    ],
)
def test_variables_of_a_service_are_ignored(variable: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert load(None, {variable: text}, is_strict=True) == NodeConfig()
    assert not caplog.records


def test_a_tilde_in_a_path_is_the_home_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = file.parent
    monkeypatch.setenv("HOME", str(home))
    assert load(None, {"MESHP2P_DATA_DIR": "~/state"}).data_dir == home / "state"
    assert load(None, {"MESHP2P_CONFIG": f"~/{file.name}"}).port == 7701
    file.write_text("data_dir = '~/elsewhere'")
    assert load(file).data_dir == home / "elsewhere"


def test_a_file_may_begin_with_a_byte_order_mark(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    assert load(file).port == 7701


WRONG_FILES = [
    ("port = 'x'", "port = 'x': expected a number from 0 .*; port comes from '.*agent.toml'"),
    ("quorum = 3", r"unknown key 'quorum' in '.*agent.toml': did you mean 'protocol.quorum'"),
    ("capabilites = []", "unknown key 'capabilites' .* did you mean 'capabilities'"),
    ("[protocol]\nprobe_intervall = 1", r"unknown key 'protocol.probe_intervall' .* mean 'protocol.probe_interval'"),
    ("[protocol]\nquorum = 1.5", r"protocol.quorum = 1.5: expected a whole number .* comes from '.*agent.toml'"),
    ("[limits]\nconnections_max = '7'", r"limits.connections_max = '7': expected a whole number .*agent.toml'"),
    ("[limits]\ngrace_seconds = nan", r"limits.grace_seconds = nan: expected a number from 0; .*agent.toml'"),
    ("protocol = 3", r"protocol = 3 in '.*agent.toml': expected a table, \[protocol\]"),
    ("join = 'a'", "join = 'a': expected a list .*; join comes from '.*agent.toml'"),
    ("data_dir = 7", "data_dir = 7: expected a path; data_dir comes from '.*agent.toml'"),
    ("preset = 3", "preset = 3: expected one of .*; preset comes from '.*agent.toml'"),
    ("port = 1\nport = = 2", "agent.toml' is not TOML in UTF-8: .*line 2"),
    ("x = " + "[" * 5000, "agent.toml' is not TOML in UTF-8"),
    (b"\xff", "agent.toml' is not TOML in UTF-8"),
]


@pytest.mark.parametrize(("content", "message"), WRONG_FILES, ids=lambda value: ascii(value)[:40])
def test_a_wrong_file_is_named_with_the_key_and_what_is_allowed(file: Path, content: str | bytes, message: str) -> None:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=message) as caught:
        load(file)
    assert "\n" not in str(caught.value)


def test_a_wrong_argument_is_refused_whatever_the_file_says(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"port = -1: expected .*; port comes from an argument"):
        load(file, port=-1)
    with pytest.raises(ConfigError, match="unknown option 'capability': did you mean 'capabilities'"):
        load(file, capability="paint")
    with pytest.raises(ConfigError, match=r"protocol = {}: expected a ProtocolConfig"):
        load(file, protocol={})


async def test_a_node_is_opened_by_the_environment_and_a_configuration_is_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meshp2p.toml").write_text("port = 'never read unless it is named'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MESHP2P_ID", "from-the-environment")
    monkeypatch.setenv("MESHP2P_PRESET", "local")
    async with meshp2p.open_node(in_loop=True, port=0, mdns=False) as node:
        assert (node.id, node.config.host) == ("from-the-environment", "127.0.0.1")
    async with meshp2p.open_node(NodeConfig(id="given"), port=0, mdns=False) as node:
        assert (node.id, node.config.host) == ("given", None)
    with pytest.raises(ConfigError, match="preset = 'wan': expected none with a configuration"):
        async with meshp2p.open_node(NodeConfig(), preset="wan"):
            pytest.fail("it was opened")
    monkeypatch.setenv("MESHP2P_CONFIG", "meshp2p.toml")
    with pytest.raises(ConfigError, match=r"port comes from 'meshp2p.toml'"):
        async with meshp2p.open_node():
            pytest.fail("it was opened")


def test_a_virtual_mesh_does_not_ask_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, _b = await mesh.start("a", "b", protocol=ProtocolConfig(quorum=2))
        async with mesh.node("c") as c:
            assert (a.config.mesh, c.config.mesh) == ("default", "default")

    monkeypatch.setenv("MESHP2P_MESH", "other")
    run(main)


def test_the_command_line_takes_a_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("port = 70000")
    assert main(["up", "--config", str(file)]) == 2
    assert f"port = 70000: expected a number from 0 to 65535, 0 for any that is free; port comes from '{file}'" in (
        capsys.readouterr().err
    )
    assert main(["up", "--preset", "moon"]) == 2
    assert "preset = 'moon': expected one of 'lan', 'local', 'wan'" in capsys.readouterr().err
