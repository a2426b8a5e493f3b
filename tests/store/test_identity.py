"""The identity on disk: what was saved is what is loaded, a damaged file is neither taken nor touched."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshp2p.core.state import KeptState
from meshp2p.errors import StartError, StoreError
from meshp2p.store.identity import Identity, IdentityStore

IDENTITY = Identity("agent-ü", is_generated=True, kept=KeptState(1_700_000_000_000, 7))


@contextmanager
def opened(directory: Path) -> Iterator[IdentityStore]:
    store = IdentityStore(directory)
    try:
        yield store
    finally:
        store.close()


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
    assert {path.name for path in tmp_path.iterdir()} == {"identity.json", "lock"}


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
    "a later schema": good(schema=2),
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
        (tmp_path / "identity.tmp").mkdir()
        with pytest.raises(StoreError, match="cannot be written"):
            store.save(Identity("another", is_generated=False))
        assert store.load() == IDENTITY


def test_a_place_that_cannot_be_a_directory_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for directory in (file, file / "below", Path("/proc/meshp2p")):
        with pytest.raises(StartError) as caught:
            IdentityStore(directory)
        assert repr(str(directory)) in str(caught.value)


def test_a_directory_has_one_user_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with pytest.raises(StartError, match="used by another running node"):
            IdentityStore(tmp_path)
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
            IdentityStore(tmp_path)
        process.kill()
        process.join()
        with opened(tmp_path) as store:
            assert store.load() is None
    finally:
        process.kill()
        process.join()
        for end in (has_it, say, until, done):
            os.close(end)
