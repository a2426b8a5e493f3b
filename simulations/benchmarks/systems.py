"""What a system is that is measured: how it is started, told to do something, and understood; and ours."""

from __future__ import annotations

import abc
import sys
from collections.abc import Iterable
from typing import Literal, Protocol, TypeVar

import msgspec

import meshp2p
from simulations.benchmarks.hosts import Host
from simulations.benchmarks.report import Report
from simulations.programs import Program

__all__ = ["Feature", "Kind", "LineDriven", "Meshp2p", "PeerUnavailable", "Sighting", "Source", "System", "available"]

Kind = Literal["ready", "joined", "updated", "suspected", "recovered", "gone", "left", "leader", "profiled"]

Source = Literal["seed", "mdns", "beacon", "lan"]
"""How nodes find the first of the others: by an address that they are told, by mDNS alone (or what a system has in its
place), by the beacon alone, or by all that needs no address."""

Feature = Literal["leader", "mdns", "beacon", "lan"]
"""What not every system has: a leader that its nodes name, and sources beside the seed."""


class PeerUnavailable(Exception):
    """The system is not here; the text says what is missing."""


class _Prepared(Protocol):
    def prepare(self) -> None: ...


_P = TypeVar("_P", bound=_Prepared)


def available(systems: Iterable[_P], report: Report) -> list[_P]:
    """Prepare the systems, and return those that are here. The others are printed and reported as absent."""
    found: list[_P] = []
    for system in systems:
        try:
            system.prepare()
        except PeerUnavailable as error:
            print(f"absent: {error}", flush=True)
            report.absent.append(str(error))
        else:
            found.append(system)
    return found


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

    features: frozenset[Feature] = frozenset()

    about = ""
    """What is to be known to compare it."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make it ready to run. Raises :class:`PeerUnavailable`."""

    @abc.abstractmethod
    def command(self, node_id: str, address: str, seed: str | None, source: Source = "seed") -> list[str]:
        """What runs a node that binds to ``address`` and joins by way of ``seed``, or finds others by ``source``."""

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


class LineDriven(System):
    """Programs that are written here, which all speak alike."""

    def parse(self, line: str, arrived: float) -> Sighting | None:
        said = msgspec.json.decode(line, type=_Line)
        return Sighting(said.event, said.id, said.t, said.value)


class Meshp2p(LineDriven):
    """Ours, from this tree.

    ``python`` runs the nodes: one of an environment without development tools, where memory is to be told as users have
    it, since httpx imports click and rich where they are installed.
    """

    name = "meshp2p"
    version = meshp2p.__version__
    port = 7700

    features = frozenset({"leader", "mdns", "beacon", "lan"})

    def __init__(self, python: str = sys.executable) -> None:
        self._python = python

    def prepare(self) -> None:
        pass

    def command(self, node_id: str, address: str, seed: str | None, source: Source = "seed") -> list[str]:
        command = [self._python, "-m", "simulations.benchmarks.node_program", "--id", node_id, "--host", address]
        if seed is not None:
            command += ["--join", f"{seed}:{self.port}"]
        if source in ("mdns", "lan"):
            command.append("--mdns")
        if source in ("beacon", "lan"):
            command.append("--beacon")
        return command
