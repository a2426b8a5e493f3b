"""Calls to a node that cannot be dialled: over a connection that it opened itself, or through a relay that has one."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from meshp2p.core.calls import Done, Push
from meshp2p.core.effects import Call, CallFailed, Failure
from meshp2p.errors import ConnectionLost, Unreachable
from meshp2p.net.open_calls import IncomingCall
from meshp2p.net.relays import Relays
from meshp2p.wire.exchange import WINDOW_BYTES
from meshp2p.wire.peer_events import CallArrived, RelayAsked
from meshp2p.wire.peer_frames import CallKind, OpenFrame, PeerFrame, PeerHello, ResetReason, decode_frame_untrusted
from meshp2p.wire.peer_protocol import PeerProtocol
from tests.net.service import Node
from tests.net.wires import REQUEST, call_to, settle, wired
from tests.wire.peers import Pair

SECONDS = 30.0


def call_by(relay: Node, target: Node, timeout: float = SECONDS, request: Push = REQUEST) -> Call:
    return Call(1, (relay.address,), request, timeout, relay.name, relay.boot, target.name)


async def test_a_relay_passes_a_call_on_over_the_connection_that_the_target_opened(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("asker", "relay", "target") as (wires, (asker, relay, target)):
        assert await target.peers.call(call_to(relay)) == Done()
        del wires.nodes[target.address]  # nobody can dial it
        assert isinstance(await asker.peers.call(call_to(target)), CallFailed)
        assert await asker.peers.call(call_by(relay, target)) == Done()
        assert (len(target.requests), len(relay.requests)) == (1, 1)


async def test_a_relay_without_a_connection_dials_the_target(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("asker", "relay", "target") as (_, (asker, relay, target)):
        assert await asker.peers.call(call_by(relay, target)) == Done()


async def test_a_relay_that_has_no_path_says_so_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("asker", "relay", "target") as (wires, (asker, relay, target)):
        del wires.nodes[target.address]
        began = trio.current_time()
        reply = await asker.peers.call(call_by(relay, target))
        assert isinstance(reply, CallFailed)
        assert (reply.failure, "no connection to node 'target'" in reply.reason) == (Failure.UNREACHABLE, True)
        assert trio.current_time() - began < 3


async def test_a_relay_hands_nothing_to_another_relay(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("asker", "relay", "other", "target") as (wires, (asker, relay, other, target)):
        assert await target.peers.call(call_to(other)) == Done()
        del wires.nodes[target.address]
        assert isinstance(await asker.peers.call(call_by(relay, target)), CallFailed)
        assert target.requests == []


class OneSide:
    """A relay's side of a connection, as :class:`~meshp2p.net.relays.Relays` needs it. ``frames`` are those it sent."""

    def __init__(self, pair: Pair, protocol: PeerProtocol) -> None:
        self.pair = pair
        self.why_barred = ""
        self.protocol = protocol
        self.frames: list[PeerFrame] = []

    @property
    def peer(self) -> PeerHello | None:
        return PeerHello("asker", 1)

    @property
    def is_usable(self) -> bool:
        return True

    def open_passed(self, opened: OpenFrame, source: str) -> int:
        return self.protocol.open_passed(opened, source)

    def reset(self, call_id: int, reason: ResetReason, message: str = "") -> None:
        self.protocol.reset(call_id, reason, message)

    def flush(self) -> None:
        data = self.protocol.data_to_send()
        self.pair.events[self.pair.other(self.protocol)] += self.pair.other(self.protocol).receive_data(data)
        while data:
            length = 4 + int.from_bytes(data[:4], "big")
            self.frames.append(decode_frame_untrusted(data[4:length]))
            data = data[length:]


@pytest.mark.parametrize("size", [0, 10, WINDOW_BYTES + 10])
@pytest.mark.parametrize("kind", [CallKind.MESSAGE, CallKind.QUERY])
async def test_no_frame_that_a_relay_sends_asks_the_next_node_to_pass_the_call_on(kind: CallKind, size: int) -> None:
    near, far = Pair(), Pair()
    asked, passed = OneSide(near, near.acceptor), OneSide(far, far.dialler)

    async def find(_node_id: str) -> OneSide:
        return passed  # wherever that leads

    async with trio.open_nursery() as nursery:
        relays = Relays(find, nursery.start_soon)
        call = near.dialler.open_call(kind, b"?" * size, seconds=9.0, target="target")
        for _ in range(20):
            near.settle()
            for event in near.take(near.acceptor):
                relays.handle_event(asked, event)
            await settle()
            passed.flush()
            far.carry(far.acceptor)
            for event in far.take(far.dialler):
                relays.handle_event(passed, event)
        opened = [frame for frame in passed.frames if isinstance(frame, OpenFrame)]
        assert [(frame.kind, frame.target, frame.source) for frame in opened] == [(kind, "", "asker")]
        arrived = far.take(far.acceptor)
        assert [event for event in arrived if isinstance(event, RelayAsked)] == []
        assert [len(event.body) for event in arrived if isinstance(event, CallArrived)] == [size]
        near.dialler.reset(call, ResetReason.CANCELLED)


async def test_a_query_finds_the_relay_by_itself_and_its_parts_come_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("asker", "relay", "target") as (wires, (asker, relay, target)):

        async def answer(call: IncomingCall) -> None:
            assert (call.source, call.body) == ("asker", b"?" * 1_000_000)
            for number in range(20):
                await call.send_part(b"%d" % number * 50_000)

        target.answer_query = answer
        assert await target.peers.call(call_to(relay)) == Done()
        del wires.nodes[target.address]
        async with asker.peers.open_call("target", b"?" * 1_000_000, trio.current_time() + 20) as call:
            for number in range(20):
                assert await call.receive_part() == b"%d" % number * 50_000
            assert await call.receive_part() is None
        assert asker.noted[-1] == ("target", "relay", "")
        await settle()
        assert len(relay.peers._relays) == 0
        assert relay.peers.budget.bytes_taken == 0


async def test_the_window_and_a_cancellation_pass_through(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("asker", "relay", "target") as (wires, (asker, relay, target)):
        sent, ended = 0, trio.Event()

        async def answer(call: IncomingCall) -> None:
            nonlocal sent
            try:
                while True:
                    await call.send_part(b"x" * 65_536)
                    sent += 1
            finally:
                ended.set()

        target.answer_query = answer
        assert await target.peers.call(call_to(relay)) == Done()
        del wires.nodes[target.address]
        async with asker.peers.open_call("target", b"?", trio.current_time() + 20) as call:
            assert await call.receive_part() is not None
            await settle()
            assert sent < 15
            assert relay.peers.budget.bytes_taken < 1 << 20
        await settle()
        assert ended.is_set()
        assert (len(relay.peers._relays), relay.peers.budget.bytes_taken) == (0, 0)


async def test_a_query_without_any_path_was_never_sent(autojump_clock: trio.testing.MockClock) -> None:
    async with wired("asker", "relay", "target") as (wires, (asker, _, target)):
        del wires.nodes[target.address]
        with pytest.raises(Unreachable) as raised:  # the end of the first wait tells it
            async with asker.peers.open_call("target", b"?", trio.current_time() + 20) as call:
                await call.receive_part()
        assert not isinstance(raised.value, ConnectionLost)
        assert asker.noted[-1][:2] == ("target", "")
        assert asker.noted[-1][2]


async def test_when_the_target_dies_the_asker_hears_it_and_when_the_asker_dies_the_target_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with wired("asker", "relay", "target") as (wires, (asker, relay, target)):
        ended = trio.Event()

        async def answer(_: IncomingCall) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        target.answer_query = answer
        assert await target.peers.call(call_to(relay)) == Done()
        del wires.nodes[target.address]
        async with asker.peers.open_call("target", b"?", trio.current_time() + 20) as call:
            with trio.move_on_after(1):
                await call.receive_part()
            target.peers.connections[0].close()
            with pytest.raises(ConnectionLost):
                await call.receive_part()
        await trio.sleep(10)
        assert ended.is_set()
        assert await target.peers.call(call_to(relay)) == Done()
        ended = trio.Event()
        async with asker.peers.open_call("target", b"?", trio.current_time() + 20) as call:
            with trio.move_on_after(1):
                await call.receive_part()
            for connection in asker.peers.connections:
                connection.close()
            await settle()
            assert ended.is_set()
        await settle()
        assert (len(relay.peers._relays), relay.peers.budget.bytes_taken) == (0, 0)


async def test_what_waits_for_a_connection_is_given_back_when_the_asker_dies(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wired("asker", "relay", "target") as (wires, (asker, relay, target)):
        assert await target.peers.call(call_to(relay)) == Done()
        del wires.nodes[target.address]

        async def find(*_: object) -> None:
            await trio.sleep_forever()

        monkeypatch.setattr(relay.peers, "find", find)
        async with asker.peers.open_call("target", b"?" * 200_000, trio.current_time() + 20) as call:
            await trio.sleep(0.5)
            assert relay.peers.budget.bytes_taken > 150_000
            for connection in asker.peers.connections:
                connection.close()
            with pytest.raises(ConnectionLost):
                await call.receive_part()
        await trio.sleep(10)
        assert (len(relay.peers._relays), relay.peers.budget.bytes_taken) == (0, 0)
