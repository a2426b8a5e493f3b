"""The command line: the only place of the package that prints.

Exit codes: 0 done, 1 it could not be done or printed, 2 a wrong argument or a machine that refuses (then nothing was
started), or this machine or agent was revoked, 130 interrupted by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from inspect import iscoroutinefunction

from meshp2p.cli.output import OutputError, warn
from meshp2p.cli.parser import make_parser, parse
from meshp2p.errors import ConfigError, MeshError, Revoked, StartError, StoreError

__all__ = ["main", "make_parser"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        given = sys.argv[1:] if arguments is None else arguments
        if arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # SIGTERM ends a command as Ctrl-C does, so the command tidies up
            signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
        if not given:
            make_parser().print_help(sys.stderr)
            return 2
        if given[0] == "help":
            given = [*given[1:2], "--help"]
        options = parse(given)
        return _run(options.run, options)
    except (ConfigError, StartError, StoreError, Revoked) as error:
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


def _run(name: str, options: argparse.Namespace) -> int:
    """Run the function with this name, such as ``about:why``. Its module is imported only now: help needs none."""
    module, _, function = name.partition(":")
    run = getattr(importlib.import_module(f"meshp2p.cli.{module}"), function)
    if iscoroutinefunction(run):
        import trio  # noqa: PLC0415  # it takes a while

        return int(trio.run(run, options))
    return int(run(options))
