"""The systems that are compared: how each is started, told to do something, and understood."""

from __future__ import annotations

import abc
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

import msgspec
import trio

import meshp2p
from simulations.benchmarks.hosts import Host
from simulations.benchmarks.programs import ROOT, Program

__all__ = ["PEERS", "Meshp2p", "PeerUnavailable", "Sighting", "System"]

Kind = Literal["ready", "joined", "updated", "suspected", "recovered", "gone", "left", "profiled"]

_BUILD: Final = ROOT / "build" / "benchmarks"
_GOPATH: Final = Path("/usr/share/gocode")


class PeerUnavailable(Exception):
    """The system is not here; the text says what is missing."""


class Sighting(msgspec.Struct, frozen=True):
    """What a node told: ``subject`` is whom it concerns, ``time`` when it happened by ``CLOCK_MONOTONIC``."""

    kind: Kind
    subject: str
    time: float
    value: str = ""


class System(abc.ABC):
    """One system. ``prepare`` comes first."""

    name: str
    version: str
    begins_by_itself = False
    """Whether a node joins as soon as its process runs; otherwise it says that it is ready, and is told to begin."""

    stamps_itself = True
    """Whether a node says when it saw something. Otherwise it is so when its line arrived here."""

    tells_status = True
    """Whether a node says which status it saw."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make it ready to run. Raises :class:`PeerUnavailable`."""

    @abc.abstractmethod
    def command(self, node_id: str, address: str, seed: str | None) -> list[str]:
        """What runs a node that binds to ``address`` and joins by way of ``seed``."""

    @abc.abstractmethod
    def parse(self, line: str, arrived: float) -> Sighting | None:
        """What a line of a node's output says, if anything."""

    async def set_status(self, program: Program, host: Host, text: str) -> None:
        """Have a node publish something about itself."""
        program.tell(f"status {text}")

    def leave(self, program: Program) -> None:
        """Have a node leave properly."""
        program.tell("leave")


class _Line(msgspec.Struct):
    event: Kind
    id: str
    value: str
    t: float


class _LineDriven(System):
    """Programs of ours, which all speak alike."""

    def parse(self, line: str, arrived: float) -> Sighting | None:
        said = msgspec.json.decode(line, type=_Line)
        return Sighting(said.event, said.id, said.t, said.value)


class Meshp2p(_LineDriven):
    """Ours, from this tree.

    ``python`` runs the nodes: one of an environment without development tools, where memory is to be told as users have
    it, since httpx imports click and rich where they are installed.
    """

    name = "meshp2p"
    version = meshp2p.__version__
    port = 7700

    def __init__(self, python: str = sys.executable, *, mdns: bool = False) -> None:
        self._python = python
        self._mdns = mdns

    def prepare(self) -> None:
        pass

    def command(self, node_id: str, address: str, seed: str | None) -> list[str]:
        command = [self._python, "-m", "simulations.benchmarks.node_program", "--id", node_id, "--host", address]
        if seed is not None:
            command += ["--join", f"{seed}:{self.port}"]
        return [*command, "--mdns"] if self._mdns else command


class Memberlist(_LineDriven):
    """HashiCorp's library in a small program of ours, built here from Debian's package."""

    name = "memberlist"
    port = 7946
    _program = _BUILD / "memberlist"

    def prepare(self) -> None:
        go = shutil.which("go")
        library = _GOPATH / "src/github.com/hashicorp/memberlist"
        if go is None or not library.is_dir():
            raise PeerUnavailable(
                "memberlist: not installed (Debian: golang-go and golang-github-hashicorp-memberlist-dev)"
            )
        _BUILD.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "GOPATH": str(_GOPATH),
            "GO111MODULE": "off",
            "GOFLAGS": "",
            "GOCACHE": str(_BUILD / "go-cache"),
        }
        source = Path(__file__).with_name("peers") / "memberlist" / "main.go"
        built = subprocess.run(
            [go, "build", "-o", str(self._program), str(source)],
            env=environment,
            cwd=tempfile.gettempdir(),
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode != 0:
            raise PeerUnavailable(f"memberlist: does not build: {built.stderr.strip()}")
        self.version = _debian_version("golang-github-hashicorp-memberlist-dev")

    def command(self, node_id: str, address: str, seed: str | None) -> list[str]:
        command = [str(self._program), "-id", node_id, "-host", address]
        return command if seed is None else [*command, "-join", f"{seed}:{self.port}"]


class Serf(System):
    """HashiCorp's agent, as Debian packages it."""

    name = "serf"
    begins_by_itself = True
    stamps_itself = False
    tells_status = False
    _kinds: Final[dict[str, Kind]] = {
        "Join": "joined",
        "Update": "updated",
        "Failed": "gone",
        "Leave": "gone",
    }
    _event = re.compile(r"serf: EventMember(Join|Update|Failed|Leave): (\S+)")

    def prepare(self) -> None:
        if shutil.which("serf") is None:
            raise PeerUnavailable("serf: not installed (Debian: serf)")
        self.version = _debian_version("serf")

    def command(self, node_id: str, address: str, seed: str | None) -> list[str]:
        command = ["serf", "agent", f"-node={node_id}", f"-bind={address}"]
        if seed is None:
            return command
        # Its 30 s between two tries would say how late the first agent was, not how fast serf is.
        return [*command, f"-retry-join={seed}", "-retry-interval=200ms"]

    def parse(self, line: str, arrived: float) -> Sighting | None:
        found = self._event.search(line)
        return None if found is None else Sighting(self._kinds[found[1]], found[2], arrived)

    async def set_status(self, program: Program, host: Host, text: str) -> None:
        # pdeathsig of `host.command` follows the thread that starts it, which trio's is not: it is over before.
        await trio.run_process(host.command("serf", "tags", "-set", f"status={text}"), capture_stdout=True)

    def leave(self, program: Program) -> None:
        program.send_signal(signal.SIGINT)


def _debian_version(package: str) -> str:
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


PEERS: Final[dict[str, type[System]]] = {"memberlist": Memberlist, "serf": Serf}
"""Whom we are compared with, by name."""
