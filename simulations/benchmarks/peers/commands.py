"""How a peer's program is told what to do: what it is started with, and then a line for each thing."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import Protocol

from simulations.benchmarks.lines import tell

__all__ = ["Agent", "make_parser", "obey"]


class Agent(Protocol):
    """Runs a node; several times in turn where it is told so."""

    def begin(self) -> None: ...
    def set_status(self, text: str) -> None: ...
    def leave(self) -> None: ...


def make_parser(about: str | None) -> argparse.ArgumentParser:
    """Who the node is, where it listens, and whom it joins."""
    parser = argparse.ArgumentParser(description=about, allow_abbrev=False)
    parser.add_argument("--id", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--join", metavar="HOST:PORT")
    return parser


def obey(agent: Agent) -> None:
    """Say ``ready``, and do what the lines of the input say until it ends: ``begin`` and ``leave``, in threads of their
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
