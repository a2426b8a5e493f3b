"""One flood: a node, another that watches it, a normal client, and the flood, each in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from simulations.floods.shapes import request

__all__ = ["Outcome", "measure"]

_ROOT: Final = Path(__file__).parents[2]
_PAUSE: Final = 0.02  # between two requests of the client that means well
_WAIT_MAX: Final = 10.0  # after which a request counts as unanswered
_EXIT_MAX: Final = 30.0


class Outcome(msgspec.Struct):
    """The effects of a flood. Times in seconds, sizes in bytes. ``busy`` is the share of one processor that the node
    used. ``suspicions`` are those of the second node, which is not flooded."""

    shape: str
    requests: int = 0
    unanswered: int = 0
    worst_wait: float = 0.0
    busy: float = 0.0
    rss_above_idle: int = 0
    suspicions: int = 0
    exit_seconds: float = 0.0
    exit_status: int | None = None


class _Client:
    """A normal client: on a connection that it keeps for five requests it asks for the health, sends a heartbeat and a
    message, reads and acknowledges."""

    def __init__(self, host: str, port: int, outcome: Outcome) -> None:
        self._address = host, port
        self._outcome = outcome
        self._stream: trio.SocketStream | None = None

    async def run(self) -> None:
        send = {"target_instance": "agent", "message_type": "Query", "payload": {"a": 1}}
        while True:
            await self._ask("GET", "/health")
            await self._ask("POST", "/registry/heartbeat/agent", {"status": "ok"})
            await self._ask("POST", "/messages/send/agent-2", send)
            messages = json.loads(await self._ask("GET", "/messages/agent?limit=5") or "{}").get("messages", [])
            ids = [message["message_id"] for message in messages if message["source_instance"] == "agent-2"]
            await self._ask("POST", "/messages/ack/agent", {"message_ids": ids})
            await self.close()

    async def register(self) -> None:
        body = {"instance_id": "agent", "hostname": "h", "port": 1, "capabilities": [], "agent_profiles": []}
        await self._ask("POST", "/registry/register", body)

    async def _ask(self, method: str, path: str, body: object = None) -> bytes:
        """The body of the answer, empty if there was none in time. A connection that was closed is opened again."""
        data = request(method, path, None if body is None else json.dumps(body).encode())
        begin = time.monotonic()
        status, answer = 0, b""
        try:
            with trio.move_on_after(_WAIT_MAX) as waiting:
                for _ in range(3):
                    try:
                        status, answer = await self._exchange(data)
                        break
                    except (OSError, trio.BrokenResourceError):
                        await self.close()
            if waiting.cancelled_caught:
                await self.close()
            self._outcome.requests += 1
            self._outcome.unanswered += not 200 <= status < 300
        finally:  # also if it waits when the measurement ends
            self._outcome.worst_wait = max(self._outcome.worst_wait, time.monotonic() - begin)
        await trio.sleep(_PAUSE)
        return answer

    async def _exchange(self, data: bytes) -> tuple[int, bytes]:
        if self._stream is None:
            self._stream = await trio.open_tcp_stream(*self._address)
        await self._stream.send_all(data)
        received = b""
        while b"\r\n\r\n" not in received:
            received += await self._receive()
        head, _, body = received.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields.get(b"content-length", b"0")):
            body += await self._receive()
        if fields.get(b"connection") == b"close":
            await self.close()
        return int(head.split(b" ")[1]), body

    async def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _receive(self) -> bytes:
        assert self._stream is not None
        data = await self._stream.receive_some(65_536)
        if not data:
            raise trio.BrokenResourceError
        return bytes(data)


async def measure(shape: str, seconds: float, package: Path | None = None) -> Outcome:
    """Run a flood for so long. ``package`` is the directory of another version of meshp2p to measure instead."""
    outcome = Outcome(shape)
    environment = {**os.environ, "PYTHONPATH": str(package or _ROOT)}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        async with _node(place / "node", environment) as (node, lines), trio.open_nursery() as nursery:
            ready = json.loads(await anext(lines))
            host, _, port = ready["addresses"][0].rpartition(":")
            async with _node(place / "other", environment, ready["addresses"][0]) as (_, other_lines):
                nursery.start_soon(_count_suspicions, other_lines, outcome)
                nursery.start_soon(_drain, lines)
                client = _Client(host, int(port), outcome)
                await client.register()
                await trio.sleep(1.5)
                idle, busy_before = _reset_rss_peak(node.pid), _processor_seconds(node.pid)
                command = [sys.executable, "-m", "simulations.floods.shapes", shape, host, port]
                flood = await trio.lowlevel.open_process(command, cwd=_ROOT, env=environment)
                outcome.worst_wait = 0.0
                try:
                    with trio.move_on_after(seconds):
                        await client.run()
                    outcome.busy = (_processor_seconds(node.pid) - busy_before) / seconds
                    outcome.rss_above_idle = _status_bytes(node.pid, "VmHWM") - idle
                    begin = time.monotonic()
                    node.terminate()
                    with trio.move_on_after(_EXIT_MAX):
                        outcome.exit_status = await node.wait()
                    outcome.exit_seconds = time.monotonic() - begin
                finally:
                    flood.kill()
                    await client.close()
                    with trio.CancelScope(shield=True):
                        await flood.wait()
            nursery.cancel_scope.cancel()
    return outcome


@asynccontextmanager
async def _node(
    data_dir: Path, environment: dict[str, str], join: str = ""
) -> AsyncIterator[tuple[trio.Process, AsyncIterator[str]]]:
    """Run a node, and collect its output lines. It is killed at the end if it still runs."""
    options = ["--id", data_dir.name, "--host", "127.0.0.1", "--port", "0", "--no-mdns", "--no-beacon", "--json"]
    command = [sys.executable, "-m", "meshp2p", "up", *options, "--data-dir", str(data_dir)]
    command += ["--join", join] if join else []
    process = await trio.lowlevel.open_process(
        command, cwd=data_dir.parent, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, _lines(process.stdout)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    text = b""
    with contextlib.suppress(trio.ClosedResourceError):  # the process was ended
        while data := await stream.receive_some():
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                yield line.decode()


async def _drain(lines: AsyncIterator[str]) -> None:
    async for _ in lines:
        pass


async def _count_suspicions(lines: AsyncIterator[str], outcome: Outcome) -> None:
    """Count suspicions until the flooded node ends: ``exit_status`` and a farewell are none."""
    async for line in lines:
        event = json.loads(line)
        is_bad = event["type"] in ("member_suspected", "member_died")
        outcome.suspicions += is_bad and event["instance"]["instance_id"] == "node"


def _status_bytes(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def _reset_rss_peak(pid: int) -> int:
    """Start a new peak, and return the current size of the process."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status_bytes(pid, "VmRSS")


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
