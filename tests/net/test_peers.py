"""Connections between nodes: which one a call takes, what becomes of calls when they break, and when they close."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, Done, Probe
from meshp2p.core.effects import Call, CallFailed, Failure, Watch, WatchOpened
from meshp2p.errors import ConnectionLost, Unreachable
from meshp2p.net.call_server import UNREACHABLE_SECONDS
from meshp2p.net.connections import IDLE_SECONDS
from meshp2p.net.open_calls import CallBroken, IncomingCall
from meshp2p.net.peer_connection import PeerConnection
from meshp2p.net.peers import CALLERS_MAX
from meshp2p.wire.codec import Codec
from meshp2p.wire.peer_events import PartArrived
from meshp2p.wire.peer_frames import CallKind
from tests.net.service import CODEC, Node, running
from tests.net.wires import REQUEST, SECONDS, Wires, call_to, settle, wired

# One connection for the calls of both


async def test_calls_in_both_directions_share_one_connection_whoever_opened_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (wires, (one, other)):
        assert await one.peers.call(call_to(other)) == Done()
        nowhere = Call(1, (), REQUEST, SECONDS, "a", one.boot)
        assert await other.peers.call(nowhere) == Done()
        assert await one.peers.call(call_to(other, by_id=False)) == Done()
        assert wires.dialled == 1


async def test_of_many_processes_that_name_the_own_id_the_latest_are_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a") as (wires, [one]), trio.open_nursery() as nursery:
        for _ in range(CALLERS_MAX + 2):
            rival = wires.add("a", boot=2)
            await nursery.start(rival.peers.run, rival, rival.serve_query)
            await rival.peers.call(call_to(one, by_id=False))
        expected = [("a", f"10.0.0.{number}") for number in range(4, CALLERS_MAX + 4)]
        assert list(one.peers.stats.rivals) == expected
        nursery.cancel_scope.cancel()


async def test_a_connection_of_another_process_of_that_id_is_no_way_to_this_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (_, (one, other)):
        assert await one.peers.call(call_to(other)) == Done()
        reply = await other.peers.call(Call(1, (), REQUEST, SECONDS, "a", one.boot + 1))
        assert isinstance(reply, CallFailed)


async def test_many_calls_at_once_dial_once(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("a", "b") as (wires, (one, other)), trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(one.peers.call, call_to(other))
        await settle()
        assert (wires.dialled, len(other.requests)) == (1, 50)


async def test_two_that_dial_each_other_at_once_keep_the_connection_of_the_lower_id_and_lose_no_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (wires, (one, other)):
        replies: list[CallReply | CallFailed] = []

        async def call(node: Node, target: Node) -> None:
            replies.append(await node.peers.call(call_to(target)))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call, one, other)
                nursery.start_soon(call, other, one)
        await settle()
        assert replies == [Done()] * 20
        assert wires.dialled == 2
        assert [connection.address for connection in one.peers.connections] == [other.address]
        assert [connection.address for connection in other.peers.connections] == [None]


async def test_of_several_addresses_the_first_that_answers_is_taken_and_asked_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (_, (one, other)):
        addresses = (Address("10.9.9.9", 1), other.address, Address("10.9.9.9", 2))
        assert await one.peers.call(Call(1, addresses, REQUEST, SECONDS)) == Done()
        assert len(other.requests) == 1


# How calls fail


async def test_it_is_refused_only_if_every_address_refuses(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("a") as (_, (one,)):
        reply = await one.peers.call(Call(1, (Address("10.9.9.9", 1), Address("10.9.9.9", 2)), REQUEST, SECONDS))
        assert isinstance(reply, CallFailed)
        assert reply.failure is Failure.REFUSED


async def test_a_call_that_is_not_answered_in_time_is_cancelled_at_the_other_side(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (_, (one, other)):
        other.may_answer = trio.Event()
        reply = await one.peers.call(call_to(other, 2.0))
        assert isinstance(reply, CallFailed)
        assert reply.failure is Failure.TIMEOUT
        await settle()
        assert other.peers.connections[0].protocol.calls == 0


async def test_a_call_that_is_cancelled_just_before_its_reply_arrives_leaves_nothing_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (_, (one, other)), trio.open_nursery() as nursery:
        other.may_answer = trio.Event()
        nursery.start_soon(one.peers.call, call_to(other))
        await settle()
        [connection] = one.peers.connections
        [asked] = connection.asked.values()
        nursery.cancel_scope.cancel()
        asked.handle_event(PartArrived(asked.id, CODEC.encode(Done())))  # before the task runs that is cancelled
    assert connection.asked == {}
    assert connection.protocol.calls == 0


async def test_a_call_whose_connection_breaks_is_made_once_more_and_then_tells_that_nobody_listens(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (wires, (one, other)), trio.open_nursery() as nursery:
        assert await one.peers.call(call_to(other)) == Done()
        other.may_answer = trio.Event()
        outcome: list[CallReply | CallFailed] = []

        async def call() -> None:
            outcome.append(await one.peers.call(call_to(other)))

        nursery.start_soon(call)
        await settle()
        del wires.nodes[other.address]
        wires.cut()
        await settle()
        assert [failed.failure for failed in outcome if isinstance(failed, CallFailed)] == [Failure.REFUSED]


async def test_a_connection_on_which_nothing_is_heard_any_more_is_not_used_for_the_next_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (wires, (one, other)):
        assert await one.peers.call(call_to(other)) == Done()

        async def lose(_data: bytes) -> None:
            await trio.lowlevel.checkpoint()

        one.peers.connections[0]._stream.send_all = lose  # type: ignore[method-assign, assignment]
        assert isinstance(await one.peers.call(call_to(other, 2.0)), CallFailed)
        assert await one.peers.call(call_to(other, 2.0)) == Done()
        assert wires.dialled == 2


async def test_a_node_of_another_mesh_and_what_is_no_node_are_failures() -> None:
    async def junk(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.receive_some()

    one, stranger = Node("a", 1), Node("b", 1, codec=Codec("another"))
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with running(one, stranger), trio.open_nursery() as nursery:
        reply = await one.peers.call(call_to(stranger))
        assert isinstance(reply, CallFailed)
        assert (reply.failure, "mesh tag" in reply.reason) == (Failure.UNREACHABLE, True)
        nursery.start_soon(trio.serve_listeners, junk, [listener])
        address = Address("127.0.0.1", listener.socket.getsockname()[1])
        reply = await one.peers.call(Call(1, (address,), REQUEST, SECONDS))
        assert isinstance(reply, CallFailed)
        assert (reply.failure, "bad_magic" in reply.reason) == (Failure.UNREACHABLE, True)
        assert len(one.refused) == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["fe80::1%nothing", "::1%x y", "a b", "[", "\n", "ü" * 63, "x" * 253])
async def test_an_address_that_is_none_is_a_failure_and_no_error(host: str) -> None:
    one = Node("a", 1)
    async with running(one):
        assert isinstance(await one.peers.call(Call(1, (Address(host, 1),), REQUEST, 5.0)), CallFailed)


async def test_where_nobody_listens_the_call_is_refused() -> None:
    one, gone = Node("a", 1), Node("b", 1)
    async with running(gone):
        pass
    async with running(one):
        reply = await one.peers.call(call_to(gone))
        assert isinstance(reply, CallFailed)
        assert reply.failure is Failure.REFUSED


# Idle connections


async def test_both_sides_close_a_connection_that_nobody_used_for_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (wires, (one, other)):
        assert await one.peers.call(call_to(other)) == Done()
        await trio.sleep(IDLE_SECONDS - 2)
        assert (one.open_connections, other.open_connections) == (1, 1)
        await trio.sleep(4)
        assert (one.open_connections, other.open_connections) == (0, 0)
        assert await one.peers.call(call_to(other)) == Done()
        assert wires.dialled == 2


# Watches


def watch_of(node: Node) -> Watch:
    return Watch(1, (node.address,), Probe(1), 5.0, node.name, node.boot)


async def test_a_watch_keeps_its_connection_open_and_ends_when_it_breaks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (wires, (one, other)), trio.open_nursery() as nursery:
        opened: list[WatchOpened] = []
        failed: list[CallFailed] = []

        async def watch() -> None:
            failed.append(await one.peers.watch(watch_of(other), opened.append))

        nursery.start_soon(watch)
        await trio.sleep(10 * IDLE_SECONDS)
        assert ([(each.address, each.pong.id) for each in opened], failed) == ([(other.address, "b")], [])
        wires.cut()
        await settle()
        assert [each.failure for each in failed] == [Failure.UNREACHABLE]


async def test_a_watch_moves_to_the_connection_that_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("b", "a") as (_, (higher, lower)), trio.open_nursery() as nursery:
        opened: list[WatchOpened] = []
        failed: list[CallFailed] = []

        async def watch(node: Node, target: Node) -> None:
            failed.append(await node.peers.watch(watch_of(target), opened.append))

        nursery.start_soon(watch, higher, lower)
        nursery.start_soon(watch, lower, higher)
        await trio.sleep(1)
        assert (len(opened), failed) == (2, [])
        assert [connection.address for connection in higher.peers.connections] == [None]
        assert [connection.protocol.calls for connection in lower.peers.connections] == [2]
        nursery.cancel_scope.cancel()


async def test_a_watch_ends_when_the_node_has_left(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("a", "b") as (_, (one, other)), trio.open_nursery() as nursery:
        nursery.start_soon(_leave_after, other, 3.0)
        failed = await one.peers.watch(watch_of(other), lambda _: None)
        assert (failed.failure, trio.current_time() >= 3.0) == (Failure.UNREACHABLE, True)


async def _leave_after(node: Node, seconds: float) -> None:
    await trio.sleep(seconds)
    node.left.set()


# Calls that are answered in parts


def answering(*parts: bytes) -> Callable[[IncomingCall], object]:
    async def answer(call: IncomingCall) -> None:
        for part in parts:
            await call.send_part(part)

    return answer


async def test_a_query_is_answered_in_parts(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("a", "b") as (_, (one, other)):
        other.answer_query = answering(b"1", b"", b"2" * 1_000_000)  # type: ignore[assignment]
        async with one.peers.open_call("b", b"how?", trio.current_time() + 5) as call:
            parts = []
            while (part := await call.receive_part()) is not None:
                parts.append(part)
        assert parts == [b"1", b"", b"2" * 1_000_000]
        (served,) = other.queries
        assert (served.source, served.body, round(served.deadline - trio.current_time())) == ("a", b"how?", 5)


async def test_the_last_part_ends_the_reply_and_nothing_follows_it(autojump_clock: trio.testing.MockClock) -> None:
    async def answer(call: IncomingCall) -> None:
        await call.send_part(b"1")
        await call.send_part(b"2", is_last=True)
        await call.send_part(b"3")

    async with wired("a", "b") as (_, (one, other)):
        other.answer_query = answer
        for _ in range(2):  # the connection is as good as before
            async with one.peers.open_call("b", b"how?", trio.current_time() + 5) as call:
                assert [await call.receive_part() for _ in range(4)] == [b"1", b"2", None, None]
        assert one.peers.stats.dialled == 1
        (connection,) = one.peers.connections
        assert connection.protocol.calls == 0


async def test_who_leaves_the_block_early_cancels_the_query_at_the_target(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (_, (one, other)):
        cancelled = trio.Event()

        async def answer(call: IncomingCall) -> None:
            try:
                await call.send_part(b"1")
                await trio.sleep_forever()
            finally:
                cancelled.set()

        other.answer_query = answer
        async with one.peers.open_call("b", b"how?", trio.current_time() + 50) as call:
            assert await call.receive_part() == b"1"
        await settle()
        assert cancelled.is_set()


async def test_a_fast_answerer_waits_for_a_slow_reader(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("a", "b") as (_, (one, other)):
        sent = 0

        async def answer(call: IncomingCall) -> None:
            nonlocal sent
            for _ in range(100):
                await call.send_part(b"x" * 65_536)
                sent += 1

        other.answer_query = answer
        async with one.peers.open_call("b", b"how?", trio.current_time() + 50) as call:
            await settle()
            assert sent < 10
            received = 0
            while await call.receive_part() is not None:
                received += 1
            assert received == 100


async def test_a_query_to_a_node_that_cannot_be_reached_was_never_sent(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("a", "b") as (wires, (one, other)):
        del wires.nodes[other.address]
        for name in ("b", "nobody"):
            with pytest.raises(Unreachable) as raised:
                async with one.peers.open_call(name, b"?", trio.current_time() + 5):
                    raise AssertionError
            assert not isinstance(raised.value, ConnectionLost)
        assert other.queries == []


@pytest.mark.parametrize("how", ["cut", "silence"])
async def test_a_query_whose_connection_breaks_or_whose_time_is_over_is_lost(
    how: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with wired("a", "b") as (wires, (one, other)), trio.open_nursery() as nursery:

        async def answer(_: IncomingCall) -> None:
            await trio.sleep_forever()

        other.answer_query = answer
        if how == "cut":
            nursery.start_soon(_cut_after, wires, 1.0)
        with pytest.raises(ConnectionLost):
            async with one.peers.open_call("b", b"?", trio.current_time() + 3) as call:
                await call.receive_part()
        assert len(other.queries) == 1


async def _cut_after(wires: Wires, seconds: float) -> None:
    await trio.sleep(seconds)
    wires.cut()


@pytest.mark.parametrize("is_there_again", [True, False])
async def test_a_query_is_served_on_for_a_while_when_its_asker_is_gone(
    is_there_again: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with wired("a", "b") as (wires, (one, other)):
        ended_at = 0.0

        async def answer(call: IncomingCall) -> None:
            nonlocal ended_at
            try:
                await trio.sleep(20)
                await call.send_part(b"late")
            finally:
                ended_at = trio.current_time()

        other.answer_query = answer
        began = trio.current_time()
        async with one.peers.open_call("b", b"?", began + 60) as call:
            await settle()
            wires.cut()
            with pytest.raises(ConnectionLost):
                await call.receive_part()
        if is_there_again:
            assert await one.peers.call(call_to(other)) == Done()
        await trio.sleep(30)
        assert ended_at - began == pytest.approx(20 if is_there_again else UNREACHABLE_SECONDS, abs=0.1)


async def test_a_query_ends_on_both_sides_soon_after_nothing_passes_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def lose(_data: bytes) -> None:
        await trio.lowlevel.checkpoint()

    async with wired("a", "b") as (_, (one, other)):
        began, ended = trio.current_time(), trio.Event()

        async def answer(_: IncomingCall) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        other.answer_query = answer
        async with one.peers.open_call("b", b"?", began + 600) as call:
            with trio.move_on_after(60):  # nothing is said for long, but for the keep-alive
                await call.receive_part()
            assert not ended.is_set()
            cut_at = trio.current_time()
            for node in (one, other):
                node.peers.connections[0]._stream.send_all = lose  # type: ignore[method-assign, assignment]
            with pytest.raises(ConnectionLost, match="nothing was heard for 5 s"):
                await call.receive_part()
            await ended.wait()
            assert 4 <= trio.current_time() - cut_at <= 8


async def test_a_handler_that_fails_ends_the_query_as_lost(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with wired("a", "b") as (_, (one, other)):

        async def answer(_: IncomingCall) -> None:
            raise RuntimeError("broken")

        other.answer_query = answer
        with pytest.raises(ConnectionLost, match="internal error"):
            async with one.peers.open_call("b", b"?", trio.current_time() + 5) as call:
                await call.receive_part()
        assert "serving a call failed" in caplog.text


# Whole sockets


async def test_over_real_sockets_calls_queries_and_watches_work_side_by_side() -> None:
    one, other = Node("a", 1), Node("b", 2)
    async with running(one, other), trio.open_nursery() as nursery:
        stands = trio.Event()
        nursery.start_soon(one.peers.watch, watch_of(other), lambda _: stands.set())
        with trio.fail_after(20):
            await stands.wait()
        other.answer_query = answering(b"x" * 3_000_000)  # type: ignore[assignment]
        async with one.peers.open_call("b", b"y" * 3_000_000, trio.current_time() + 20) as call:
            assert await call.receive_part() == b"x" * 3_000_000
        assert await other.peers.call(call_to(one)) == Done()
        assert one.open_connections == other.open_connections == 1
        nursery.cancel_scope.cancel()
    assert CODEC.decode_request_untrusted(one.requests[0]) == REQUEST


# Asking to be dialled


async def test_a_node_that_is_asked_to_dial_back_says_whether_it_could_and_knocks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("a", "b") as (wires, (one, other)):
        assert await one.peers.ask_dial_back("b", 1, (other.address,), 7700) == ""
        assert await one.peers.ask_dial_back("b", 1, (other.address,), 7701) == "10.0.0.1:7701: [Errno 111] refused"
        assert other.knocked == [Address("10.0.0.1", 7700), Address("10.0.0.1", 7701)]
        del wires.nodes[one.address]
        assert "refused" in str(await one.peers.ask_dial_back("b", 1, (other.address,), 7700))
        assert one.knocked == []


async def test_a_dial_back_that_cannot_be_asked_for_has_no_answer(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("a") as (_, (one,)):
        assert await one.peers.ask_dial_back("b", 1, (Address("10.0.0.9", 1),), 7700) is None


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0", b"\0\1\2"])
async def test_a_dial_back_that_names_no_port_is_refused(autojump_clock: trio.testing.MockClock, body: bytes) -> None:
    async with wired("a", "b") as (wires, (one, other)):
        connection = await one.peers.find("b", 1, (other.address,))
        assert isinstance(connection, PeerConnection)
        asked = connection.open_call(CallKind.DIAL_BACK, body)
        with pytest.raises(CallBroken, match="names a port"):
            await asked.receive()
        asked.close()
        assert (wires.dialled, other.knocked) == (1, [])


async def test_a_dial_back_is_not_passed_on(autojump_clock: trio.testing.MockClock) -> None:
    """Else it would have the target dial the relay."""
    async with wired("a", "b", "c") as (_, (one, relay, target)):
        connection = await one.peers.find("b", 1, (relay.address,))
        assert isinstance(connection, PeerConnection)
        asked = connection.open_call(CallKind.DIAL_BACK, (7700).to_bytes(2, "big"), target="c")
        with pytest.raises(CallBroken, match="is not passed on"):
            await asked.receive()
        asked.close()
        assert (relay.knocked, target.knocked) == ([], [])
