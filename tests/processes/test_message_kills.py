"""kill -9 in a loop while messages are sent: what was accepted arrives, once acknowledged never again."""

from __future__ import annotations

import contextlib
import random
import secrets
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.processes.mesh_processes import Up, open_ups

ROUNDS = 6


def a_free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Traffic:
    """One sender and one reader, who go on whatever is killed."""

    def __init__(self, urls: dict[str, str]) -> None:
        self.urls = urls
        self.accepted: list[str] = []
        self.read: dict[str, str] = {}
        self.acknowledged: set[str] = set()
        self.is_over = self.is_read = False
        self.last_count = 0
        """How many messages the last read gave."""
        self._progress = trio.Event()

    async def until_read(self) -> None:
        """Wait until everything that was accepted was read, and the mailbox is empty: an acknowledgement whose answer
        was lost with a node may have counted."""
        while not {*self.read} >= {*self.accepted} or self.last_count:
            await self._progress.wait()
            self._progress = trio.Event()

    async def send(self) -> None:
        """Send one message after another at node a; what had no answer is not counted, and may arrive."""
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            number = 0
            while not self.is_over:
                number += 1
                body = {"target_instance": "b", "message_type": "Notification", "payload": number}
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.post(self.urls["a"] + "/messages/send/tester", json=body)
                    if answer.status_code == 200:
                        self.accepted.append(answer.json()["message_id"])
                    await trio.sleep(0.005)
                    continue
                await trio.sleep(0.05)

    async def receive(self) -> None:
        """Read for b at whichever node answers, and acknowledge."""
        draw = random.Random(5)
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            while not self.is_read:
                url = self.urls[draw.choice("abc")]
                with contextlib.suppress(httpx.HTTPError):
                    answer = await client.get(url + "/messages/b?wait=1&limit=50")
                    if answer.status_code == 200:
                        await self._take(client, url, answer.json()["messages"])
                        continue
                await trio.sleep(0.05)

    async def _take(self, client: httpx.AsyncClient, url: str, messages: list[dict[str, Any]]) -> None:
        ids = [message["message_id"] for message in messages]
        self.last_count = len(ids)
        self._progress.set()
        assert not self.acknowledged & {*ids}, "read again after it was acknowledged"
        for message in messages:
            self.read.setdefault(message["message_id"], message["created_at"])
        answer = await client.post(url + "/messages/ack/b", json={"message_ids": ids})
        if answer.status_code == 204:
            self.acknowledged |= {*ids}


# A request of httpx that a kill cuts short leaves its body's generator to the garbage collector, which trio warns of.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*ByteStream.__aiter__:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Async generator .*ByteStream.__aiter__:ResourceWarning")
@pytest.mark.slow
async def test_what_was_accepted_arrives_whoever_is_killed(tmp_path: Path) -> None:
    mesh = f"test-{secrets.token_hex(8)}"
    ports = {name: a_free_port() for name in "abc"}
    traffic = Traffic({name: f"http://127.0.0.1:{port}" for name, port in ports.items()})
    draw = random.Random(7)
    running: dict[str, Up] = {}
    with trio.fail_after(100):
        async with open_ups() as up, trio.open_nursery() as nursery:

            async def start(name: str) -> None:
                join = [f"--join=127.0.0.1:{port}" for other, port in ports.items() if other != name]
                here = ("--mesh", mesh, "--id", name, "--port", str(ports[name]), "--data-dir", str(tmp_path / name))
                running[name] = await up("--no-mdns", *here, *join)

            for name in "abc":
                await start(name)
            for one in running.values():
                await one.until_sees("a", "b", "c")
            nursery.start_soon(traffic.receive)
            async with trio.open_nursery() as sending:
                sending.start_soon(traffic.send)
                for number in range(ROUNDS):
                    await trio.sleep(draw.random())
                    victims = ("a", "b", "ab")[number % 3]
                    for name in victims:
                        assert await running[name].end(signal.SIGKILL) == -signal.SIGKILL
                    for name in victims:
                        await start(name)
                traffic.is_over = True
            await traffic.until_read()
            traffic.is_read = True
    assert len(traffic.accepted) > 2 * ROUNDS, "hardly anything was accepted"
    first_read = [message_id for message_id in traffic.read if message_id in {*traffic.accepted}]
    assert first_read == traffic.accepted, "not in the order in which they were accepted"
