"""Inboxes of one node: what several of them share, and what is kept of a message that is done with."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import meshp2p
from meshp2p.testing import VirtualMesh, run


def test_readers_of_several_inboxes_share_the_messages() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        taken: dict[str, list[Any]] = {"one": [], "two": [], "three": []}

        async def read(name: str) -> None:
            async with b.inbox() as inbox:
                async for message in inbox:
                    taken[name].append(message.payload)
                    await message.acknowledge()
                    await mesh.sleep(0.1)

        async with trio.open_nursery() as nursery:
            for name in taken:
                nursery.start_soon(read, name)
            for number in range(60):
                await a.send("b", number)
            await mesh.wait_until(lambda: sum(map(len, taken.values())) == 60)
            nursery.cancel_scope.cancel()
        assert sorted(number for numbers in taken.values() for number in numbers) == list(range(60))
        assert min(map(len, taken.values())) >= 15

    run(main)


def test_an_open_inbox_that_nobody_reads_withholds_nothing() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        async with b.inbox(), b.inbox() as inbox:
            for number in range(10):
                await a.send("b", number)
            assert [(await anext(inbox)).payload for _ in range(10)] == list(range(10))

    run(main)


def test_a_reader_that_is_cancelled_leaves_its_turn_to_the_next() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        scope = trio.CancelScope()
        taken: list[Any] = []

        async def give_up(inbox: meshp2p.NodeIterator[meshp2p.ReceivedMessage]) -> None:
            with scope:
                taken.append(await anext(inbox))

        async def read(inbox: meshp2p.NodeIterator[meshp2p.ReceivedMessage]) -> None:
            taken.append(await anext(inbox))

        await a.send("b", 7)
        async with b.inbox() as inbox:
            message = await anext(inbox)
        (entry,) = b._node._correspondence._unread.pop_all()
        async with b.inbox() as one, b.inbox() as other, trio.open_nursery() as nursery:
            nursery.start_soon(give_up, one)
            await mesh.sleep(1)
            nursery.start_soon(read, other)  # second in the line
            await mesh.sleep(1)
            scope.cancel()
            b._node._correspondence._unread.put(*entry)  # the turn is that of the reader that is being cancelled
            await mesh.wait_until(lambda: taken)
        assert taken == [message]

    run(main)


def test_what_was_handed_out_comes_again_in_its_place_unless_it_was_acknowledged_meanwhile() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        for number in range(5):
            await a.send("b", number)
        async with b.inbox() as inbox:
            handed = [await anext(inbox) for _ in range(3)]
            await handed[1].acknowledge()
        await handed[2].acknowledge()  # after the inbox was closed
        async with b.inbox() as inbox:
            assert [(await anext(inbox)).payload for _ in range(3)] == [0, 3, 4]
            with trio.move_on_after(5) as scope:
                await anext(inbox)
            assert scope.cancelled_caught

    run(main)


def test_a_message_that_another_client_acknowledged_or_that_expired_is_not_handed_out() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b", protocol=meshp2p.ProtocolConfig(message_timeout=30))
        await mesh.wait_until_whole()
        b.inbox().close()  # the mailbox is read from now on
        acknowledged = await a.send("b", "acknowledged")
        await a.send("b", "expired")
        async with mesh.client("b") as client:
            await client.acknowledge("b", [acknowledged])
        await mesh.sleep(150)
        await a.send("b", "new")
        async with b.inbox() as inbox:
            assert (await anext(inbox)).payload == "new"

    run(main)


@pytest.mark.parametrize("is_ended", [False, True])
def test_a_closed_inbox_gives_nothing_more(is_ended: bool) -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        inbox = b.inbox()
        await a.send("b", 1)
        await mesh.sleep(1)
        inbox.close()
        if is_ended:
            await b.leave()
        assert [message async for message in inbox] == []

    run(main)
