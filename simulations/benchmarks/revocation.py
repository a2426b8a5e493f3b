"""Revocation: how long until every node of a secured mesh has shut out a machine.

Each node is a process of a user of its own, on loopback. A machine is revoked as ``meshp2p revoke`` does it: the
statement is written to the disk of the first user. The node of the revoked machine either runs, learns of it and
leaves, or it was stopped before and holds its connections, so that the others have to act by themselves.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from meshp2p.store.credentials import CredentialDirectory, Credentials
from meshp2p.trust.certificates import consent_to
from meshp2p.trust.credential import MachineCredential, found_mesh
from meshp2p.trust.keys import PrivateKey
from simulations.benchmarks.command_line import add_benchmark, positive, run_until_signal
from simulations.programs import Program

__all__ = ["add_command", "measure"]

WAIT_SECONDS: Final = 60.0


def add_command(commands: Any) -> None:
    parser = add_benchmark(commands, "revocation", "how long until a revoked machine is shut out everywhere", __doc__)
    parser.add_argument("--nodes", type=positive, default=16, help="nodes that stay (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=5, help="machines revoked in each way (%(default)s)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return trio.run(run_until_signal, _print, options.nodes, options.repeats)


async def _print(nodes: int, repeats: int) -> int:
    for way, seconds in (await measure(nodes, repeats)).items():
        each = ", ".join(f"{one:.2f}" for one in seconds)
        print(
            f"{way:8} {nodes} nodes, {repeats} times: revoked on one disk -> left on the last node:"
            f" median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s ({each})"
        )
    return 0


async def measure(nodes: int, repeats: int) -> dict[str, list[float]]:
    """The seconds of each revocation, by whether the revoked node ran or was stopped."""
    found: dict[str, list[float]] = {"running": [], "stopped": []}
    with tempfile.TemporaryDirectory() as directory:
        async with trio.open_nursery() as nursery:
            mesh = _SecuredMesh(Path(directory), nursery)
            try:
                for number in range(nodes):
                    mesh.start(f"n{number}")
                    if not number:
                        await mesh.until(lambda: bool(mesh.seed))
                await mesh.until(mesh.is_full)
                for number in range(repeats):
                    for way, seconds in found.items():
                        seconds.append(await mesh.revoke(f"lost-{way}-{number}", is_stopped=way == "stopped"))
            finally:
                mesh.kill()
    return found


class _SecuredMesh:
    """Processes of ``meshp2p up``. The output of each tells which nodes it lists, and when others left its list."""

    def __init__(self, directory: Path, nursery: trio.Nursery) -> None:
        self.seed = ""
        self._directory = directory
        self._nursery = nursery
        self._programs: dict[str, Program] = {}
        self._listed: dict[str, set[str]] = defaultdict(set)
        self._left: dict[str, dict[str, float]] = defaultdict(dict)
        self._heard = trio.Event()
        self._root_key, credential = found_mesh("studio", "n0")
        self._first = self._user("n0").add(credential, self._root_key)

    def _user(self, name: str) -> Credentials:
        return Credentials(self._directory / name / "meshp2p" / "meshes")

    def start(self, name: str) -> CredentialDirectory:
        """Invite a machine, and start its node."""
        own = self._first
        if name != "n0":
            key, inviter = PrivateKey.generate(), self._first.load()
            chain = inviter.invite(key.public, consent_to(key, inviter.mesh_id, inviter.key.fingerprint), name)
            self._first.update_trust(inviter)
            own = self._user(name).add(MachineCredential(inviter.root, key, chain))
        command = [sys.executable, "-m", "meshp2p", "up", "--json", "--mesh", "studio", "--id", name, "--port", "0"]
        command += ["--join", self.seed] if self.seed else []
        log, environment = self._directory / f"{name}.log", {"XDG_DATA_HOME": str(self._directory / name)}
        program = self._programs[name] = Program(command, log, partial(self._hear, name), environment)
        self._nursery.start_soon(program.run)
        return own

    def _hear(self, name: str, line: str, at: float) -> None:
        event = msgspec.json.decode(line)
        subject = event.get("instance", {}).get("instance_id")
        match event["type"]:
            case "ready":
                self.seed = self.seed or event["addresses"][0]
            case "member_joined":
                self._listed[name].add(subject)
            case "member_left" | "member_died":
                self._listed[name].discard(subject)
                self._left[name][subject] = at
        self._heard.set()
        self._heard = trio.Event()

    async def until(self, holds: Any) -> None:
        with trio.fail_after(WAIT_SECONDS):
            while not holds():
                await self._heard.wait()

    def is_full(self) -> bool:
        """Whether all that run list all that run."""
        return all(self._listed[name] == self._programs.keys() for name in self._programs)

    async def revoke(self, name: str, *, is_stopped: bool) -> float:
        """Start the node of another machine, revoke that, and return how many seconds the last node took."""
        directory = self.start(name)
        await self.until(self.is_full)
        await trio.sleep(2.0)  # its connections are made
        if is_stopped:
            self._programs[name].send_signal(signal.SIGSTOP)
        credential = self._first.load()
        began = time.monotonic()
        credential.trust.revoke(self._root_key, directory.load().key.fingerprint)
        self._first.update_trust(credential)
        program = self._programs.pop(name)
        await self.until(lambda: all(name in self._left[one] for one in self._programs))
        program.kill()
        return max(self._left[one][name] for one in self._programs) - began

    def kill(self) -> None:
        for program in self._programs.values():
            program.kill()
