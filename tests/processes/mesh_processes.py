"""``meshp2p up --json`` in processes of its own: what each says, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

ROOT = Path(__file__).parents[2]

Event = dict[str, Any]


class Up:
    """A running node. ``leader_id``, ``epoch`` and ``listed`` are what its lines said last."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.ready: Event = {}
        self.leader_id: str | None = None
        self.listed: set[str] = set()
        self.events: list[Event] = []
        self._changed = trio.Event()
        self._is_ended = False

    async def read(self) -> None:
        """Take in its lines until it ends."""
        assert self._process.stdout is not None
        text = b""
        async for data in self._process.stdout:
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
        assert text == b""
        self._is_ended = True
        self._changed.set()

    def _take(self, event: Event) -> None:
        self.events.append(event)
        match event["type"]:
            case "ready":
                self.ready = event
            case "member_joined":
                self.listed.add(event["instance"]["instance_id"])
            case "member_died" | "member_left":
                self.listed.discard(event["instance"]["instance_id"])
            case "leader_changed":
                self.leader_id = event["leader"] and event["leader"]["instance_id"]
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, holds: Callable[[Up], bool]) -> None:
        """Wait until its lines say so. Fails where it ends before."""
        while not holds(self):
            if self._is_ended:
                pytest.fail(f"{self._process.args!r} ended:\n" + "\n".join(map(str, self.events)))
            await self._changed.wait()

    async def until_sees(self, *ids: str) -> None:
        """Wait until these, and no others, are listed, and the lowest of them leads."""
        await self.until(lambda up: up.listed == {*ids} and up.leader_id == min(ids))

    def about(self, instance_id: str) -> list[Event]:
        """The events about one instance, in order."""
        return [event for event in self.events if event.get("instance", {}).get("instance_id") == instance_id]

    def words(self, instance_id: str) -> list[str]:
        """What was said of one instance, in order."""
        return [event["type"].removeprefix("member_") for event in self.about(instance_id)]

    @property
    def pid(self) -> int:
        return self._process.pid

    async def end(self, number: signal.Signals) -> int:
        """Send it a signal and return its exit code."""
        self._process.send_signal(number)
        return await self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


@asynccontextmanager
async def open_ups() -> AsyncIterator[Callable[..., Any]]:
    """Yields what starts a node: ``await up("--id", "a")`` returns when it is ready. At the end all are killed."""
    started: list[trio.Process] = []
    async with trio.open_nursery() as nursery:

        async def start(*arguments: str) -> Up:
            process = await trio.lowlevel.open_process(
                command(*arguments), stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
            started.append(process)
            up = Up(process)
            nursery.start_soon(up.read)
            await up.until(lambda up: bool(up.ready))
            return up

        try:
            yield start
        finally:
            with trio.CancelScope(shield=True):
                for process in started:
                    process.kill()
                    await process.wait()
    for process in started:
        assert process.stdout is not None
        await process.stdout.aclose()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "meshp2p", "up", "--json", *arguments]


async def refuse(*arguments: str, **environment: str) -> str:
    """Run it with what it must refuse: exit code 2, nothing on standard output, and one line, which is returned."""
    finished = await trio.run_process(
        command(*arguments),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    text: str = finished.stderr.decode()
    assert (finished.returncode, finished.stdout) == (2, b""), text
    assert text.count("\n") == 1, text
    assert text.endswith("\n")
    return text.rstrip("\n")
