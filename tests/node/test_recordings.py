"""A node writes down what it went through when something happened, and goes on if it cannot."""

from __future__ import annotations

import logging

import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.errors import StoreError
from meshp2p.node.recordings import AFTER_SECONDS, PAUSE_SECONDS
from meshp2p.recording.recording import Recording, load_recording
from meshp2p.recording.replaying import Replay
from meshp2p.testing import VirtualMesh
from meshp2p.testing.disk import OpenDisk


def written(mesh: VirtualMesh, name: str) -> list[Recording]:
    """The recordings of a host, the oldest first. Each replays."""
    files = {name: data for disk in mesh._lan.hosts[name].disks.values() for name, data in disk.recordings.items()}
    recordings = [load_recording(data) for _, data in sorted(files.items())]
    for recording in recordings:
        replay = Replay(recording)
        assert sum(1 for _ in replay.run())
        assert not replay.differences
    return recordings


async def test_the_death_of_another_node_is_recorded_with_what_came_of_it(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.kill("b")
    await virtual_mesh.wait_until_whole("a", "c")
    assert not written(virtual_mesh, "a")
    await virtual_mesh.sleep(AFTER_SECONDS + 1)
    for name in ("a", "c"):
        (recording,) = written(virtual_mesh, name)
        assert (recording.node_id, recording.reason) == (name, "death")
        assert recording.mesh == virtual_mesh["a"].config.mesh_name


async def test_deaths_one_after_another_make_one_recording_a_minute(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", "c", "d")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.kill("b")
    await virtual_mesh.sleep(AFTER_SECONDS + 10)
    virtual_mesh.kill("c")
    await virtual_mesh.sleep(20)
    assert len(written(virtual_mesh, "a")) == 1
    await virtual_mesh.sleep(PAUSE_SECONDS)
    assert [recording.reason for recording in written(virtual_mesh, "a")] == ["death", "death"]


async def test_a_node_that_leaves_writes_what_it_has_not_written_yet(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.kill("b")
    await virtual_mesh.wait_until_whole("a", "c")
    await virtual_mesh.stop("a")
    assert [recording.reason for recording in written(virtual_mesh, "a")] == ["death"]


async def test_a_node_that_hears_nobody_records_that(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b", "c", protocol=ProtocolConfig(suspicion_multiplier=50))
    await virtual_mesh.wait_until_whole()
    with virtual_mesh.partition(["a"], ["b", "c"]):
        await virtual_mesh.sleep(30)
    assert "lost-contact" in [recording.reason for recording in written(virtual_mesh, "a")]


async def test_a_disk_that_takes_no_recording_is_told_once_and_counted(
    virtual_mesh: VirtualMesh, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_disk: OpenDisk, name: str, _data: bytes) -> None:
        raise StoreError(f"{name} cannot be written: the disk is full")

    monkeypatch.setattr(OpenDisk, "save_recording", fail)
    await virtual_mesh.start("a", "b", "c")
    await virtual_mesh.wait_until_whole()
    for name in ("b", "c"):
        virtual_mesh.kill(name)
        await virtual_mesh.sleep(PAUSE_SECONDS + 30)
    assert b'meshp2p_recordings_total{outcome="failed"} 2' in virtual_mesh["a"]._node.metrics()
    told = [record for record in caplog.records if "the disk is full" in record.getMessage()]
    assert len([record for record in told if record.levelno >= logging.WARNING]) == 2  # once by a, once by c
    assert virtual_mesh["a"].members()
