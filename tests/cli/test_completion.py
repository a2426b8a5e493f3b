"""``meshp2p completion``: what the scripts complete. That for bash is run."""

from __future__ import annotations

import re
import shlex
import subprocess
from functools import cache

import pytest

from meshp2p.cli import main
from meshp2p.cli.parser import make_parser, options_of, parsers_below


@pytest.fixture
def script(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", request.param]) == 0
    return capsys.readouterr().out


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    line = " ".join(map(shlex.quote, ("meshp2p", *words)))
    program = f'{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _meshp2p; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-u", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@cache
def commands() -> dict[str, list[str]]:
    """The options of each command, those of its actions too."""
    return {
        name: [
            option
            for one in (parser, *(below for _, below in parsers_below(parser)))
            for option in options_of(one)
            if option != "-h"
        ]
        for name, parser in parsers_below(make_parser())
    }


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_options_and_values(script: str) -> None:
    assert completed(script, "") == list(dict(parsers_below(make_parser())))
    assert completed(script, "pi") == ["ping"]
    assert completed(script, "ping", "--") == commands()["ping"]
    assert completed(script, "ping", "b", "--co") == ["--count"]
    assert completed(script, "up", "--log-level", "w") == ["warning"]
    assert completed(script, "up", "--config", "") == []
    assert completed(script, "root", "ex") == ["export"]
    assert completed(script, "completion", "f") == ["fish"]
    assert completed(script, "nonsense", "--") == []


@pytest.mark.parametrize("script", ["bash", "zsh", "fish"], indirect=True)
def test_each_script_has_every_command_and_option(script: str) -> None:
    for name in dict(parsers_below(make_parser())):
        assert re.search(rf"\b{name}\b", script), name
        for option in commands()[name]:
            assert f"{option}" in script or f"-l {option.removeprefix('--')} " in script, (name, option)
    assert script.replace("\n", "").isprintable()


@pytest.mark.parametrize("script", ["zsh", "fish"], indirect=True)
def test_quotes_are_even(script: str) -> None:
    for line in script.splitlines():
        assert line.count("'") % 2 == 0, line


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["completion", "tcsh"])
    assert "choose from" in capsys.readouterr().err
