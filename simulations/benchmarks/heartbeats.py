"""Heartbeats over HTTP: how many a node answers, beside FastAPI and Starlette on plain uvicorn, in one run.

One server runs at a time, and wrk calls it over loopback on connections that stay open. Systems take turns, so that
other load on the machine affects all of them alike. In a secured mesh the caller is a program of this machine, or has a
token and comes over HTTPS. Without ``--peers`` no other system is measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import msgspec
import trio

import meshp2p
from meshp2p.store.credentials import Credentials
from meshp2p.trust.credential import found_mesh
from meshp2p.trust.tokens import issue_token
from simulations.benchmarks.command_line import add_benchmark, add_names, positive, run_until_signal
from simulations.benchmarks.costs import processor_seconds_of
from simulations.benchmarks.report import Report, Row, Run, describe_machine, table
from simulations.benchmarks.systems import PeerUnavailable, available
from simulations.programs import ENDS_WITH_PARENT, ROOT, Program, free_port

__all__ = ["add_command", "measure"]

READY_TIMEOUT: Final = 30.0
_AGENT: Final = "agent"
_PATH: Final = f"/registry/heartbeat/{_AGENT}"
_MESHES: Final = {
    "meshp2p": "an open mesh",
    "meshp2p-local": "a secured mesh, the caller is a program of this machine",
    "meshp2p-https": "a secured mesh, the caller has a token and comes over HTTPS",
}
_PEERS: Final = ("fastapi", "starlette")
_BODY: Final = '{"status":"busy","metrics":{"tasks":3}}'
_WRK_SCRIPT: Final = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = os.getenv("BENCHMARK_AUTHORIZATION")
wrk.body = os.getenv("BENCHMARK_BODY")
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests":%d,"seconds":%f,"errors":%d,"p50_ms":%f,"p99_ms":%f}\\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
_ROWS: Final = [
    Row("rate", "heartbeats, /s", lambda _: "2 x fastapi's", is_rate=True),
    Row("p50", "from request to answer, p50 ms"),
    Row("p99", "from request to answer, p99 ms"),
    Row("processor", "processor time of the server, µs a heartbeat"),
]


class _Result(msgspec.Struct):
    """The last line of wrk."""

    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float


class _Server:
    """A system. ``prepare`` comes first. A ``token`` is sent as ``Authorization``."""

    name: str
    version: str
    about: str = ""
    scheme: Literal["http", "https"] = "http"
    token: str = ""

    def prepare(self) -> None: ...

    def command(self, port: int, directory: Path) -> list[str]:
        """Return the command that serves on this port of loopback."""
        raise NotImplementedError


class _Mesh(_Server):
    """A node of this tree, or of the tree ``package``."""

    version = meshp2p.__version__

    def __init__(self, package: Path, name: str) -> None:
        self.name = name
        self.about = _MESHES[name]
        self._package = package
        if name == "meshp2p-https":
            self.scheme = "https"

    def command(self, port: int, directory: Path) -> list[str]:
        if self.name != "meshp2p":
            credential = found_mesh("benchmark", "benchmark")[1]
            Credentials(directory / "meshp2p" / "meshes").add(credential)
            if self.scheme == "https":
                self.token, _ = issue_token(credential, "benchmark", [f"agent:{_AGENT}"], int(time.time()) + 3600)
        options = ["--mesh", "benchmark", "--id", "node", "--host", "127.0.0.1", "--port", str(port), "--no-mdns"]
        environment = [f"XDG_DATA_HOME={directory}", f"PYTHONPATH={self._package}"]
        return ["env", *environment, sys.executable, "-m", "meshp2p", "up", *options, "--no-beacon"]


class _Uvicorn(_Server):
    """An application on uvicorn as ``pip install uvicorn`` installs it: asyncio and h11. It does not log requests."""

    about = "one process of uvicorn, with asyncio's loop and h11"

    def __init__(self, python: Path, name: str) -> None:
        self.name = name
        self._python = python

    def prepare(self) -> None:
        program = f"import {self.name}, uvicorn; print({self.name}.__version__, uvicorn.__version__)"
        done = subprocess.run([self._python, "-c", program], capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerUnavailable(f"{self.name}: {done.stderr.strip().splitlines()[-1]}")
        self.version = "{} (uvicorn {})".format(*done.stdout.split())

    def command(self, port: int, directory: Path) -> list[str]:
        application = f"simulations.benchmarks.peers.heartbeat_{self.name}:app"
        options = ["--loop", "asyncio", "--http", "h11", "--no-access-log", "--log-level", "warning"]
        return [str(self._python), "-m", "uvicorn", application, "--port", str(port), *options]


async def measure(
    servers: Sequence[_Server], runs: dict[str, Run], repeats: int, seconds: int, connections: int
) -> None:
    """Measure each server ``repeats`` times."""
    for repeat in range(repeats):
        for server in servers:
            print(f"# {server.name}, repeat {repeat + 1} of {repeats}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="meshp2p-benchmark-") as directory:
                await _measure(server, runs[server.name], Path(directory), seconds, connections)


async def _measure(server: _Server, run: Run, directory: Path, seconds: int, connections: int) -> None:
    async with _serving(server, directory) as (url, pid):
        script = directory / "heartbeat.lua"
        script.write_text(_WRK_SCRIPT)
        authorization = {"BENCHMARK_AUTHORIZATION": f"Bearer {server.token}"} if server.token else {}
        command = ["wrk", "-t", "1", "-c", str(connections), "-s", str(script), url + _PATH, "-d"]
        environment = {**os.environ, "BENCHMARK_BODY": _BODY, **authorization}
        await trio.run_process([*command, "1s"], env=environment, capture_stdout=True)  # it warms up
        spent = processor_seconds_of(pid)
        done = await trio.run_process([*command, f"{seconds}s"], env=environment, capture_stdout=True)
        spent = processor_seconds_of(pid) - spent
        found = msgspec.json.decode(done.stdout.splitlines()[-1], type=_Result)
        if found.errors or not found.requests:
            raise RuntimeError(
                f"{server.name}: {found.errors} of {found.requests} requests failed: {done.stdout.decode()}"
            )
        run.add("rate", found.requests / found.seconds)
        run.add("p50", found.p50_ms)
        run.add("p99", found.p99_ms)
        run.add("processor", 1e6 * spent / found.requests)


@asynccontextmanager
async def _serving(server: _Server, directory: Path) -> AsyncIterator[tuple[str, int]]:
    """Run a server that knows the agent. Give its URL and its process."""
    port = free_port()
    url = f"{server.scheme}://127.0.0.1:{port}"
    program = Program([*ENDS_WITH_PARENT, *server.command(port, directory)], None, lambda _line, _arrived: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.run)
        try:
            headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
            async with httpx.AsyncClient(base_url=url, headers=headers, verify=False) as client:
                if isinstance(server, _Mesh):
                    body = {"instance_id": _AGENT, "hostname": "h", "port": 1, "capabilities": [], "agent_profiles": []}
                    await _until(program, server.name, lambda: client.post("/registry/register", json=body))
                json = {"Content-Type": "application/json"}
                await _until(program, server.name, lambda: client.post(_PATH, content=_BODY, headers=json))
            yield url, program.pid
        finally:
            program.kill()


async def _until(program: Program, name: str, ask: Callable[[], Awaitable[httpx.Response]]) -> None:
    """Ask until the answer is 200."""
    said: object = "nothing"
    with trio.move_on_after(READY_TIMEOUT):
        while not program.ended.is_set():
            try:
                response = await ask()
            except httpx.TransportError as error:
                said = error
            else:
                if response.status_code == 200:
                    return
                said = response.text
            await trio.sleep(0.05)
    raise RuntimeError(f"{name} does not answer: {said}")


def add_command(commands: Any) -> None:
    """``python -m simulations.benchmarks heartbeats``."""
    parser = add_benchmark(commands, "heartbeats", "heartbeats over HTTP, beside FastAPI and Starlette", __doc__)
    parser.add_argument("--repeats", type=positive, default=3, help="of everything (%(default)s)")
    parser.add_argument("--seconds", type=positive, default=4, help="of each measurement (%(default)s)")
    parser.add_argument("--connections", type=positive, default=16, help="of wrk (%(default)s)")
    parser.add_argument(
        "--peers", type=Path, metavar="PYTHON", help="an interpreter with fastapi, starlette, msgspec and uvicorn"
    )
    parser.add_argument("--package", type=Path, default=ROOT, metavar="DIR", help="measure the meshp2p there")
    add_names(parser, "--only", (*_MESHES, *_PEERS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return trio.run(run_until_signal, _measure_and_print, options)


async def _measure_and_print(options: argparse.Namespace) -> int:
    if shutil.which("wrk") is None:
        print("absent: wrk (Debian: wrk)", file=sys.stderr)
        return 1
    report = Report(
        "heartbeats",
        describe_machine(),
        {"repeats": options.repeats, "seconds": options.seconds, "connections": options.connections},
    )
    known: list[_Server] = [_Mesh(options.package, name) for name in _MESHES]
    if options.peers is not None:
        known += [_Uvicorn(options.peers.absolute(), name) for name in _PEERS]
    servers = available([server for server in known if server.name in options.only], report)
    runs = {server.name: Run(server.name, server.version, 1, notes=[server.about]) for server in servers}
    report.runs.extend(runs.values())
    await measure(servers, runs, options.repeats, options.seconds, options.connections)
    report.is_complete = True
    report.machine.load_after = os.getloadavg()
    machine = report.machine
    print(
        f"\n{options.connections} connections of wrk on this machine; {machine.system}, {machine.python},"
        f" {machine.processors} processors, load {machine.load_before[0]:.1f} before; medians of {options.repeats}"
        " (worst)"
    )
    if report.runs:
        print(table(_ROWS, report.runs))
    for run in report.runs:
        print(f"{run.system} {run.version}: {', '.join(run.notes)}")
    if options.json is not None:
        report.write(options.json)
    return 0
