"""The command line as a whole: its overview, and what is said of a word that it does not know."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meshp2p.cli import main
from meshp2p.cli.parser import COMMANDS, make_parser, parsers_below


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
    words = set(overview.replace(",", " ").split())
    assert set(COMMANDS) <= words
    assert main([]) == 2
    assert capsys.readouterr().err == overview


def test_every_command_says_what_it_does() -> None:
    found = dict(parsers_below(make_parser()))
    assert set(found) == set(COMMANDS)
    for name, parser in found.items():
        assert parser.description, name
        assert parser.description.endswith("."), name


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
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(capsys, *words)


def test_words_behind_two_hyphens_are_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--node", "127.0.0.1:1", "--", "--jsn"]) == 1
    assert "no node answered GET /messages/status/--jsn" in capsys.readouterr().err


def test_it_is_a_module_too() -> None:
    process = subprocess.run([sys.executable, "-m", "meshp2p", "--version"], check=True, capture_output=True, text=True)
    assert process.stdout.startswith("meshp2p ")
