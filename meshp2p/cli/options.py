"""One command on the command line: its name, what runs it, and its options, many of which other commands have too."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, Final

from meshp2p.core.presets import PRESETS

__all__ = ["Command", "duration", "number", "seconds", "text_argument"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Command:
    """Adds a command to the command line. ``run`` names the function that runs the command, such as ``"about:why"``.
    Its module in ``meshp2p.cli`` is imported only then. ``parser`` has the options."""

    def __init__(self, commands: Any, name: str, run: str | None, what: str, summary: str | None = None) -> None:
        listed = {} if summary is None else {"help": summary}
        self.parser: argparse.ArgumentParser = commands.add_parser(name, description=what, **listed)
        if run is not None:
            self.parser.set_defaults(run=run)

    def option(self, name: str, what: str, **more: Any) -> None:
        """Add an option with a value, or an argument."""
        self.parser.add_argument(name, help=what, **more)

    def switch(self, name: str, what: str, **more: Any) -> None:
        """Add an option without a value."""
        self.option(name, what, action="store_true", **more)

    def several(self, name: str, what: str, **more: Any) -> None:
        """Add an option that may be given several times."""
        self.option(name, f"{what}; may be repeated", action="append", **more)

    def identifier(self, what: str = "the id of the agent") -> None:
        self.option("instance_id", what, type=text_argument, metavar="ID")

    def json(self, what: str = "print one JSON object") -> None:
        self.switch("--json", what)

    def answer_of_node(self) -> None:
        """Add the options of every command that prints the answer of a node."""
        self.node_choice()
        self.json("print the answer as JSON")

    def node_choice(self) -> None:
        """Add the options that choose the node to ask."""
        self.option("--node", "the node to ask, HOST:PORT or URL (default: any node that is found)", metavar="NODE")
        what = "the mesh of the node to find (default: MESHP2P_MESH, or the joined one)"
        self.option("--mesh", what, metavar="NAME")

    def joined_mesh(self) -> None:
        """Add the option that names one of the meshes of this user."""
        what = "the mesh (default: MESHP2P_MESH, or the only one that this user is in)"
        self.option("--mesh", what, metavar="NAME")

    def label(self) -> None:
        self.option("--label", "the name of this machine in lists (default: USER@HOST)")

    def configuration(self) -> None:
        """Add the options of a node's configuration. Each command with one takes all of them, so that the doctor can be
        given the arguments of a node as they are."""
        option, several = self.option, self.several
        option("--config", "a TOML file with options (default: the file that MESHP2P_CONFIG names)", metavar="FILE")
        what = 'the name of the mesh (default: the one that this user joined, else "default")'
        option("--mesh", what, metavar="NAME")
        option("--credentials", "the credential of a secured mesh, as meshp2p join --export wrote it", metavar="FILE")
        option("--host", "the address to bind to (default: loopback)")
        what = "the UDP and TCP port; 0 means any free port (default: 7700, or any if that is taken)"
        option("--port", what, type=int)
        several("--join", "a node to contact first, HOST:PORT or URL", metavar="NODE")
        what = "the directory in which the node stores its identity, known peers and messages"
        option("--data-dir", what, metavar="DIR")
        self.switch("--insecure-lan", "bind to all addresses, so that other machines can reach the node", default=None)
        presets = ", ".join(one.name for one in PRESETS)
        option("--preset", f"a set of options for one kind of network: {presets}", metavar="NAME")
        option("--id", "the id of the node, 1 to 128 bytes (default: made from the time and the host name)")
        what = "do not announce this node by mDNS, and do not look for others"
        option("--no-mdns", what, dest="mdns", action="store_false", default=None)
        what = "turn the UDP beacon on or off (default: the same as mDNS)"
        option("--beacon", what, action=argparse.BooleanOptionalAction)
        several("--capability", "a capability of this agent", dest="capabilities", metavar="NAME")
        several("--profile", "a profile of this agent", dest="profiles", metavar="NAME")
        what = "another host name under which HTTP callers may address this node"
        several("--allow-host", what, dest="allow_hosts", metavar="NAME")
        what = "in a secured mesh, ask also programs on this machine for a token"
        self.switch("--require-token", what, default=None)


def text_argument(argument: str) -> str:
    """Check that an argument can be sent."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{argument!a} is not UTF-8") from None
    return argument


def number(least: int) -> Callable[[str], int]:
    """Return a function that checks that an argument is a whole number from ``least``."""

    def check(text: str) -> int:
        if re.fullmatch("-?[0-9]{1,18}", text) is None or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least}")
        return int(text)

    return check


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Return a function that checks that an argument is a number of seconds within these bounds."""

    def check(text: str) -> float:
        try:
            if least <= float(text) <= most:
                return float(text)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r}: expected {least:g} to {most:g} seconds")

    return check


def duration(text: str) -> float:
    """Return the seconds of an argument such as 90s, 10m, 1h or 30d."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number and s, m, h or d, such as 1h")
    return float(match[1]) * _UNITS[match[2]]
