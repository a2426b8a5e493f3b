"""The disk's own thread: who waits is told of its own work, and the end waits for what is being done."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from meshp2p.errors import StartError, StoreError
from meshp2p.store import disk_thread
from meshp2p.store.disk_thread import DiskThread

NAME = "meshp2p disk"


async def test_work_is_done_in_order_and_each_waiter_has_its_own_result_or_error() -> None:
    disk = DiskThread()
    done: list[int] = []
    results: dict[int, object] = {}

    def work(number: int) -> int:
        done.append(number)
        if number % 3 == 0:
            raise StoreError(f"no {number}")
        return number

    async def ask(number: int) -> None:
        try:
            results[number] = await disk.run(lambda: work(number))
        except StoreError as error:
            results[number] = str(error)

    for number in range(9):
        await ask(number)
    async with trio.open_nursery() as nursery:
        for number in range(9, 50):
            nursery.start_soon(ask, number)
    assert sorted(done) == list(range(50))
    assert results == {number: number if number % 3 else f"no {number}" for number in range(50)}
    disk.close()
    assert NAME not in [thread.name for thread in threading.enumerate()]


async def test_work_that_is_posted_is_done_in_its_turn_and_nobody_waits_for_it() -> None:
    disk = DiskThread()
    gate = threading.Event()

    def wait() -> None:
        gate.wait()

    assert disk.is_idle
    disk.post(wait)
    assert not disk.is_idle
    gate.set()
    assert await disk.run(lambda: 7) == 7
    assert disk.is_idle
    disk.close()


async def test_the_thread_runs_from_the_start_while_all_workers_of_trio_are_busy() -> None:
    disk = DiskThread()
    assert NAME in [thread.name for thread in threading.enumerate()]
    gate = threading.Event()

    async def hold_a_worker() -> None:
        await trio.to_thread.run_sync(gate.wait)

    async with trio.open_nursery() as nursery:
        for _ in range(trio.to_thread.current_default_thread_limiter().total_tokens):  # type: ignore[arg-type]
            nursery.start_soon(hold_a_worker)
        await trio.testing.wait_all_tasks_blocked()
        assert await disk.run(lambda: 7) == 7
        gate.set()
    disk.close()


def test_a_process_that_may_start_no_thread_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(StartError, match="no thread can be started"):
        DiskThread()


async def test_who_is_cancelled_waits_no_longer_and_closing_waits_for_what_is_being_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = DiskThread()
    begun, gate = threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> None:
        begun.set()
        gate.wait()
        done.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.run, work)
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    with monkeypatch.context() as patch:
        patch.setattr(disk_thread, "_END_SECONDS", 0.01)
        with pytest.raises(StoreError, match="did not answer"):
            disk.close()
    gate.set()
    disk.close()
    assert done == [1]
