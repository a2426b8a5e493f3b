"""The command line and the commands of a peer's program."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Protocol

from simulations.benchmarks.lines import tell

__all__ = ["Agent", "make_parser", "obey"]


class Agent(Protocol):
    """Runs a node, several times if told so."""

    def begin(self) -> None: ...
    def set_status(self, text: str) -> None: ...
    def leave(self) -> None: ...


def make_parser(about: str | None) -> argparse.ArgumentParser:
    """The id and address of the node, and the node through which it joins."""
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    parser.add_argument("--id", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--join", metavar="HOST:PORT")
    return parser


def obey(agent: Agent) -> None:
    """Print ``ready``, and run the commands of the input until it ends: ``begin`` and ``leave``, in threads of their
    own, and ``status TEXT``."""
    tell("ready")
    for line in sys.stdin:
        word, _, rest = line.rstrip("\n").partition(" ")
        match word:
            case "begin":
                threading.Thread(target=agent.begin).start()
            case "status":
                agent.set_status(rest)
            case "leave":
                threading.Thread(target=agent.leave).start()
            case _:
                sys.exit(f"unknown command {line!r}")
