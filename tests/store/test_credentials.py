"""The credentials of a user: what is kept, who may read it, and several processes at once."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest
import trio

from meshp2p.errors import ConfigError, StoreError
from meshp2p.node.security import TrustOnDisk
from meshp2p.store.credential_bundle import CredentialBundle, bundle_of
from meshp2p.store.credentials import CredentialDirectory, Credentials
from meshp2p.store.user_data import user_data_directory
from meshp2p.trust.certificates import consent_to
from meshp2p.trust.credential import found_mesh
from meshp2p.trust.keys import PrivateKey
from tests.trust.builders import invite_credential


def test_a_new_mesh_survives_its_files(tmp_path: Path) -> None:
    root_key, credential = found_mesh("studio", "anna@laptop")
    kept = Credentials(tmp_path).add(credential, root_key)
    again = CredentialDirectory(kept.path).load()
    assert again.name == "studio"
    assert again.machine.label == "anna@laptop"
    assert again.key.fingerprint == credential.key.fingerprint
    assert again.trust.digest() == credential.trust.digest()
    assert again.is_trusted
    found = kept.load_root_key()
    assert found is not None
    assert found.fingerprint == root_key.fingerprint


def test_an_invited_machine_survives_its_files(tmp_path: Path) -> None:
    _, inviter = found_mesh("studio", "anna@laptop")
    kept = Credentials(tmp_path).add(invite_credential(inviter, "build-server"))
    again = kept.load()
    assert again.machine.label == "build-server"
    assert again.machine.inviter == inviter.key.fingerprint
    assert kept.load_root_key() is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
@pytest.mark.parametrize("name", ["machine.key", "root.key"])
def test_a_key_that_others_may_read_or_change_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    root_key, credential = found_mesh("studio", "anna@laptop")
    kept = Credentials(tmp_path).add(credential, root_key)
    (kept.path / name).chmod(mode)
    with pytest.raises(StoreError, match=r"by others.*chmod 600"):
        kept.load() if name == "machine.key" else kept.load_root_key()
    (kept.path / name).chmod(0o600)
    assert kept.load().is_trusted


def test_a_key_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Credentials(tmp_path).add(found_mesh("studio", "anna@laptop")[1])
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(StoreError, match="another user"):
        kept.load()


def test_a_key_is_not_read_through_a_symbolic_link(tmp_path: Path) -> None:
    kept = Credentials(tmp_path).add(found_mesh("studio", "anna@laptop")[1])
    (kept.path / "machine.key").rename(tmp_path / "elsewhere")
    (kept.path / "machine.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot be read"):
        kept.load()


def test_nobody_else_may_read_what_is_written_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        root_key, credential = found_mesh("studio", "anna@laptop")
        kept = Credentials(tmp_path).add(credential, root_key)
        kept.next_boot()
        kept.update_trust(kept.load())
    finally:
        os.umask(before)
    assert {path.name for path in kept.path.iterdir()} == {
        "boots", "machine.key", "machine.pem", "root.key", "root.pem", "trust",
    }  # fmt: skip
    for path in (kept.path, *kept.path.iterdir()):
        assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


@pytest.mark.parametrize("name", ["machine.key", "machine.pem", "root.pem", "trust", "boots"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"m2trust\x01\xc1", bytes(1000)])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    kept = Credentials(tmp_path).add(found_mesh("studio", "anna@laptop")[1])
    kept.next_boot()
    (kept.path / name).write_bytes(content)
    with pytest.raises(StoreError, match=name.replace(".", r"\.")):
        kept.next_boot() if name == "boots" else kept.load()


def test_files_of_two_machines_do_not_make_a_credential(tmp_path: Path) -> None:
    one = Credentials(tmp_path / "one").add(found_mesh("studio", "anna@laptop")[1])
    two = Credentials(tmp_path / "two").add(found_mesh("studio", "bert@laptop")[1])
    for name in ("machine.key", "machine.pem", "root.pem"):
        own = (one.path / name).read_bytes()
        (one.path / name).write_bytes((two.path / name).read_bytes())
        with pytest.raises(StoreError, match="does not hold a credential"):
            one.load()
        (one.path / name).write_bytes(own)


def test_boots_only_rise(tmp_path: Path) -> None:
    kept = Credentials(tmp_path).add(found_mesh("studio", "anna@laptop")[1])
    boots = [CredentialDirectory(kept.path).next_boot() for _ in range(5)]
    assert boots == [1, 2, 3, 4, 5]


async def test_boots_of_many_processes_differ(tmp_path: Path) -> None:
    kept = Credentials(tmp_path).add(found_mesh("studio", "anna@laptop")[1])
    boots: list[int] = []

    async def start() -> None:
        boots.append(await trio.to_thread.run_sync(CredentialDirectory(kept.path).next_boot))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(start)
    assert sorted(boots) == list(range(1, 21))


def test_boots_of_exported_credentials_only_rise_whatever_the_clock_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(found_mesh("studio", "anna@laptop")[1])
    boots: list[int] = []
    for second in (2_000_000_000, 2_000_000_000, 1_700_000_000, 0, 2_100_000_000):
        monkeypatch.setattr(time, "time_ns", lambda second=second: second * 1_000_000_000)
        boots.append(CredentialBundle(bundle, "bundle", tmp_path).next_boot())
    assert boots == [2_000_000_000_000 + add for add in range(4)] + [2_100_000_000_000]


def test_a_trust_map_that_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    root_key, credential = found_mesh("studio", "anna@laptop")
    kept = Credentials(tmp_path).add(credential, root_key)
    loaded = kept.load()
    disk = TrustOnDisk(kept, loaded)
    disk.refresh()
    credential.trust.revoke(root_key, credential.key.fingerprint)
    kept.update_trust(credential)
    (kept.path / "trust").rename(tmp_path / "elsewhere")
    (kept.path / "trust").symlink_to(tmp_path / "elsewhere")  # it is not read through a link
    with pytest.raises(StoreError, match="cannot be read"):
        disk.refresh()
    with pytest.raises(StoreError, match="cannot be read"):
        disk.refresh()
    (tmp_path / "elsewhere").rename(kept.path / "trust")
    disk.refresh()
    assert not loaded.is_trusted


def test_trust_maps_that_two_processes_write_become_one(tmp_path: Path) -> None:
    root_key, credential = found_mesh("studio", "anna@laptop")
    kept = Credentials(tmp_path).add(credential, root_key)
    one, two = kept.load(), kept.load()
    before = kept.trust_stamp()
    for inviter, label in ((one, "one"), (two, "two")):
        key = PrivateKey.generate()
        inviter.invite(key.public, consent_to(key, inviter.mesh_id, inviter.key.fingerprint), label)
        kept.update_trust(inviter)
    assert kept.trust_stamp() != before
    labels = {machine.label for machine in kept.load().trust.machines.values()}
    assert labels == {"anna@laptop", "one", "two"}
    stamp = kept.trust_stamp()
    kept.update_trust(two)
    assert kept.trust_stamp() == stamp  # nothing was new, so nothing was written


def test_a_revocation_survives_the_restart_of_everybody(tmp_path: Path) -> None:
    root_key, credential = found_mesh("studio", "anna@laptop")
    kept = Credentials(tmp_path).add(credential, root_key)
    credential.trust.revoke(root_key, credential.key.fingerprint)
    kept.update_trust(credential)
    assert not kept.load().is_trusted


def test_the_root_key_is_exported_once(tmp_path: Path) -> None:
    root_key, credential = found_mesh("studio", "anna@laptop")
    kept = Credentials(tmp_path).add(credential, root_key)
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(StoreError, match="taken"):
        kept.export_root_key(tmp_path / "taken")
    kept.export_root_key(tmp_path / "root.key")
    exported = PrivateKey.from_pem((tmp_path / "root.key").read_bytes())
    assert exported.fingerprint == root_key.fingerprint
    assert stat.S_IMODE((tmp_path / "root.key").stat().st_mode) == 0o600
    assert kept.load_root_key() is None
    assert kept.load().is_trusted
    with pytest.raises(StoreError, match="no root key"):
        kept.export_root_key(tmp_path / "again.key")


@pytest.mark.parametrize("fails", ["the file", "its name"])
def test_a_root_key_that_may_not_survive_a_power_failure_is_kept_here_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    kept = Credentials(tmp_path).add(found_mesh("studio", "anna@laptop")[1], PrivateKey.generate())
    sync = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (fails == "its name"):
            raise OSError(errno.EIO, "the disk is broken")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="the disk is broken"):
        kept.export_root_key(tmp_path / "root.key")
    assert kept.load_root_key() is not None


def test_meshes_are_found_by_name(tmp_path: Path) -> None:
    meshes = Credentials(tmp_path)
    assert meshes.all() == []
    assert meshes.find() is None
    studio = meshes.add(found_mesh("studio", "anna@laptop")[1])
    for name in ("studio", None):
        found = meshes.find(name)
        assert found is not None
        assert found.path == studio.path
    assert meshes.find("office") is None
    meshes.add(found_mesh("office", "anna@laptop")[1])
    with pytest.raises(ConfigError, match=r"several meshes.*'office'|several meshes.*'studio'"):
        meshes.find()
    meshes.add(found_mesh("office", "anna@laptop")[1])
    with pytest.raises(ConfigError, match="several meshes"):
        meshes.find("office")


def test_the_names_of_a_mesh_are_read_from_its_root_alone(tmp_path: Path) -> None:
    _, credential = found_mesh("studio", "anna@laptop")
    kept = Credentials(tmp_path).add(credential)
    for path in kept.path.iterdir():
        if path.name != "root.pem":
            path.write_bytes(b"damaged")
    found = Credentials(tmp_path).find("studio")
    assert found is not None
    assert found.load_announced_name() == credential.announced_name


def test_a_mesh_is_added_once(tmp_path: Path) -> None:
    _, credential = found_mesh("studio", "anna@laptop")
    Credentials(tmp_path).add(credential)
    with pytest.raises(StoreError, match="in mesh 'studio' already"):
        Credentials(tmp_path).add(credential)
    assert len(Credentials(tmp_path).all()) == 1


def test_the_data_directory_is_the_platforms() -> None:
    assert user_data_directory({"HOME": "/home/anna"}).name == "meshp2p"
    assert user_data_directory({"HOME": "/home/anna", "XDG_DATA_HOME": "/data"}) == Path("/data/meshp2p")
    assert user_data_directory({"HOME": "/home/anna", "XDG_DATA_HOME": "relative"}) == Path(
        "/home/anna/.local/share/meshp2p"
    )


def test_a_user_without_a_home_directory_names_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("no such user")

    monkeypatch.setattr(Path, "home", fail)
    assert user_data_directory({"XDG_DATA_HOME": "/data"}) == Path("/data/meshp2p")
    with pytest.raises(ConfigError, match="set HOME"):
        user_data_directory({})
