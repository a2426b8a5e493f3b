"""The driver with a network, a disk and a caller that the test makes, on virtual time."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest, Done, Push, SyncReply, SyncRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip, Ping
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.effects import (
    Call,
    CallFailed,
    Delete,
    Effect,
    Emit,
    Failure,
    Put,
    Resolve,
    Store,
    Table,
    Watch,
    WatchOpened,
    Write,
)
from meshp2p.core.events import Event, LeadershipChanged, MapChanged, StorageFailed, StorageRecovered
from meshp2p.core.machine import Machine
from meshp2p.core.record import Record, Rumour, State, tag_of
from meshp2p.core.requests import SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import InternalError, LocalProtocolError, Refusal, RemoteProtocolError, StoreError, StoreFull
from meshp2p.net.datagram_reader import DRAIN_MAX, DRAIN_SECONDS, QUEUE_MAX
from meshp2p.net.driver import Driver
from meshp2p.net.driver_parts import Conclude
from meshp2p.net.store_writer import STORE_SECONDS_MAX
from meshp2p.wire.codec import Codec

OWN = Address("127.0.0.1", 7700)
PEER_ADDRESS = Address("127.0.0.1", 7701)
PEER = Record("peer", 5, State.ALIVE, "peer", 6, (PEER_ADDRESS,), "h", 7701, (), (), 1)
CODEC = Codec("default")


class FakeDatagrams:
    """A socket whose packets are put into it. ``endless`` is what always waits behind them."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.sent: list[tuple[Datagram, Address]] = []
        self.endless: bytes | None = None
        self.read = 0
        self.send_errors = 0
        self._arrived = trio.Event()

    def put(self, *packets: bytes) -> None:
        self.waiting.extend(packets)
        self._arrived.set()

    async def wait_readable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.waiting and self.endless is None:
            self._arrived = trio.Event()
            await self._arrived.wait()

    def receive_nowait(self) -> tuple[bytes, Address] | None:
        data = self.waiting.popleft() if self.waiting else self.endless
        if data is None:
            return None
        self.read += 1
        return data, PEER_ADDRESS

    def send_nowait(self, data: bytes, address: Address) -> None:
        self.sent.append((CODEC.decode_datagram_untrusted(data), address))

    def close(self) -> None:
        pass


class FakeCaller:
    """Nobody answers."""

    def __init__(self) -> None:
        self.requests: list[CallRequest] = []

    def begin(self, call: Call, conclude: Conclude) -> bool:
        return False

    async def call(self, call: Call) -> CallReply | CallFailed:
        self.requests.append(call.request)
        await trio.sleep(call.timeout)
        return CallFailed(Failure.TIMEOUT, "nobody")

    async def watch(self, watch: Watch, opened: Callable[[WatchOpened], None]) -> CallFailed:
        await trio.sleep(watch.timeout)
        return CallFailed(Failure.TIMEOUT, "nobody")


class FakeDisk:
    """A disk of which each write waits until it is let through."""

    def __init__(self) -> None:
        self.writing: list[KeptState] = []
        self.written: list[KeptState] = []
        self.gate = trio.Event()

    async def keep(self, kept: KeptState) -> None:
        self.writing.append(kept)
        await self.gate.wait()
        self.written.append(kept)


class FakeStore:
    """A store of which each transaction waits until it is let through. ``refused`` are the keys that it takes not."""

    def __init__(self) -> None:
        self.tried: list[list[bytes]] = []
        self.kept: list[bytes] = []
        self.refused: set[bytes] = set()
        self.gate = trio.Event()

    async def store(self, batches: Sequence[tuple[Write, ...]]) -> None:
        keys = [write.key for batch in batches for write in batch]
        self.tried.append(keys)
        await self.gate.wait()
        if self.refused.intersection(keys):
            raise StoreFull("no room")
        self.kept += keys


class Bench:
    def __init__(self, persist: Callable[[KeptState], Awaitable[None]] | None, store: FakeStore | None = None) -> None:
        self.datagrams = FakeDatagrams()
        self.caller = FakeCaller()
        self.events: list[Event | MapChanged] = []
        machine = Machine(
            Profile("node", "h", 7700),
            (OWN,),
            ProtocolConfig(),
            random.Random(0),
            lambda: 1_700_000_000_000,
            kept_messages=None if persist is None else [],
            lease_clock=trio.current_time,
        )
        self.driver = Driver(
            machine,
            CODEC,
            self.datagrams,
            self.caller,
            self.events.append,
            persist,
            None if store is None else store.store,
        )
        self.stored: list[tuple[int, str | None]] = []
        """What the machine was told of the stores that tests made."""

        def note(numbers: Sequence[int], failure: str | None, _now: float) -> list[Effect]:
            self.stored += [(number, failure) for number in numbers]
            return [Resolve(number, Done()) for number in numbers]

        if store is not None:
            machine.receive_stored = note  # type: ignore[method-assign, assignment]

    @property
    def machine(self) -> Machine:
        return self.driver.machine


@asynccontextmanager
async def driving(
    persist: Callable[[KeptState], Awaitable[None]] | None = None, store: FakeStore | None = None
) -> AsyncIterator[Bench]:
    bench = Bench(persist, store)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.driver.run)
        yield bench
        nursery.cancel_scope.cancel()


async def answer_of(bench: Bench, request: CallRequest) -> CallReply:
    answer, _ = bench.driver.answer_call(CODEC.encode(request))
    return CODEC.decode_reply_untrusted(answer if isinstance(answer, bytes) else await answer)


def gossip(*items: Record | Rumour) -> bytes:
    return CODEC.encode(Datagram(Gossip(tag_of("peer")), items))


async def test_time_passes_for_a_node_to_which_nobody_speaks(autojump_clock: trio.testing.MockClock) -> None:
    async with driving() as bench:
        await bench.driver.wait_until(lambda: bench.machine.leader_id == "node")
        assert trio.current_time() == pytest.approx(bench.machine.config.settle_timeout, abs=0.01)
        assert [event.leader_id for event in bench.events if isinstance(event, LeadershipChanged)] == ["node"]


async def test_what_arrives_is_taken_in_and_answered(autojump_clock: trio.testing.MockClock) -> None:
    async with driving() as bench:
        await bench.driver.wait_until(lambda: bench.machine.is_announced)
        bench.datagrams.put(gossip(PEER), CODEC.encode(Datagram(Ping(9, tag_of("peer"), tag_of("node"), 0))))
        await bench.driver.wait_until(lambda: "peer" in bench.machine.records())
        await trio.testing.wait_all_tasks_blocked()
        assert "Ack" in [type(datagram.body).__name__ for datagram, _ in bench.datagrams.sent]
        assert bench.driver.stats.datagrams_received == 2


async def test_what_is_no_message_is_counted_by_its_reason(autojump_clock: trio.testing.MockClock) -> None:
    async with driving() as bench:
        bench.datagrams.put(b"", b"x" * 20, Codec("other").encode(Datagram(Gossip(1))), gossip(PEER)[:-1], gossip(PEER))
        await bench.driver.wait_until(lambda: "peer" in bench.machine.records())
        with pytest.raises(RemoteProtocolError):
            bench.driver.answer_call(b"")
        assert bench.driver.stats.refused == {
            Refusal.TOO_SHORT: 2,
            Refusal.BAD_MAGIC: 1,
            Refusal.OTHER_MESH: 1,
            Refusal.BAD_ENCODING: 1,
        }


async def test_under_a_flood_other_tasks_have_their_turn(autojump_clock: trio.testing.MockClock) -> None:
    """Each datagram costs a millisecond, and more wait than can ever be read."""
    async with driving() as bench:
        await bench.driver.wait_until(lambda: bench.machine.is_announced)
        receive_nowait = bench.datagrams.receive_nowait

        def receive_slowly() -> tuple[bytes, Address] | None:
            autojump_clock.jump(0.001)
            return receive_nowait()

        bench.datagrams.receive_nowait = receive_slowly  # type: ignore[method-assign]
        bench.datagrams.endless = b"x" * 20
        bench.datagrams.put(b"")
        for _ in range(100):
            read = bench.datagrams.read
            async with trio.open_nursery() as requests:
                for _ in range(20):
                    requests.start_soon(bench.driver.catch_up)
            assert bench.datagrams.read - read <= 3 * DRAIN_SECONDS / 0.001
            await trio.sleep(DRAIN_SECONDS)
        assert bench.datagrams.read > 50 * DRAIN_SECONDS / 0.001


async def test_under_a_flood_a_deadline_is_kept_when_all_that_waited_was_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with driving() as bench:
        await bench.driver.wait_until(lambda: bench.machine.is_announced)
        await trio.testing.wait_all_tasks_blocked()
        handled: list[int] = []
        handle_timeouts = bench.machine.handle_timeouts

        def note(now: float) -> list[Effect]:
            handled.append(bench.datagrams.read)
            return handle_timeouts(now)

        bench.machine.handle_timeouts = note  # type: ignore[method-assign]
        bench.datagrams.endless = b"x" * 20
        bench.datagrams.put(b"")
        autojump_clock.jump(bench.machine.next_deadline() - trio.current_time())
        while not handled:
            await trio.lowlevel.checkpoint()
        assert QUEUE_MAX <= handled[0] <= QUEUE_MAX + 3 * DRAIN_MAX


async def test_time_passes_under_a_flood_that_never_ends() -> None:
    async with driving() as bench:
        bench.datagrams.endless = b"x" * 20
        bench.datagrams.put(b"")
        with trio.fail_after(60):
            await bench.driver.wait_until(lambda: bench.machine.leader_id == "node")


async def test_all_that_waits_is_read_before_a_timer_fires(autojump_clock: trio.testing.MockClock) -> None:
    """A node that was stopped for long finds the answers to its pings beside timers that are long due."""
    async with driving() as bench:
        await bench.driver.wait_until(lambda: bench.machine.is_announced)
        seen: list[int] = []
        handle_timeouts = bench.machine.handle_timeouts

        def note(now: float) -> list[object]:
            seen.append(len(bench.datagrams.waiting))
            return handle_timeouts(now)  # type: ignore[return-value]

        bench.machine.handle_timeouts = note  # type: ignore[method-assign, assignment]
        bench.datagrams.put(*[b"x"] * 5000)
        autojump_clock.jump(3600)
        await bench.driver.wait_until(lambda: bool(seen))
        assert seen[0] == 0


async def test_who_asks_after_another_node_acted_finds_what_that_node_told() -> None:
    async with driving() as bench:
        bench.datagrams.waiting.append(gossip(PEER))
        await bench.driver.catch_up()
        assert "peer" in bench.machine.records()


async def test_a_request_finds_what_arrived_while_this_process_did_not_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The system runs another process for a while after the first datagram."""
    async with driving() as bench:
        await bench.driver.wait_until(lambda: bench.machine.is_announced)
        receive_nowait, pauses = bench.datagrams.receive_nowait, [10 * DRAIN_SECONDS]

        def receive_after_a_pause() -> tuple[bytes, Address] | None:
            received = receive_nowait()
            autojump_clock.jump(pauses.pop() if pauses else 0)
            return received

        bench.datagrams.receive_nowait = receive_after_a_pause  # type: ignore[method-assign]
        bench.datagrams.waiting.extend((b"x", gossip(PEER)))
        await bench.driver.catch_up()
        assert "peer" in bench.machine.records()


# What must be on disk first


async def test_a_node_serves_while_a_write_is_under_way_and_tells_nothing_of_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = FakeDisk()
    async with driving(disk.keep) as bench:
        await trio.testing.wait_all_tasks_blocked()
        assert len(disk.writing) == 1
        bench.datagrams.put(gossip(PEER), CODEC.encode(Datagram(Ping(9, tag_of("peer"), tag_of("node"), 0))))
        await bench.driver.wait_until(lambda: "peer" in bench.machine.records())
        await trio.testing.wait_all_tasks_blocked()
        assert "Ack" in [type(datagram.body).__name__ for datagram, _ in bench.datagrams.sent]
        await trio.sleep(5)
        assert not bench.machine.is_announced
        assert "node" not in [item.id for datagram, _ in bench.datagrams.sent for item in datagram.items]
        disk.gate.set()
        await bench.driver.wait_until(lambda: bench.machine.is_announced)
        assert disk.written[0].incarnation >= bench.machine.own.incarnation


async def test_a_call_whose_answer_tells_of_this_node_is_answered_when_that_is_on_disk(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = FakeDisk()
    async with driving(disk.keep) as bench:
        with trio.move_on_after(10) as scope:
            await answer_of(bench, SyncRequest(bytes(8), None))
        assert scope.cancelled_caught
        replies: list[CallReply] = []

        async def call() -> None:
            replies.append(await answer_of(bench, SyncRequest(bytes(8), None)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            assert replies == []
            disk.gate.set()
        (reply,) = replies
        assert isinstance(reply, SyncReply)
        assert disk.written[-1].incarnation >= reply.sender.incarnation
        assert disk.written[-1].epoch >= reply.sender.epoch


async def test_a_disk_that_fails_is_told_and_tried_again_until_it_takes_the_write(
    autojump_clock: trio.testing.MockClock,
) -> None:
    tried: list[KeptState] = []

    async def keep(kept: KeptState) -> None:
        tried.append(kept)
        if len(tried) < 4:
            raise StoreError("no room")

    async with driving(keep) as bench:
        await bench.driver.wait_until(lambda: bench.machine.is_announced)
        assert tried[:4] == [tried[0]] * 4
        assert trio.current_time() == pytest.approx(0.5 + 1.0 + 2.0, abs=0.1)
        told = [event for event in bench.events if isinstance(event, StorageFailed | StorageRecovered)]
        assert told == [StorageFailed("no room"), StorageRecovered()]
        await bench.driver.wait_until(lambda: bench.machine.leader_epoch > 0)
        assert tried[-1].epoch == bench.machine.leader_epoch


# Messages on disk


def a_store(number: int) -> Store:
    return Store(number, (Put(Table.OUTGOING, b"%d" % number, b"value"), Delete(Table.INCOMING, b"d%d" % number)))


async def test_nothing_waits_for_a_store_and_stores_that_wait_are_written_together(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = FakeStore()
    async with driving(store=store) as bench:
        bench.driver.perform([a_store(1)])
        await trio.testing.wait_all_tasks_blocked()
        bench.driver.perform([a_store(2), Emit(LeadershipChanged(None, None, 7)), a_store(3)])
        assert LeadershipChanged(None, None, 7) in bench.events
        await trio.testing.wait_all_tasks_blocked()
        assert store.tried == [[b"1", b"d1"]]
        assert bench.stored == []
        store.gate.set()
        await bench.driver.wait_until(lambda: len(bench.stored) == 3)
        assert store.tried == [[b"1", b"d1"], [b"2", b"d2", b"3", b"d3"]]
        assert bench.stored == [(1, None), (2, None), (3, None)]
        stats = bench.driver.stats
        assert (stats.stores, stats.stores_failed, stats.transactions) == (3, 0, 2)


async def test_a_store_that_is_refused_takes_no_other_with_it_and_the_driver_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = FakeStore()
    store.refused = {b"2", b"3"}
    store.gate.set()
    async with driving(store=store) as bench:
        bench.driver.perform([a_store(number) for number in range(1, 5)])
        await bench.driver.wait_until(lambda: len(bench.stored) == 4)
        assert bench.stored == [(1, None), (2, "no room"), (3, "no room"), (4, None)]
        assert store.kept == [b"1", b"d1", b"4", b"d4"]
        assert bench.driver.stats.stores_failed == 2
        await bench.driver.wait_until(lambda: bench.machine.leader_id == "node")


async def test_what_is_to_be_stored_at_the_end_is_written_before_it(autojump_clock: trio.testing.MockClock) -> None:
    store = FakeStore()

    async def let_through() -> None:
        await trio.sleep(1.0)
        store.gate.set()

    async with trio.open_nursery() as nursery, driving(store=store) as bench:
        bench.driver.perform([a_store(1)])
        await trio.testing.wait_all_tasks_blocked()
        bench.driver.perform([a_store(2)])
        nursery.start_soon(let_through)
    assert store.kept == [b"1", b"d1", b"2", b"d2"]
    assert bench.stored == [(1, None), (2, None)]


async def test_a_disk_that_never_answers_holds_the_end_for_a_bounded_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = FakeStore()
    async with driving(store=store) as bench:
        bench.driver.perform([a_store(1)])
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(STORE_SECONDS_MAX)
    assert bench.stored == []


async def test_a_machine_that_stores_where_there_is_no_disk_is_our_own_mistake() -> None:
    async with driving() as bench:
        with pytest.raises(InternalError):
            bench.driver.perform([a_store(1)])


async def agents_send(
    bench: Bench, targets: Sequence[str | None], outcomes: list[str], scope: trio.CancelScope | None = None
) -> None:
    """Let as many agents send a message at the same time, and note how that ends for each. The last one sends within
    ``scope``."""

    async def send(number: int, target: str | None) -> None:
        with scope if scope is not None and number == len(targets) - 1 else trio.CancelScope():
            try:
                reply = await bench.driver.request(SendMessage("s", target, "Query", "", b"%d" % number))
                outcomes.append(f"{number} {type(reply).__name__}")
            except LocalProtocolError as error:
                outcomes.append(f"{number} {type(error).__name__}")

    async with trio.open_nursery() as nursery:
        for number, target in enumerate(targets):
            nursery.start_soon(send, number, target)


@asynccontextmanager
async def sending(store: FakeStore) -> AsyncIterator[tuple[Bench, trio.Nursery]]:
    """Run a driver that lists "peer", and whose disk writes two stores that wait."""
    async with driving(FakeDisk().keep, store) as bench, trio.open_nursery() as nursery:
        del bench.machine.receive_stored  # the machine itself gets the outcomes
        bench.datagrams.put(gossip(PEER))
        await bench.driver.wait_until(lambda: "peer" in bench.machine.records())
        bench.driver.perform([a_store(1), a_store(2)])
        await trio.testing.wait_all_tasks_blocked()
        yield bench, nursery


async def test_messages_of_many_agents_are_written_by_one_store_and_each_is_refused_for_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store, outcomes = FakeStore(), list[str]()
    async with sending(store) as (bench, nursery):
        nursery.start_soon(agents_send, bench, ["peer", "nobody", "peer", "peer"], outcomes)
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == []
        assert bench.machine.outbox.reserved == 0, "they are accepted when the disk is ready"
        store.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(outcomes) == ["0 SendReply", "1 UnknownInstance", "2 SendReply", "3 SendReply"]
        assert len(store.tried) == 2
        assert bench.driver.stats.stores == 3
        assert bench.machine.outbox.copies == 3


class QuickStore(FakeStore):
    """A store that makes each transaction at once."""

    def store(self, batches: Sequence[tuple[Write, ...]]) -> None:  # type: ignore[override]
        self.tried.append([write.key for batch in batches for write in batch])


@pytest.mark.parametrize("count", [1, 3])
async def test_agents_that_send_on_and_on_share_their_transactions_though_the_disk_is_quick(
    autojump_clock: trio.testing.MockClock, count: int
) -> None:
    store, outcomes = QuickStore(), list[str]()
    async with sending(store) as (bench, _):
        store.tried.clear()
        for _ in range(10):
            await agents_send(bench, ["peer"] * count, outcomes)
        sizes = [len(keys) for keys in store.tried]
        assert sum(sizes) == 10 * count
        assert sizes[2:] == [count] * len(sizes[2:])


async def test_a_message_of_an_agent_that_stops_waiting_before_it_is_accepted_is_not_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store, outcomes, scope = FakeStore(), list[str](), trio.CancelScope()
    async with sending(store) as (bench, nursery):
        nursery.start_soon(agents_send, bench, ["peer", "peer"], outcomes, scope)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        store.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert outcomes == ["0 SendReply"]
        assert bench.machine.outbox.copies == 1


async def test_messages_that_wait_while_the_node_leaves_are_refused(autojump_clock: trio.testing.MockClock) -> None:
    store, outcomes = FakeStore(), list[str]()
    async with sending(store) as (bench, nursery):
        nursery.start_soon(agents_send, bench, ["peer", "peer"], outcomes)
        await trio.testing.wait_all_tasks_blocked()
        bench.driver.perform(bench.machine.leave(trio.current_time()))
        store.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(outcomes) == ["0 NodeClosed", "1 NodeClosed"]


async def test_messages_that_wait_at_the_end_are_still_written(autojump_clock: trio.testing.MockClock) -> None:
    store, outcomes = FakeStore(), list[str]()
    bench = Bench(FakeDisk().keep, store)
    del bench.machine.receive_stored
    async with trio.open_nursery() as agents:
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.driver.run)
            bench.datagrams.put(gossip(PEER))
            await bench.driver.wait_until(lambda: "peer" in bench.machine.records())
            bench.driver.perform([a_store(1), a_store(2)])
            await trio.testing.wait_all_tasks_blocked()
            agents.start_soon(agents_send, bench, ["peer", "peer"], outcomes)
            await trio.testing.wait_all_tasks_blocked()
            store.gate.set()
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(outcomes) == ["0 SendReply", "1 SendReply"]
    assert len(store.kept) == 6


# Calls and requests


async def test_a_call_that_fails_is_counted_and_told_to_the_machine(autojump_clock: trio.testing.MockClock) -> None:
    async with driving() as bench:
        await bench.driver.wait_until(lambda: bench.machine.is_announced)
        bench.driver.perform(bench.machine.offer("seed", (PEER_ADDRESS,), None, trio.current_time()))
        await bench.driver.wait_until(lambda: bench.machine.counters.syncs_failed > 0)
        assert bench.driver.stats.calls_made >= bench.driver.stats.calls_failed >= 1


async def test_another_nodes_call_is_answered(autojump_clock: trio.testing.MockClock) -> None:
    async with driving() as bench:
        assert await answer_of(bench, Push(tag_of("peer"), (PEER,))) == Done()
        assert "peer" in bench.machine.records()


async def test_whoever_leaves_behind_a_failure_of_the_driver_hides_it_with_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Broken(FakeCaller):
        async def call(self, call: Call) -> CallReply | CallFailed:
            raise InternalError("as no call may fail")

    bench = Bench(None)
    bench.driver._caller = Broken()

    async def drive_into_a_call() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.driver.run)
            bench.driver.perform(bench.machine.offer("seed", (PEER_ADDRESS,), None, trio.current_time()))

    with pytest.raises(ExceptionGroup) as raised:
        await drive_into_a_call()
    assert raised.group_contains(InternalError, match="as no call may fail")
    _, effects = bench.machine.receive_call(Push(1, (PEER,)), trio.current_time())
    bench.driver.perform(effects)
    bench.driver.perform(bench.machine.leave(trio.current_time()))
    assert bench.datagrams.sent


@pytest.mark.parametrize("has_news", [True, False])
async def test_a_sleep_with_slack_ends_when_the_driver_wakes_up_anyway(
    autojump_clock: trio.testing.MockClock, has_news: bool
) -> None:
    """And a second late if it does not."""
    async with driving() as bench:
        await bench.driver.wait_until(lambda: bench.machine.is_announced)
        bench.machine.next_deadline = lambda: math.inf  # type: ignore[method-assign]  # no timer wakes it up
        bench.datagrams.put(b"")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        woke: list[float] = []

        async def sleep() -> None:
            await bench.driver.sleep_with_slack(5.0)
            woke.append(trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleep)
            for _ in range(20 if has_news else 0):
                bench.datagrams.put(b"")
                await trio.sleep(0.3)
        assert woke == [pytest.approx(5.1 if has_news else 6.0, abs=0.01)]


async def test_outcomes_of_calls_that_come_after_the_end_are_dropped(autojump_clock: trio.testing.MockClock) -> None:
    class Direct(FakeCaller):
        def __init__(self) -> None:
            super().__init__()
            self.begun: list[tuple[Call, Conclude]] = []

        def begin(self, call: Call, conclude: Conclude) -> bool:
            self.begun.append((call, conclude))
            return True

    bench = Bench(None)
    bench.driver._caller = caller = Direct()
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.driver.run)
        for number in range(4):
            address = Address(f"10.0.1.{number}", 7700)
            bench.driver.perform(bench.machine.offer("seed", (address,), None, trio.current_time()))
            await trio.sleep(0.1)
        call, conclude = caller.begun[0]
        conclude(SyncReply(PEER, False, (), ()))
        assert bench.driver.stats.calls_succeeded == 1
        nursery.cancel_scope.cancel()
    assert len(caller.begun) > 1
    for call, conclude in caller.begun[1:]:
        for outcome in (call, CallFailed(Failure.UNREACHABLE, "it is over"), SyncReply(PEER, False, (), ())):
            conclude(outcome)
    assert bench.driver.stats.calls_succeeded == 1
    assert not caller.requests
