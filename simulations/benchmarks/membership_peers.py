"""The systems beside which ours is measured: HashiCorp's two, kinship, zenoh's liveliness, and ours in a secured mesh.

None of them need be there.
"""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import trio

from meshp2p.store.credentials import Credentials
from meshp2p.trust.credential import found_mesh
from simulations.benchmarks.hosts import Host
from simulations.benchmarks.systems import Kind, LineDriven, Meshp2p, PeerUnavailable, Sighting, Source, System
from simulations.programs import ROOT, Program

__all__ = ["PEERS", "Kinship", "Memberlist", "SecuredMeshp2p", "Serf", "SerfWithKey", "Zenoh"]

_BUILD: Final = ROOT / "build" / "benchmarks"
_GOPATH: Final = Path("/usr/share/gocode")


class Memberlist(LineDriven):
    """HashiCorp's library in a small program, which is built here from Debian's package."""

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

    def command(self, node_id: str, address: str, seed: str | None, source: Source = "seed") -> list[str]:
        command = [str(self._program), "-id", node_id, "-host", address]
        return command if seed is None else [*command, "-join", f"{seed}:{self.port}"]


class Serf(System):
    """HashiCorp's agent, as Debian packages it."""

    name = "serf"
    begins_by_itself = True
    features = frozenset({"mdns"})
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
            raise PeerUnavailable(f"{self.name}: not installed (Debian: serf)")
        self.version = _debian_version("serf")

    def command(self, node_id: str, address: str, seed: str | None, source: Source = "seed") -> list[str]:
        command = ["serf", "agent", f"-node={node_id}", f"-bind={address}"]
        if source == "mdns":
            return [*command, "-discover=benchmark"]
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


class SerfWithKey(Serf):
    """Serf with one key for all, which encrypts its packets."""

    name = "serf-key"
    about = "one key for all nodes, which encrypts every packet"
    _key: Final = base64.b64encode(os.urandom(32)).decode()

    def command(self, node_id: str, address: str, seed: str | None, source: Source = "seed") -> list[str]:
        return [*super().command(node_id, address, seed, source), f"-encrypt={self._key}"]


class SecuredMeshp2p(Meshp2p):
    """Ours in a secured mesh, from this tree."""

    name = "meshp2p-secured"
    about = "a secured mesh; all nodes use one machine's credential"
    _home = _BUILD / "home"

    def prepare(self) -> None:
        credentials = Credentials(self._home / "meshp2p" / "meshes")
        if credentials.find("benchmark") is None:
            credentials.add(found_mesh("benchmark", "benchmark")[1])

    def command(self, node_id: str, address: str, seed: str | None, source: Source = "seed") -> list[str]:
        return ["env", f"XDG_DATA_HOME={self._home}", *super().command(node_id, address, seed, source)]


def _debian_version(package: str) -> str:
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


class _Library(LineDriven):
    """A library from PyPI in a small program of this folder."""

    port: int
    module: str
    package: str
    program: str

    def prepare(self) -> None:
        if importlib.util.find_spec(self.module) is None:
            raise PeerUnavailable(f"{self.name}: not installed (PyPI: {self.package})")
        self.version = importlib.metadata.version(self.package)

    def command(self, node_id: str, address: str, seed: str | None, source: Source = "seed") -> list[str]:
        command = [sys.executable, "-m", self.program, "--id", node_id, "--host", address]
        return command if seed is None else [*command, "--join", f"{seed}:{self.port}"]


class Kinship(_Library):
    """SWIM with Lifeguard in Rust, for Python."""

    name = "kinship"
    port = 7946
    module = package = "kinship"
    program = "simulations.benchmarks.peers.kinship_program"
    about = "its preset for a LAN, which seals every packet"


class Zenoh(_Library):
    """Liveliness tokens of peers that all connect to one another."""

    name = "zenoh"
    port = 7447
    module = "zenoh"
    package = "eclipse-zenoh"
    program = "simulations.benchmarks.peers.zenoh_program"
    features = frozenset({"mdns"})
    about = "liveliness tokens; a TCP session from each peer to each, which lossy UDP does not touch"

    def command(self, node_id: str, address: str, seed: str | None, source: Source = "seed") -> list[str]:
        command = super().command(node_id, address, seed)
        return [*command, "--scout"] if source == "mdns" else command


_SYSTEMS: Final = (SecuredMeshp2p, Memberlist, Serf, SerfWithKey, Kinship, Zenoh)

PEERS: Final[dict[str, type[System]]] = {system.name: system for system in _SYSTEMS}
"""The other systems by name."""
