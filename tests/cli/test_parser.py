"""The command line as a whole: its overview, and what is said of a word that it does not know."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

from meshp2p.cli import ask, main
from meshp2p.cli.output import OutputError
from meshp2p.cli.parser import make_parser, parsers_below
from meshp2p.errors import (
    ConfigError,
    NotInvited,
    RequestRefused,
    Revoked,
    StartError,
    StoreError,
    UnknownInstance,
    Unreachable,
)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(words)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.count("\n") == 1
    return printed.err


def test_the_overview_fits_a_screen_and_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    overview = capsys.readouterr().out
    lines = overview.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert set(dict(parsers_below(make_parser()))) <= set(re.findall(r"\w+", overview))
    assert main([]) == 2
    assert capsys.readouterr().err == overview


def all_parsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for name, below in parsers_below(parser):
        yield name, below
        yield from all_parsers(below)


def test_every_command_says_what_it_does_and_so_does_each_of_its_options() -> None:
    for name, parser in all_parsers(make_parser()):
        assert parser.description, name
        assert parser.description.endswith("."), name
        for action in parser._actions:
            assert action.help or isinstance(action, argparse._SubParsersAction), (name, action.dest)


def test_every_command_has_a_function_that_runs_it() -> None:
    found = [(name, parser.get_default("run")) for name, parser in all_parsers(make_parser())]
    assert [name for name, run in found if run is None] == ["root", "service"]
    for _, run in found:
        if run is not None:
            module, _, function = run.partition(":")
            assert list(signature(getattr(import_module(f"meshp2p.cli.{module}"), function)).parameters) == ["options"]


@pytest.mark.parametrize("words", [["--help"], ["send", "--help"], ["completion", "fish"]])
def test_help_and_completion_import_nothing_that_runs_a_node_or_asks_one(words: list[str]) -> None:
    program = (
        "import sys, meshp2p.cli\n"
        "try: meshp2p.cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", program, *words], check=True, capture_output=True, text=True)
    assert process.stdout
    heavy = (
        "trio",
        "sqlite3",
        "cryptography",
        "zeroconf",
        "httpx",
        "meshp2p.net",
        "meshp2p.client",
        "meshp2p.simulation",
    )
    assert not set(process.stderr.split()).intersection(heavy)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["agnets"], "there is no command 'agnets': did you mean agents? (see meshp2p --help)"),
        (["zzz"], "there is no command 'zzz' (see meshp2p --help)"),
        ([""], "there is no command ''"),
        (["\x1b[31m"], "there is no command '\\x1b[31m'"),
        (["--node", "x", "agents"], "the command comes first"),
        (["agents", "--jsn"], "there is no option --jsn: did you mean --json? (see meshp2p agents --help)"),
        (["agents", "--jso"], "there is no option --jso: did you mean --json?"),
        (["agents", "--mehs=x"], "there is no option --mehs: did you mean --mesh?"),
        (["send", "--fro", "a", "--too", "b", "1"], "there is no option --fro: did you mean --from?"),
        (["root", "export", "--msh", "x", "f"], "there is no option --msh: did you mean --mesh?"),
        (["root", "exprot"], "invalid choice"),
        (["agents", "--\x1b]0;x"], "there is no option --\\x1b]0;x"),
        (["agents", "more\u202e"], "unrecognized arguments: more\\u202e"),
        (["send", "--from", "a"], "the following arguments are required: PAYLOAD"),
        (["agents", "more"], "unrecognized arguments: more (see meshp2p agents --help)"),
        (["version"], "there is no command 'version': did you mean --version?"),
        (["help", "agnets"], "there is no command 'agnets': did you mean agents?"),
        (["doctor", "--seconds", "nan"], "argument --seconds: 'nan': expected 0.5 to 60 seconds"),
        (["messages", "a", "--limit", "0"], "argument --limit: '0': expected a whole number from 1"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(capsys, *words)


def test_every_number_of_seconds_or_things_is_checked_before_anything_is_done() -> None:
    """The numbers of a simulation are checked by it, and ports by what binds or calls them."""
    checked = 0
    for name, parser in all_parsers(make_parser()):
        for action in parser._actions:
            assert action.type is not float or name == "simulate", (name, action.dest)
            assert action.type is not int or name == "simulate" or action.dest == "port", (name, action.dest)
            if (action.metavar or action.dest.upper()) in ("SECONDS", "N") and action.type and name != "simulate":
                checked += 1
                for text in ("nan", "inf", "-1", "1e99", "", "x", "9" * 5000):
                    with pytest.raises(argparse.ArgumentTypeError, match="expected "):
                        action.type(text)  # type: ignore[operator]
    assert checked >= 8


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["help"], ["help", "send"]):
        with pytest.raises(SystemExit, match="0"):
            main(words)
        shown = capsys.readouterr().out
        with pytest.raises(SystemExit, match="0"):
            main([*words[1:], "--help"])
        assert capsys.readouterr().out == shown != ""


@pytest.mark.parametrize("words", [["--help"], ["agents", "--help"], ["--version"], ["completion", "bash"]])
def test_what_cannot_be_printed_is_an_error(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "meshp2p", *words], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert process.returncode == 1
    assert "standard output cannot be written: No space left on device" in process.stderr


def test_words_behind_two_hyphens_are_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--node", "127.0.0.1:1", "--", "--jsn"]) == 1
    assert "no node answered GET /messages/status/--jsn" in capsys.readouterr().err


def test_it_is_a_module_too() -> None:
    process = subprocess.run([sys.executable, "-m", "meshp2p", "--version"], check=True, capture_output=True, text=True)
    assert process.stdout.startswith("meshp2p ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (StartError("x"), 2),
        (StoreError("x"), 2),
        (NotInvited("x"), 2),
        (Revoked("x"), 2),
        (Unreachable("x"), 1),
        (RequestRefused(403, "x"), 1),
        (UnknownInstance("x"), 1),
        (OutputError("x"), 1),
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("x", [KeyboardInterrupt(), KeyboardInterrupt()]), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_error_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(options: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(ask, "leader", fail)
    assert main(["leader"]) == code
    assert ("meshp2p: " in capsys.readouterr().err) is (code != 130)


@pytest.mark.parametrize(
    ("words", "variables", "code"),
    [
        (["--version"], {}, 0),
        (["completion", "bash"], {}, 0),
        (["agents", "--node", "127.0.0.1:1"], {}, 1),
        (["top", "--once", "--node", "127.0.0.1:1"], {}, 1),
        (["agents", "--nodes"], {}, 2),
        (["agents", "--node", "no url"], {}, 2),
        (["agents"], {"MESHP2P_NONSENSE": "1"}, 2),
        (["agents"], {"MESHP2P_CONFIG": "/nowhere.toml"}, 2),
        (["agents", "--node", "127.0.0.1:1"], {"MESHP2P_TOKEN": "a b"}, 2),
        (["up"], {"MESHP2P_PORT": "70000"}, 2),
    ],
)
def test_exit_codes_are_those_of_the_docs(
    words: list[str],
    variables: dict[str, str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """130 is that of test_top.py: a real process is interrupted there."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        found = main(words)
    except SystemExit as ended:
        found = int(str(ended.code))
    assert found == code
    assert (capsys.readouterr().err == "") is (code == 0)
