"""The command line: the only place of the package that prints.

Exit codes: 0 done, 1 it could not be done, 2 a wrong argument or a machine that refuses; then nothing was started.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from meshp2p.errors import ConfigError, MeshError, StartError, StoreError
from meshp2p.version import __version__

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from meshp2p.cli import ask, demo, messages, simulate, up  # noqa: PLC0415  # a command that is not run is not paid for

    parser = _Parser(prog="meshp2p", description="An agent mesh with no registry to run.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"meshp2p {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for module in (up, ask, messages, demo, simulate):
        module.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        options = make_parser().parse_args(arguments)
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except (ConfigError, StartError, StoreError) as error:
        print(f"meshp2p: {error}", file=sys.stderr)
        return 2
    except MeshError as error:
        print(f"meshp2p: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # whoever read what we print has gone: what is left in the buffer must not fail once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
