"""What a node tells its agent: what is so, then each change, in order, and never a wait for a slow reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

import meshp2p
from meshp2p import (
    EventsLost,
    Instance,
    LeaderChanged,
    MemberDied,
    MemberJoined,
    MemberLeft,
    MemberUpdated,
    StorageFailed,
)
from meshp2p.core.swim.hosting import Profile
from meshp2p.node.events import NodeEvent
from meshp2p.node.subscriptions import BUFFER_MAX, Feed, Subscriptions
from tests.http.meshes import QUICK, calling, open_mesh

OPTIONS: dict[str, Any] = {"port": 0, "mdns": False, "protocol": QUICK}


def change(number: int) -> StorageFailed:
    return StorageFailed(str(number))


async def take(subscription: Any, count: int) -> list[Any]:
    return [await anext(subscription) for _ in range(count)]


async def test_what_is_so_comes_first_then_each_change() -> None:
    async with open_mesh("a", "b") as (one, _):
        events = one.events()
        first = await take(events, 3)
        assert [type(event) for event in first] == [MemberJoined, MemberJoined, LeaderChanged]
        assert [event.id for event in first[:2]] == ["a", "b"]
        assert isinstance(first[2].leader, Instance)
        assert (first[2].leader.id, first[2].leader.is_leader, first[2].previous_id) == ("a", True, None)
        patient = msgspec.structs.replace(QUICK, leave_timeout=30)  # else it may end before anybody confirmed
        options = {**OPTIONS, "protocol": patient, "join": [str(one.addresses[0])]}
        async with meshp2p.open_node(in_loop=True, id="c", **options):
            with trio.fail_after(30):
                while not isinstance(event := await anext(events), MemberJoined):
                    pass
                assert event.id == "c"
        with trio.fail_after(30):
            while not isinstance(event := await anext(events), MemberLeft):
                pass
            assert event.id == "c"


async def test_no_change_is_missed_between_what_is_so_and_what_follows() -> None:
    """Applied in their order, the events give what the node lists."""
    async with calling("node-a", "node-b") as (caller, nodes):
        readers = [(node, node.events()) for node in nodes]
        for number in range(30):
            await caller.register(f"agent-{number % 7}", port=number)
            await caller.heartbeat(f"agent-{number % 5}", status=str(number))
            if number % 3 == 0:
                await caller.deregister(f"agent-{number % 4}")
        for node, reader in readers:
            listed: dict[str, int] = {}
            leader = None
            with trio.fail_after(30):
                while listed != {m.id: m.incarnation for m in node.members()} or leader != getattr(
                    node.leader, "id", None
                ):
                    match await anext(reader):
                        case MemberJoined(instance=instance):
                            assert instance.id not in listed
                            listed[instance.id] = instance.incarnation
                        case MemberUpdated(instance=instance):
                            assert instance.incarnation > listed[instance.id]
                            listed[instance.id] = instance.incarnation
                        case MemberLeft(instance=instance) | MemberDied(instance=instance):
                            del listed[instance.id]
                        case LeaderChanged() as event:
                            leader = None if event.leader is None else event.leader.id
                        case other:
                            pytest.fail(repr(other))


async def test_an_event_that_the_snapshot_holds_is_not_told_again(tmp_path: Path) -> None:
    """What waits for the disk has happened, and was not told yet."""
    async with meshp2p.open_node(in_loop=True, **OPTIONS, id="m", data_dir=tmp_path) as node:
        for name in ("p", "a", "q"):
            registering = Profile(name, "h", 1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node._node.register, registering)
                await trio.lowlevel.checkpoint()
                reader = node.events()
            seen = []
            with trio.fail_after(30):
                async for event in reader:
                    if isinstance(event, MemberJoined):
                        seen.append(event.id)
                    if isinstance(event, LeaderChanged) and getattr(event.leader, "id", None) == min("m", *seen):
                        break
            assert len(seen) == len({*seen})


async def test_a_slow_reader_is_told_how_many_it_missed_and_the_order_is_kept() -> None:
    subscriptions = Subscriptions()
    slow: Feed[Any] = subscriptions.open([change(-1)])
    quick: Feed[Any] = subscriptions.open([])
    seen: list[Any] = []
    for number in range(BUFFER_MAX + 100):
        subscriptions.put(change(number))
        seen += await take(quick, 1)
    assert seen == [change(number) for number in range(BUFFER_MAX + 100)]
    assert await take(slow, 1) == [change(-1)]
    subscriptions.put(change(99_999))  # there is room again, but what came before was lost
    rest = await take(slow, BUFFER_MAX)
    assert rest == [change(number) for number in range(BUFFER_MAX)]
    assert await anext(slow) == EventsLost(101)
    subscriptions.put(change(7))
    assert await anext(slow) == change(7)


async def test_a_slow_reader_of_a_node_that_has_left_gets_what_was_kept_then_the_end() -> None:
    subscriptions = Subscriptions()
    slow: Feed[Any] = subscriptions.open([])
    for number in range(BUFFER_MAX + 1):
        subscriptions.put(change(number))
    subscriptions.end()
    assert [event async for event in slow] == [*map(change, range(BUFFER_MAX)), EventsLost(1)]
    assert [event async for event in subscriptions.open([change(1)])] == [change(1)]


async def test_two_tasks_may_read_one_subscription(autojump_clock: trio.testing.MockClock) -> None:
    subscriptions = Subscriptions()
    shared: Feed[Any] = subscriptions.open([])
    seen: list[Any] = []

    async def read() -> None:
        seen.extend([event async for event in shared])

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            for number in range(4):
                subscriptions.put(change(number))
                await trio.testing.wait_all_tasks_blocked()
            subscriptions.end()
    assert sorted(int(event.reason) for event in seen) == list(range(4))


async def test_a_reader_that_is_cancelled_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    subscriptions = Subscriptions()
    reader: Feed[Any] = subscriptions.open([])
    with trio.move_on_after(1):
        await anext(reader)
    subscriptions.put(change(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(reader)
    assert await anext(reader) == change(1)


async def test_a_reader_that_is_gone_is_forgotten() -> None:
    subscriptions = Subscriptions()
    for _ in range(100):
        subscriptions.open([])
    assert len(subscriptions._readers) == 0
    subscriptions.put(change(1))


async def test_readers_of_one_node_all_see_the_same() -> None:
    async with open_mesh("a") as (node,):
        readers = [node.events() for _ in range(3)]
        async with meshp2p.open_node(in_loop=True, **OPTIONS, id="b", join=[str(node.addresses[0])]):
            await node.wait_for_members(2)
    seen: list[list[NodeEvent]] = [[event async for event in reader] for reader in readers]
    names = [[(type(event), getattr(event, "id", None)) for event in events] for events in seen]
    assert names[0] == names[1] == names[2]
    assert {type(event) for event in seen[0]} >= {MemberJoined, LeaderChanged, MemberLeft}
