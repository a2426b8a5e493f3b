"""Paths of any bytes: what a file system can have as a name works, and anything else is refused with its reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

import meshp2p
from meshp2p import ConfigError, load_config
from meshp2p.cli import main

QUICK = meshp2p.ProtocolConfig(settle_timeout=0.05)
NAMES = {
    "not UTF-8": b"d\xff\xfe",
    "half a character": "ü".encode()[:1],
    "a query and a fragment": b"a?mode=memory#b",
    "an escape": b"100%41",
    "white space": b" a\tb\nc ",
    "quotes": b"'\"\\",
    "not ASCII": "größe-界".encode(),
    "a tilde": b"~",
}
IMPOSSIBLE = {"a lone surrogate": ("a\ud800b", "surrogates not allowed"), "a null byte": ("a\0b", "null byte")}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_data_directory_may_have_any_name(name: bytes, kind: type[str | Path], tmp_path: Path) -> None:
    directory = kind(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))

    async def live(number: int) -> None:
        async with meshp2p.open_node(in_loop=True, port=0, mdns=False, data_dir=directory, protocol=QUICK) as node:
            await node.send(node.id, number)
            async with node.inbox() as inbox:
                assert [(await anext(inbox)).payload for _ in range(number + 1)] == list(range(number + 1))

    trio.run(live, 0)
    trio.run(live, 1)
    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [name]
    assert (Path(directory) / "messages.sqlite3").exists()


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_configuration_file_may_have_any_name(name: bytes, tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(name)
    file.write_text("data_dir = 'state'\nport = 7705")
    for config in (load_config(file, environment={}), load_config(environment={"MESHP2P_CONFIG": str(file)})):
        assert (config.data_dir, config.port) == (tmp_path / "state", 7705)


@pytest.mark.parametrize(("path", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_can_be_no_path_is_refused(path: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=rf"data_dir = .*{message}"):
        meshp2p.NodeConfig(data_dir=Path(path))
    with pytest.raises(ConfigError, match=rf"data_dir = .*{message}.* comes from MESHP2P_DATA_DIR"):
        load_config(environment={"MESHP2P_DATA_DIR": path})
    with pytest.raises(ConfigError, match=rf"configuration file = .*{message}"):
        load_config(path, environment={})
    with pytest.raises(ConfigError, match=rf"configuration file = .*{message}"):
        load_config(environment={"MESHP2P_CONFIG": path})
    assert main(["up", "--data-dir", path]) != 0
    assert message in capfd.readouterr().err


def test_a_home_that_does_not_exist_is_named() -> None:
    for variables in ({"MESHP2P_DATA_DIR": "~nobody-has-this-name/x"}, {"MESHP2P_CONFIG": "~nobody-has-this-name/x"}):
        with pytest.raises(ConfigError, match="~nobody-has-this-name/x': Could not determine home directory"):
            load_config(environment=variables)
