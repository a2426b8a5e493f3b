"""The message systems that are compared: requirements, brokers and clients."""

from __future__ import annotations

import abc
import importlib.metadata
import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Final, Literal

import meshp2p
from meshp2p.store.credentials import Credentials
from meshp2p.trust.credential import found_mesh
from simulations.benchmarks.systems import PeerUnavailable

__all__ = ["FEATURES", "MESSAGE_PEERS", "Feature", "MeshMessages", "MeshOnAsyncio", "MessageSystem"]

Feature = Literal["messages", "requests", "http"]
FEATURES: Final[tuple[Feature, ...]] = ("messages", "requests", "http")


class MessageSystem(abc.ABC):
    """One system. ``prepare`` comes first."""

    name: str
    version: str
    about: str
    """A note for the comparison."""

    courier: str
    """Its client, by the name in ``message_program``."""

    features: frozenset[Feature] = frozenset({"messages", "requests"})
    """The measured features: durable messages, request and reply, and messages over HTTP."""

    needs_port = True
    """Whether it gets a port on loopback: its broker's, or the recipient's if there is no broker."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Check the requirements. Raises :class:`PeerUnavailable`."""

    def broker(self, port: int, directory: Path) -> list[str] | None:
        """Return the command of its broker on this port of loopback, with its files there; None if it has no broker."""
        return None

    def client_prefix(self, directory: Path) -> list[str]:
        """Return what stands before the command of a client, which stores its files there."""
        return []


class MeshMessages(MessageSystem):
    """meshp2p from this tree: no broker, a node in each client's process, each with a ``data_dir``."""

    name = "meshp2p"
    version = meshp2p.__version__
    about = (
        "no broker; kept on disk at both ends with the default durability, not fsynced at each message: a power cut"
        " may lose the last ones; request and reply are a call, of which nothing is kept"
    )
    courier = "mesh"
    features = frozenset({"messages", "requests", "http"})
    needs_port = False

    def prepare(self) -> None:
        """It is here."""


class MeshOnAsyncio(MessageSystem):
    """meshp2p with agents on asyncio: each has its node in a thread. Only request and reply."""

    name = "meshp2p-asyncio"
    version = meshp2p.__version__
    about = "agents on asyncio, each with its node in a thread of its own"
    courier = "mesh-asyncio"
    features = frozenset({"requests"})
    needs_port = False

    def prepare(self) -> None:
        """It is this tree."""


class _Secured(MessageSystem):
    """In a secured mesh; all clients use one machine's credential."""

    def client_prefix(self, directory: Path) -> list[str]:
        credentials = Credentials(directory / "meshp2p" / "meshes")
        if credentials.find("benchmark") is None:
            credentials.add(found_mesh("benchmark", "benchmark")[1])
        return ["env", f"XDG_DATA_HOME={directory}"]


class SecuredMessages(_Secured, MeshMessages):
    name = "meshp2p-secured"
    about = "a secured mesh; all agents use one machine's credential"


class SecuredOnAsyncio(_Secured, MeshOnAsyncio):
    name = "meshp2p-asyncio-secured"
    about = "agents on asyncio in a secured mesh"


class Redis(MessageSystem):
    """A stream with a consumer group. ``fsync`` is Redis's ``appendfsync``."""

    courier = "redis"

    def __init__(self, fsync: Literal["everysec", "always"]) -> None:
        self.name = f"redis-{fsync}"
        when = "once a second: a crash of the machine loses what came since" if fsync == "everysec" else "at each write"
        self.about = f"stream with a consumer group, fsync {when}; several in flight are a pipeline"
        self._fsync = fsync
        if fsync == "always":  # requests are not to be kept
            self.features = frozenset({"messages"})

    def prepare(self) -> None:
        _need(self.name, program="redis-server", package="redis", library="redis")
        server = _first_line("redis-server", "--version").split("v=")[1].split()[0]
        self.version = f"{server} (redis-py {importlib.metadata.version('redis')})"

    def broker(self, port: int, directory: Path) -> list[str]:
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(directory),
            "appendonly": "yes",
            "appendfsync": self._fsync,
        }
        command = ["redis-server", "--save", ""]
        for name, value in options.items():
            command += [f"--{name}", value]
        return command


class JetStream(MessageSystem):
    """A stream with file storage and a durable pull consumer with explicit acknowledgement."""

    name = "jetstream"
    courier = "jetstream"
    about = "file storage, written but not fsynced at each message (the server's default); pull consumer, explicit ack"

    def prepare(self) -> None:
        _need(self.name, program="nats-server", package="nats-py", library="nats")
        server = _first_line("nats-server", "--version").split()[-1].lstrip("v")
        self.version = f"{server} (nats-py {importlib.metadata.version('nats-py')})"

    def broker(self, port: int, directory: Path) -> list[str]:
        return ["nats-server", "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(directory)]


class Zenoh(MessageSystem):
    """Only request and reply."""

    name = "zenoh"
    courier = "zenoh"
    about = "a queryable, one process connected to the other; nothing is kept"
    features = frozenset({"requests"})

    def prepare(self) -> None:
        _need(self.name, program=None, package="eclipse-zenoh", library="zenoh")
        self.version = importlib.metadata.version("eclipse-zenoh")


def _need(name: str, *, program: str | None, package: str, library: str) -> None:
    if program is not None and shutil.which(program) is None:
        raise PeerUnavailable(f"{name}: not installed (Debian: {program})")
    if importlib.util.find_spec(library) is None:
        raise PeerUnavailable(f"{name}: its client is not installed (PyPI: {package})")


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0]


MESSAGE_PEERS: Final[dict[str, MessageSystem]] = {
    system.name: system
    for system in (SecuredMessages(), SecuredOnAsyncio(), Redis("everysec"), Redis("always"), JetStream(), Zenoh())
}
"""The other systems by name."""
