"""The store's own thread: who waits is told of its own write, and the end waits for what is being written."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import trio

from meshp2p.core.effects import Put, Table, Write
from meshp2p.errors import StoreError
from meshp2p.store import writer
from meshp2p.store.messages import MessageStore
from meshp2p.store.writer import StoreWriter


def batch(number: int) -> list[tuple[Write, ...]]:
    return [(Put(Table.OUTGOING, number.to_bytes(4, "big"), b"value"),)]


class HeldStore(MessageStore):
    """A store of which each write waits to be let through."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.begun = threading.Event()
        self.gate = threading.Event()

    def apply(self, batches: Sequence[Iterable[Write]]) -> None:
        self.begun.set()
        self.gate.wait()
        super().apply(batches)


async def test_what_was_awaited_is_kept_and_the_thread_ends_with_the_writer(tmp_path: Path) -> None:
    threads = threading.active_count()
    kept = StoreWriter(MessageStore(tmp_path / "m"))
    assert kept.load() == []
    assert threading.active_count() == threads
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(kept.apply, batch(number))
    assert len(kept.load()) == 50
    kept.close()
    assert len(MessageStore(tmp_path / "m").load()) == 50
    assert "meshp2p store" not in [thread.name for thread in threading.enumerate()]


async def test_what_the_store_raises_is_raised_where_it_is_awaited_and_the_next_write_is_made(tmp_path: Path) -> None:
    class Store(MessageStore):
        def apply(self, batches: Sequence[Iterable[Write]]) -> None:
            if batches == batch(1):
                raise StoreError("no")
            super().apply(batches)

    kept = StoreWriter(Store(tmp_path / "m"))
    kept.load()
    with pytest.raises(StoreError, match="no"):
        await kept.apply(batch(1))
    await kept.apply(batch(2))
    assert [key for _, key, _ in kept.load()] == [b"\0\0\0\2"]
    kept.close()


async def test_who_is_cancelled_waits_no_longer_and_closing_waits_for_what_is_being_written(tmp_path: Path) -> None:
    store = HeldStore(tmp_path / "m")
    kept = StoreWriter(store)
    kept.load()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.apply, batch(1))
        await trio.to_thread.run_sync(store.begun.wait)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, kept.close)
        store.gate.set()
    assert len(MessageStore(tmp_path / "m").load()) == 1


async def test_a_disk_that_does_not_answer_does_not_hold_the_end_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = HeldStore(tmp_path / "m")
    kept = StoreWriter(store)
    kept.load()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kept.apply, batch(1))
        await trio.to_thread.run_sync(store.begun.wait)
        nursery.cancel_scope.cancel()
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_END_SECONDS", 0.01)
        with pytest.raises(StoreError, match="did not answer"):
            kept.close()
    store.gate.set()
    await trio.to_thread.run_sync(kept.close)
    assert len(MessageStore(tmp_path / "m").load()) == 1
