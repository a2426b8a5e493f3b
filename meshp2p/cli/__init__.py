"""The command line: the only place of the package that prints.

Exit codes: 0 done, 1 it could not be done or printed, 2 a wrong argument or a machine that refuses (then nothing was
started), 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from meshp2p.cli.output import OutputError, warn
from meshp2p.errors import ConfigError, MeshError, StartError, StoreError
from meshp2p.version import __version__

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


_MODULES = {
    "up": "up",
    "agents": "ask",
    "leader": "ask",
    "events": "events",
    "send": "messages",
    "messages": "messages",
    "status": "messages",
    "doctor": "doctor",
    "simulate": "simulate",
    "init": "membership",
    "trust": "membership",
    "root": "membership",
    "token": "tokens",
    "ca": "tokens",
    "invite": "joining",
    "join": "joining",
    "revoke": "revoking",
}
"""Which module has each command."""


def make_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The whole command line, or the part that ``command`` needs: a command that is not run is not paid for."""
    modules = [_MODULES[command]] if command in _MODULES else list(dict.fromkeys(_MODULES.values()))
    parser = _Parser(prog="meshp2p", description="An agent mesh that needs no registry.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"meshp2p {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for module in modules:
        importlib.import_module(f"meshp2p.cli.{module}").add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        given = sys.argv[1:] if arguments is None else arguments
        if not given:
            make_parser().print_help(sys.stderr)
            return 2
        options, unknown = make_parser(given[0]).parse_known_args(given)
        if unknown:
            _Parser(prog=f"meshp2p {given[0]}").error(f"unrecognized arguments: {' '.join(unknown)}")
        return int(options.run(options))
    except (ConfigError, StartError, StoreError) as error:
        warn(str(error))
        return 2
    except MeshError as error:
        warn(str(error))
        return 1
    except OutputError as error:
        warn(f"standard output cannot be written: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BaseExceptionGroup as group:  # trio's, if Ctrl-C came while several tasks ran
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        return 130
