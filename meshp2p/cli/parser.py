"""The commands and their options, as one tree of parsers: what is typed, its help, its completion and its page in the
docs all come from it."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

from meshp2p.cli.commands import add_commands
from meshp2p.cli.output import warn, write
from meshp2p.version import __version__

__all__ = ["did_you_mean", "make_parser", "parse", "parsers_below", "summary_of"]

_ONLY_NAMED: Final = (
    *("status", "trust", "revoke", "token", "ca", "root"),
    *("record", "service", "simulate", "completion"),
)
"""The commands of which the overview says no more than the name, so that it fits a screen of 24 lines."""


_INSTEAD: Final = ("-h", "--help", "--version")
"""The options that may stand instead of a command."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line. An option must be written in full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stderr and file is not None:
            super()._print_message(message, file)
        else:
            write(message)  # which says so if it cannot

    def error(self, message: str) -> NoReturn:
        warn(f"{message} (see {self.prog} --help)")
        self.exit(2)


class _Overview(_Parser):
    """The whole command line. Its help has a line for each of the usual commands."""

    def format_help(self) -> str:
        lines = [f"  {name:10}{summary_of(one)}" for name, one in parsers_below(self) if name not in _ONLY_NAMED]
        return "\n".join(
            (
                f"usage: meshp2p COMMAND [OPTION ...]\n\n{self.description}\n",
                *lines,
                f"\nalso: {' '.join(_ONLY_NAMED)}",
                "`meshp2p COMMAND --help` describes one; see also `meshp2p --version`\n",
            )
        )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Overview(prog="meshp2p", description="An agent mesh that needs no registry.")
    parser.add_argument("--version", action="version", version=f"meshp2p {__version__}")
    add_commands(parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser))
    return parser


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse the words of a command line. If the command or an option does not exist, name the nearest that does, and
    exit with 2."""
    parser = make_parser()
    first, commands = words[0], dict(parsers_below(parser))
    if first not in (*commands, *_INSTEAD):
        what = "the command comes first" if first.startswith("-") else f"there is no command {first!r}"
        parser.error(what + did_you_mean(first, (*commands, *_INSTEAD)))
    chosen = commands.get(first, parser)
    parsers = (chosen, *(below for _, below in parsers_below(chosen)))
    known = {option for one in parsers for option in options_of(one)}
    for word in words[1:]:
        option = word.partition("=")[0]
        if word == "--":
            break
        if option.startswith("--") and option not in known:
            chosen.error(f"there is no option {option}{did_you_mean(option, known)}")
    options, unknown = parser.parse_known_args(words)
    if unknown:
        chosen.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def parsers_below(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The names and parsers of the commands of a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser, short and long."""
    return [option for action in parser._actions for option in action.option_strings]


def summary_of(parser: argparse.ArgumentParser) -> str:
    """The first sentence about a command."""
    return (parser.description or "").partition(". ")[0].removesuffix(".")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``": did you mean 'agents'?"``, if a known name is similar; else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f": did you mean {near[0]}?" if near else ""
