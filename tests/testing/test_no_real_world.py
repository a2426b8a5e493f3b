"""A virtual mesh touches neither the kernel's network nor files nor threads: they would break virtual time."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import meshp2p
from meshp2p.testing import VirtualMesh, run
from tests.testing.real_world import watching_real_world
from tests.testing.test_determinism import eventful


async def _use_everything(mesh: VirtualMesh) -> None:
    """Nodes with disks, messages, queries, tasks, maps, leadership, an agent, and a client."""
    a, b = await mesh.start("a", "b", capabilities=["work"], data_dir="/virtual/state")

    async def work(number: int) -> int:
        return number + 1

    b.handler("Query")(work)
    b.handler("TaskDelegation")(work)
    await mesh.wait_until_whole()
    await a.send("b", 1)
    async with b.inbox() as inbox:
        await (await anext(inbox)).acknowledge()
    assert await a.query("b", 1) == 2
    assert [part async for part in a.ask("b", 1)] == [2]
    assert await a.delegate(1, capability="work") == 2
    await a.shared("m").set("k", 1)
    await b.shared("m").wait_until(lambda: "k" in b.shared("m"))
    async with a.leadership():
        pass

    async def agent() -> None:
        async with meshp2p.open_node(id="c", data_dir="/virtual/c") as node:
            await node.wait_for_members(3)
            agreed.set()

    agreed = trio.Event()
    mesh.launch("c", agent)
    await agreed.wait()
    await mesh.restart("b")
    await mesh.wait_until_whole("a", "b")


@pytest.mark.parametrize("story", [eventful, _use_everything])
def test_a_run_asks_nothing_of_the_real_world(story: Callable[[VirtualMesh], object]) -> None:
    asked: list[str] = []

    async def main(mesh: VirtualMesh) -> None:
        with watching_real_world() as found:  # trio itself is open by now, and all modules are imported
            await story(mesh)  # type: ignore[misc]  # it is an async function
        asked.extend(found)

    async def warm_up(mesh: VirtualMesh) -> None:
        await story(mesh)  # type: ignore[misc]

    run(warm_up)
    run(main)
    assert asked == []


REAL: dict[str, Callable[[Path], object]] = {
    "open": lambda path: (path / "x").open("w").close(),
    "os.mkdir": lambda path: (path / "d").mkdir(),
    "os.listdir": os.listdir,
    "sqlite3.connect": lambda path: sqlite3.connect(path / "db").close(),
    "socket.__new__": lambda _: socket.socket().close(),
    "socket.getaddrinfo": lambda _: socket.getaddrinfo("127.0.0.1", 1),
    "subprocess.Popen": lambda _: subprocess.run([sys.executable, "-c", ""], check=True),
    "thread": lambda _: threading.Thread(target=lambda: None).start(),
}


@pytest.mark.parametrize("name", REAL)
def test_the_real_world_is_seen_if_it_is_asked(name: str, tmp_path: Path) -> None:
    with watching_real_world() as asked:
        REAL[name](tmp_path)
    assert any(name in one for one in asked), asked
    with watching_real_world() as asked:
        pass
    assert asked == []


def test_a_worker_thread_is_seen_if_it_is_asked() -> None:
    async def main() -> None:
        await trio.to_thread.run_sync(int)  # trio keeps the thread for the next one
        with watching_real_world() as asked:
            await trio.to_thread.run_sync(int)
        assert any(one.startswith("thread") for one in asked)

    trio.run(main)
