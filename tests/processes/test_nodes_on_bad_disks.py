"""Whole nodes on a small disk that fills, and in a directory that is removed: they serve on, and say so."""

from __future__ import annotations

import resource
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.record import Rumour, State, tag_of
from meshp2p.wire.codec import Codec
from tests.processes.mesh_processes import Up, open_ups

pytestmark = pytest.mark.slow


@asynccontextmanager
async def a_small_disk(tmp_path: Path, megabytes: int) -> AsyncIterator[Path]:
    """An ext4 file system of its own, in a file."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes * 2**20)
    try:
        await trio.run_process(["mkfs.ext4", "-q", "-m", "0", str(image)], capture_stderr=True)
        await trio.run_process(["mount", "-o", "loop", str(image), str(place)], capture_stderr=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs to mount a disk of its own (root, loop devices): {error}")
    try:
        yield place
    finally:
        with trio.CancelScope(shield=True):
            await trio.run_process(["umount", "--lazy", str(place)])


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                pass
    return filler


def own_epoch(node: Up) -> int:
    """The epoch with which this node said last that "b" leads, 0 if it has none yet."""
    told = [
        leader["epoch"] for event in node.events if (leader := event.get("leader")) and leader["instance_id"] == "b"
    ]
    return told[-1] if told else 0


async def until_ready(client: httpx.AsyncClient, url: str, status: int) -> str:
    """Ask until ``/readyz`` answers so; what it says."""
    while True:
        answer = await client.get(url + "/readyz")
        if answer.status_code == status:
            return answer.text
        await trio.sleep(0.05)


async def send(client: httpx.AsyncClient, url: str, target: str, size: int = 10) -> int:
    body = {"target_instance": target, "message_type": "Notification", "payload": "x" * size}
    return (await client.post(url + "/messages/send/tester", json=body)).status_code


async def test_a_full_disk_refuses_messages_and_stops_neither_claims_nor_starts(tmp_path: Path) -> None:
    mesh = ("--mesh", f"test-{secrets.token_hex(8)}", "--no-mdns")
    with trio.fail_after(100):
        async with a_small_disk(tmp_path, 16) as place, open_ups() as up, httpx.AsyncClient(trust_env=False) as client:
            here = ("--id", "b", "--data-dir", str(place / "data"))
            leader: Up = await up(*mesh, "--id", "a")
            join = f"--join={leader.ready['url'].removeprefix('http://')}"
            node: Up = await up(*mesh, *here, join)
            await node.until_sees("a", "b")
            url = node.ready["url"]
            assert await send(client, url, "a") == 200
            filler = fill(place)
            while (status := await send(client, url, "a", 100_000)) == 200:
                pass  # the log has some room of its own
            assert status == 507
            assert "cannot be written" in await until_ready(client, url, 503)
            await node.until(lambda up: any(event["type"] == "storage_failed" for event in up.events))
            # the leader dies: this node follows, with a claim that is kept on the full disk
            await leader.end(signal.SIGKILL)
            await node.until(lambda node: own_epoch(node) > 0)
            epoch = own_epoch(node)
            assert await node.end(signal.SIGKILL) == -signal.SIGKILL
            node = await up(*mesh, *here)
            await node.until(lambda node: own_epoch(node) > epoch)
            url = node.ready["url"]
            filler.unlink()
            await until_ready(client, url, 200)
            assert await send(client, url, "b", 100_000) == 200
            assert await node.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("what", ["messages.sqlite3", "messages.sqlite3-wal"])
async def test_a_file_that_is_removed_under_a_node_is_made_anew(tmp_path: Path, what: str) -> None:
    mesh = ("--mesh", f"test-{secrets.token_hex(8)}", "--no-mdns", "--id", "b", "--data-dir", str(tmp_path / "data"))
    with trio.fail_after(100):
        async with open_ups() as up, httpx.AsyncClient(trust_env=False) as client:
            node: Up = await up(*mesh)
            await node.until_sees("b")
            for _ in range(2):
                assert await send(client, node.ready["url"], "b") == 200
                (tmp_path / "data" / what).unlink()
            assert await send(client, node.ready["url"], "b") == 200
            assert await node.end(signal.SIGKILL) == -signal.SIGKILL
            node = await up(*mesh)
            await node.until_sees("b")
            messages = (await client.get(node.ready["url"] + "/messages/b")).json()["messages"]
            assert len(messages) == 3


async def test_a_directory_that_is_removed_under_a_node_refuses_messages_and_stops_nobody(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    mesh = ("--mesh", f"test-{secrets.token_hex(8)}", "--no-mdns", "--id", "b", "--data-dir", str(directory))
    with trio.fail_after(100):
        async with open_ups() as up, httpx.AsyncClient(trust_env=False) as client:
            node: Up = await up(*mesh)
            await node.until_sees("b")
            assert await send(client, node.ready["url"], "b") == 200
            shutil.rmtree(directory)
            assert await send(client, node.ready["url"], "b") == 507
            assert "was removed or replaced" in await until_ready(client, node.ready["url"], 503)
            assert (await client.get(node.ready["url"] + "/health")).status_code == 200
            assert await node.end(signal.SIGTERM) == 0


async def test_a_node_whose_descriptors_are_all_taken_serves_on_and_writes_when_it_can(tmp_path: Path) -> None:
    """Meanwhile something is said of it that it can refute only after a write."""
    name = f"test-{secrets.token_hex(8)}"
    here = ("--mesh", name, "--no-mdns", "--id", "b", "--data-dir", str(tmp_path / "data"))
    with trio.fail_after(100):
        async with open_ups() as up, httpx.AsyncClient(trust_env=False) as client:
            other: Up = await up("--mesh", name, "--no-mdns", "--id", "z")
            node: Up = await up(*here, f"--join={other.ready['url'].removeprefix('http://')}")
            await node.until_sees("b", "z")
            own = (await client.get(f"{other.ready['url']}/registry/agents/b")).json()
            ahead = Rumour("b", own["incarnation"] + 10_000_000, State.SUSPECT, "somebody")
            soft, hard = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (3, hard))  # what is open stays open
            with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
                host, port = node.ready["url"].removeprefix("http://").split(":")
                forged = Codec(name).encode(Datagram(Gossip(tag_of("somebody")), (ahead,)))
                await sock.sendto(forged, (host, int(port)))
            await node.until(lambda up: any(event["type"] == "storage_failed" for event in up.events))
            resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (soft, hard))
            await node.until(lambda up: any(event["type"] == "storage_recovered" for event in up.events))
            await until_ready(client, node.ready["url"], 200)
            assert await send(client, node.ready["url"], "b") == 200
            assert not {"died", "left"} & {*other.words("b")}
            assert await node.end(signal.SIGTERM) == 0
