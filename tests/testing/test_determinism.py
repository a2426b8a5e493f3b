"""The same seed does the same again, to the last packet: in one process and in others, whatever their hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from meshp2p.testing import VirtualMesh, run

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
from tests.testing.test_determinism import eventful
from meshp2p.testing import run
print(run(eventful, seed=int(sys.argv[1])))
"""


async def eventful(mesh: VirtualMesh) -> str:
    """A run in which much happens; its digest and story."""
    await mesh.start("a", "b", "c", "d", "e")
    await mesh.wait_until_whole()
    mesh.loss(0.05, tcp=True)
    mesh.delay(0.001, jitter=0.01)
    async with mesh.client("a", "b") as client, mesh.client("c", at="e") as other:
        await client.register("worker", "w", 1)
        with mesh.partition(["a", "b"], ["c", "d", "e"]):
            for _ in range(5):
                await client.heartbeat("worker", metrics={"n": 1})
                await mesh.sleep(3)
            mesh.kill("d")
        mesh.pause("b", 4)
        await mesh.sleep(10)
        await mesh.restart("d")
        mesh.clock_step("c", -3600)
        await mesh.restart("c", keep_disk=False)
        await mesh.wait_until_whole("a", "b", "c", "d", "e", timeout=120)
        leader = await other.leader()
        assert leader is not None
        assert leader.id == "a"
    await mesh.stop("a")
    await mesh.sleep(5)
    return f"{mesh.digest()}\n{mesh.story()}"


def test_a_seed_repeats_within_a_process_and_two_seeds_differ() -> None:
    first = run(eventful, seed=1)
    assert run(eventful, seed=1) == first
    assert run(eventful, seed=2) != first


def test_a_seed_repeats_in_processes_with_other_hash_seeds() -> None:
    told = []
    for hash_seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", PROGRAM, "7"]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        told.append(result.stdout)
    assert told[0] == told[1]
