"""From other threads to one task."""

from __future__ import annotations

import threading

import trio

from meshp2p.discovery.inbox import SightingQueue


def put_from_a_thread(inbox: SightingQueue[int], numbers: range) -> None:
    def put_all() -> None:
        for number in numbers:
            inbox.put(number)

    thread = threading.Thread(target=put_all)
    thread.start()
    thread.join()


async def test_what_a_thread_puts_in_a_task_takes_in_order() -> None:
    inbox = SightingQueue[int](10)
    put_from_a_thread(inbox, range(3))
    assert await inbox.receive() == [0, 1, 2]
    inbox.put(3)
    assert await inbox.receive() == [3]


async def test_beyond_its_size_the_oldest_goes() -> None:
    inbox = SightingQueue[int](4)
    put_from_a_thread(inbox, range(100))
    assert await inbox.receive() == [96, 97, 98, 99]


async def test_a_cancelled_take_loses_nothing() -> None:
    inbox = SightingQueue[int](4)
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.receive()
    inbox.put(1)
    assert await inbox.receive() == [1]


def test_a_thread_may_put_after_trio_has_ended() -> None:
    async def make() -> SightingQueue[int]:
        return SightingQueue[int](4)

    inbox = trio.run(make)
    inbox.put(1)
    inbox.call_soon(lambda: None)
