"""``meshp2p completion``: scripts that complete commands and options in a shell, made from the parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from meshp2p.cli.output import write_line
from meshp2p.cli.parser import make_parser, parsers_below, summary_of

__all__ = ["completion"]

_BASH = """\
_meshp2p() {{
    local words="{commands}" command="${{COMP_WORDS[1]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
    if (( COMP_CWORD > 1 )); then
        case "$command" in
{options}
            *) words="" ;;
        esac
        case "$command $previous" in
{values}
            *) ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _meshp2p meshp2p"""

_ZSH = """\
#compdef meshp2p
_meshp2p() {{
    local -a found
    if (( CURRENT == 2 )); then
        found=({commands})
        _describe command found
        return
    fi
    case "$words[2] $words[CURRENT-1]" in
{values}
    esac
    case "$words[2]" in
{options}
    esac
    _describe option found || _files
}}
compdef _meshp2p meshp2p"""


class _Option(NamedTuple):
    """An option, or an action such as ``export``. ``values`` are those that it may have; ``takes_value`` is false for a
    switch."""

    name: str
    what: str
    values: tuple[str, ...] = ()
    takes_value: bool = False


def completion(options: argparse.Namespace) -> int:
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell]
    commands = dict(parsers_below(make_parser()))
    for line in write({name: (summary_of(parser), list(_options_of(parser))) for name, parser in commands.items()}):
        write_line(line)
    return 0


def _options_of(parser: argparse.ArgumentParser) -> Iterator[_Option]:
    for action in parser._actions:
        choices = tuple(map(str, action.choices or ()))
        what = re.split(r": | \(|;", (action.help or "") % vars(action))[0]
        for name in action.option_strings:
            if name != "-h":
                yield _Option(name, what, choices, action.nargs != 0)
        if not action.option_strings:
            yield from (_Option(choice, what) for choice in choices)
    for _, below in parsers_below(parser):
        yield from _options_of(below)


Described = dict[str, tuple[str, list[_Option]]]
"""What each command is, and its options."""


def _bash(commands: Described) -> Iterator[str]:
    options = [f'            {name}) words="{_names(given)}" ;;' for name, (_, given) in commands.items()]
    values = [
        f'            "{name} {option.name}") words="{" ".join(option.values)}" ;;'
        for name, (_, given) in commands.items()
        for option in given
        if option.takes_value
    ]
    yield _BASH.format(commands=" ".join(commands), options="\n".join(options), values="\n".join(values))


def _zsh(commands: Described) -> Iterator[str]:
    options = [f"        {name}) found=({_described(given)}) ;;" for name, (_, given) in commands.items()]
    values = [
        f'        "{name} {option.name}") {_zsh_values(option)}; return ;;'
        for name, (_, given) in commands.items()
        for option in given
        if option.takes_value
    ]
    listed = _described(_Option(name, what) for name, (what, _) in commands.items())
    yield _ZSH.format(commands=listed, options="\n".join(options), values="\n".join(values))


def _zsh_values(option: _Option) -> str:
    return f"compadd -- {' '.join(option.values)}" if option.values else "_files"


def _fish(commands: Described) -> Iterator[str]:
    for name, (what, given) in commands.items():
        yield f"complete -c meshp2p -n __fish_use_subcommand -f -a {name} -d {_quoted(what)}"
        for option in given:
            words = [f"complete -c meshp2p -n '__fish_seen_subcommand_from {name}'"]
            is_option = option.name.startswith("--")
            words += [f"-l {option.name.removeprefix('--')}" if is_option else f"-f -a {option.name}"]
            words += [f"-x -a {_quoted(' '.join(option.values))}"] if option.values else ["-r"] * option.takes_value
            yield " ".join([*words, f"-d {_quoted(option.what)}"])


def _names(options: list[_Option]) -> str:
    return " ".join(option.name for option in options)


def _described(options: Iterable[_Option]) -> str:
    return " ".join(_quoted(f"{option.name}:{option.what}") for option in options)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "").replace("'", "") + "'"
