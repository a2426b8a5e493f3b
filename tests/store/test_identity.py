"""The identity on disk: what was saved is what is loaded, a damaged file is neither taken nor touched."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshp2p.core.directory.keeping import KeptState
from meshp2p.errors import StartError, StoreError
from meshp2p.store.directory import DataDirectory
from meshp2p.store.identity import Identity, IdentityStore

IDENTITY = Identity("agent-ü", is_generated=True, kept=KeptState(1_700_000_000_000, 7))


@contextmanager
def opened(directory: Path) -> Iterator[IdentityStore]:
    data = DataDirectory(directory)
    try:
        yield IdentityStore(data)
    finally:
        data.close()


def test_nothing_is_kept_at_first(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "b") as store:
        assert store.load() is None


def test_what_was_saved_last_is_loaded(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.save(Identity("another", is_generated=False))
        store.save(IDENTITY)
        assert store.load() == IDENTITY
    with opened(tmp_path) as store:
        assert store.load() == IDENTITY
    assert {path.name for path in tmp_path.iterdir()} == {"identity.json", "identity.spare"}


def good(**changes: object) -> bytes:
    kept = {"incarnation": 5, "epoch": 1}
    return json.dumps({"id": "a", "is_generated": True, "kept": kept, "schema": 1, **changes}).encode()


def test_the_file_that_is_damaged_below_is_right_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_bytes(good())
    with opened(tmp_path) as store:
        assert store.load() == Identity("a", is_generated=True, kept=KeptState(5, 1))


DAMAGED = {
    "empty": b"",
    "half": good()[:20],
    "binary": bytes(range(256)),
    "no object": b"[]",
    "zeros, as after a power cut": b"\0" * 100,
    "invalid UTF-8": b'{"id": "\xff", "is_generated": true}',
    "a lone surrogate": b'{"id": "\\ud800", "is_generated": true}',
    "too deep": b"[" * 100_000,
    "no id": b'{"is_generated": true}',
    "an empty id": good(id=""),
    "a long id": good(id="ü" * 65),
    "a number for an id": good(id=7),
    "a word for a flag": good(is_generated="yes"),
    "a negative incarnation": good(kept={"incarnation": -1, "epoch": 1}),
    "an incarnation that no record can have": good(kept={"incarnation": 1 << 63, "epoch": 1}),
    "an epoch that no record can have": good(kept={"incarnation": 1, "epoch": 1 << 63}),
    "a fraction": good(kept={"incarnation": 1.5, "epoch": 1}),
    "no sum of what was written": good(schema=2),
    "another sum": good(schema=2, crc=7),
    "a later schema": good(schema=3),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_by_its_name_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "identity.json"
    path.write_bytes(DAMAGED[name])
    with opened(tmp_path) as store, pytest.raises(StoreError) as caught:
        store.load()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == DAMAGED[name]


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "identity.json").mkdir()
    with opened(tmp_path) as store, pytest.raises(StoreError, match=r"identity\.json"):
        store.load()


def test_what_was_kept_stays_where_it_cannot_be_replaced(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.save(IDENTITY)
        (tmp_path / "identity.spare").unlink()
        (tmp_path / "identity.spare").mkdir()
        with pytest.raises(StoreError, match="cannot be written"):
            store.save(Identity("another", is_generated=False))
        assert store.load() == IDENTITY


STEPS = ("link", "replace", "unlink", "fsync")


@pytest.mark.parametrize("number", range(12))
def test_an_end_at_any_step_of_a_save_leaves_the_old_or_the_new_and_the_next_save_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    new = Identity("another", is_generated=False)
    with opened(tmp_path) as store:
        store.save(IDENTITY)
        store.save(IDENTITY)
        left = number

        def or_end(step: Callable[..., None]) -> Callable[..., None]:
            def run(*arguments: object, **options: object) -> None:
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                step(*arguments, **options)

            return run

        with monkeypatch.context() as patched:
            for step in STEPS:
                patched.setattr(os, step, or_end(getattr(os, step)))
            with contextlib.suppress(KeyboardInterrupt):
                store.save(new)
    for _ in range(2):
        with opened(tmp_path) as store:
            assert store.load() in (IDENTITY, new)
            store.save(new)
            assert store.load() == new
            assert {path.name for path in tmp_path.iterdir()} == {"identity.json", "identity.spare"}
            assert not (tmp_path / "identity.json").samefile(tmp_path / "identity.spare")


def test_every_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    with opened(tmp_path) as store:
        store.save(IDENTITY)
        data = bytearray(path.read_bytes())
        for place in range(8 * 300):  # behind it is but padding
            data[place // 8] ^= 1 << place % 8
            path.write_bytes(data)
            with contextlib.suppress(StoreError):
                assert store.load() == IDENTITY
            data[place // 8] ^= 1 << place % 8


@pytest.mark.parametrize("kept", [KeptState((1 << 62) + 1, 1), KeptState(1, (1 << 62) + 1), KeptState(-1, 0)])
def test_what_load_would_refuse_is_not_saved(tmp_path: Path, kept: KeptState) -> None:
    with opened(tmp_path) as store:
        store.save(IDENTITY)
        with pytest.raises(StoreError, match="expected an incarnation"):
            store.save(Identity("agent", is_generated=True, kept=kept))
        assert store.load() == IDENTITY


def test_the_greatest_counters_are_saved_and_loaded(tmp_path: Path) -> None:
    greatest = Identity("agent", is_generated=True, kept=KeptState(1 << 62, 1 << 62))
    with opened(tmp_path) as store:
        store.save(greatest)
        assert store.load() == greatest


def test_a_file_of_the_schema_before_is_read(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_bytes(good(schema=1))
    with opened(tmp_path) as store:
        assert store.load() == Identity("a", is_generated=True, kept=KeptState(5, 1))
        store.save(IDENTITY)
        assert store.load() == IDENTITY


def test_a_directory_that_was_removed_or_replaced_takes_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with opened(directory) as store:
        store.save(IDENTITY)
        shutil.rmtree(directory)
        with pytest.raises(StoreError, match="was removed or replaced"):
            store.save(IDENTITY)
        directory.mkdir()
        with pytest.raises(StoreError, match="was removed or replaced"):
            store.save(IDENTITY)
        assert list(directory.iterdir()) == []


def test_a_directory_in_which_nothing_can_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "identity.spare").mkdir()
    data = DataDirectory(tmp_path)
    try:
        with pytest.raises(StartError, match="cannot be written"):
            IdentityStore(data)
    finally:
        data.close()


def test_a_place_that_cannot_be_a_directory_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for directory in (file, file / "below", Path("/proc/meshp2p")):
        with pytest.raises(StartError) as caught:
            DataDirectory(directory)
        assert repr(str(directory)) in str(caught.value)


def test_a_directory_has_one_user_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(StartError, match="used by another running node"):
            DataDirectory(tmp_path)
        store.save(IDENTITY)
    with opened(tmp_path) as store:
        assert store.load() == IDENTITY


def _hold(directory: Path, has_it: int, until: int) -> None:
    with opened(directory):
        os.write(has_it, b"x")
        os.read(until, 1)


def test_a_directory_that_another_process_uses_is_refused_until_that_is_gone(tmp_path: Path) -> None:
    (has_it, say), (until, done) = os.pipe(), os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path, say, until))
    process.start()
    try:
        assert os.read(has_it, 1) == b"x"
        with pytest.raises(StartError, match="used by another running node"):
            DataDirectory(tmp_path)
        process.kill()
        process.join()
        with opened(tmp_path) as store:
            assert store.load() is None
    finally:
        process.kill()
        process.join()
        for end in (has_it, say, until, done):
            os.close(end)
