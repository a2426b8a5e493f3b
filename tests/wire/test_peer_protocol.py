"""The protocol of peer connections: calls, windows, turns, bounds, and what it refuses."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshp2p.errors import InternalError, Refusal, RemoteProtocolError
from meshp2p.wire.call_bytes import CONNECTION_BYTES_MAX, Budget
from meshp2p.wire.exchange import PART_BYTES_MAX, WINDOW_BYTES
from meshp2p.wire.peer_events import (
    CallArrived,
    CallEnded,
    CallReset,
    ChunkArrived,
    HelloArrived,
    PartArrived,
    RelayAsked,
    WindowGranted,
)
from meshp2p.wire.peer_frames import (
    CHUNK_BYTES_MAX,
    LAST,
    PART_END,
    CallKind,
    DataFrame,
    GoodbyeFrame,
    KeepAliveFrame,
    OpenFrame,
    PeerFrame,
    PeerHello,
    ResetFrame,
    ResetReason,
    WindowFrame,
    encode_frame,
    preamble,
)
from meshp2p.wire.peer_protocol import CALLS_MAX, PeerProtocol
from tests.wire.peers import TAG, Pair

MESSAGE, QUERY = CallKind.MESSAGE, CallKind.QUERY
HELLO = preamble(TAG) + encode_frame(PeerHello("b", 2))


def raw(*frames: PeerFrame) -> bytes:
    return b"".join(map(encode_frame, frames))


def fresh(*, is_dialler: bool = False, budget: Budget | None = None) -> PeerProtocol:
    protocol = PeerProtocol(TAG, PeerHello("a", 1), is_dialler=is_dialler, budget=budget)
    protocol.receive_data(HELLO)
    protocol.data_to_send()
    return protocol


def refusal_of(protocol: PeerProtocol, data: bytes) -> Refusal:
    with pytest.raises(RemoteProtocolError) as raised:
        protocol.receive_data(data)
    return raised.value.reason


# Calls


def test_each_side_hears_who_the_other_is() -> None:
    pair = Pair(has_hellos=False)
    pair.settle()
    assert pair.take(pair.dialler) == [HelloArrived(PeerHello("b", 2))]
    assert pair.take(pair.acceptor) == [HelloArrived(PeerHello("a", 1))]


def test_a_call_may_be_opened_before_the_other_side_said_who_it_is() -> None:
    pair = Pair(has_hellos=False)
    call = pair.dialler.open_call(MESSAGE, b"early")
    pair.carry(pair.dialler)
    assert pair.take(pair.acceptor)[1:] == [CallArrived(call, MESSAGE, b"early", 0.0, "")]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, WINDOW_BYTES + 1, PART_BYTES_MAX])
@pytest.mark.parametrize("opens", ["dialler", "acceptor"])
def test_a_body_of_any_size_arrives_whole_and_so_does_the_reply(size: int, opens: str) -> None:
    pair = Pair()
    asker = pair.dialler if opens == "dialler" else pair.acceptor
    server = pair.other(asker)
    body = random.Random(size).randbytes(size)
    call = asker.open_call(MESSAGE, body)
    pair.settle()
    assert pair.take(server) == [CallArrived(call, MESSAGE, body, 0.0, "")]
    server.send_part(call, body[::-1], is_last=True)
    pair.settle()
    assert pair.take(asker) == [PartArrived(call, body[::-1]), CallEnded(call)]
    assert (asker.calls, server.calls, pair.budget.bytes_taken) == (0, 0, 0)


def test_a_reply_has_any_number_of_parts_and_each_stays_whole() -> None:
    pair = Pair()
    call = pair.dialler.open_call(QUERY, b"?", seconds=2.5)
    pair.settle()
    assert pair.take(pair.acceptor) == [CallArrived(call, QUERY, b"?", 2.5, "")]
    parts = [b"", b"x" * 100_000, b"y"]
    for part in parts:
        pair.acceptor.send_part(call, part)
    pair.acceptor.end_reply(call)
    pair.settle()
    assert pair.take(pair.dialler) == [*(PartArrived(call, part) for part in parts), CallEnded(call)]


def test_calls_of_both_sides_share_the_connection_and_never_an_id() -> None:
    pair = Pair()
    ids = {side: [side.open_call(MESSAGE, b"%d" % number) for number in range(5)] for side in pair.events}
    assert not set(ids[pair.dialler]) & set(ids[pair.acceptor])
    pair.settle()
    for side in (pair.dialler, pair.acceptor):
        arrived = [event for event in pair.take(pair.other(side)) if isinstance(event, CallArrived)]
        assert [(event.call, event.body) for event in arrived] == [
            (call, b"%d" % number) for number, call in enumerate(ids[side])
        ]


@pytest.mark.parametrize("side", ["asker", "server"])
def test_either_side_may_end_a_call_early(side: str) -> None:
    pair = Pair()
    call = pair.dialler.open_call(QUERY, b"?")
    pair.settle()
    pair.take(pair.acceptor)
    one = pair.dialler if side == "asker" else pair.acceptor
    one.reset(call, ResetReason.CANCELLED, "enough")
    pair.settle()
    assert pair.take(pair.other(one)) == [CallReset(call, ResetReason.CANCELLED, "enough")]
    assert (pair.dialler.calls, pair.acceptor.calls, pair.budget.bytes_taken) == (0, 0, 0)


def test_a_call_that_was_never_sent_is_cancelled_without_a_word() -> None:
    pair = Pair()
    call = pair.dialler.open_call(MESSAGE, b"x")
    pair.dialler.reset(call, ResetReason.CANCELLED)
    pair.settle()
    assert pair.take(pair.acceptor) == []


def test_what_crosses_a_reset_on_its_way_is_no_error() -> None:
    pair = Pair()
    call = pair.dialler.open_call(MESSAGE, b"x" * WINDOW_BYTES * 2)
    pair.carry(pair.dialler)
    pair.acceptor.reset(call, ResetReason.BUSY)
    for _ in range(3):
        pair.carry(pair.dialler)
    pair.settle()
    assert pair.take(pair.dialler) == [CallReset(call, ResetReason.BUSY, "")]


# Windows and turns


def test_nobody_waits_for_the_whole_of_a_large_message() -> None:
    pair = Pair()
    pair.dialler.open_call(MESSAGE, b"x" * PART_BYTES_MAX)
    pair.carry(pair.dialler)
    small = pair.dialler.open_call(MESSAGE, b"ping")
    sent = pair.carry(pair.dialler) + pair.carry(pair.dialler)
    assert sent < 2 * CHUNK_BYTES_MAX + 1000
    assert CallArrived(small, MESSAGE, b"ping", 0.0, "") in pair.take(pair.acceptor)


def test_a_sender_stops_at_the_window_and_goes_on_when_parts_are_consumed() -> None:
    pair = Pair()
    call = pair.dialler.open_call(QUERY, b"?")
    pair.settle()
    for _ in range(10):
        pair.acceptor.send_part(call, b"x" * CHUNK_BYTES_MAX)
    pair.settle()
    arrived = len(pair.take(pair.dialler))
    assert arrived == WINDOW_BYTES // CHUNK_BYTES_MAX
    assert pair.acceptor.has_unsent(call)
    for _ in range(arrived):
        pair.dialler.consume(call)
    pair.settle()
    assert len(pair.take(pair.dialler)) == arrived


def test_a_part_larger_than_the_window_arrives_though_nobody_consumed_it() -> None:
    pair = Pair()
    call = pair.dialler.open_call(QUERY, b"?")
    pair.settle()
    pair.acceptor.send_part(call, b"x" * PART_BYTES_MAX)
    pair.acceptor.send_part(call, b"y" * PART_BYTES_MAX)
    pair.settle()
    assert [len(event.data) for event in pair.take(pair.dialler) if isinstance(event, PartArrived)] == [PART_BYTES_MAX]
    assert pair.budget.bytes_taken < PART_BYTES_MAX + 2 * WINDOW_BYTES
    pair.dialler.consume(call)
    pair.settle()
    assert [len(event.data) for event in pair.take(pair.dialler) if isinstance(event, PartArrived)] == [PART_BYTES_MAX]


# Goodbye and keep-alive


def test_after_a_goodbye_a_call_is_sent_back_unseen_and_those_under_way_end() -> None:
    pair = Pair()
    first = pair.dialler.open_call(MESSAGE, b"1")
    pair.settle()
    pair.take(pair.acceptor)
    pair.acceptor.say_goodbye()
    late = pair.dialler.open_call(MESSAGE, b"2")
    pair.carry(pair.dialler)
    pair.settle()
    reset = pair.take(pair.dialler)
    assert reset == [CallReset(late, ResetReason.NOT_TAKEN, "")]
    assert ResetReason.NOT_TAKEN.is_unseen
    assert not pair.dialler.may_open
    pair.acceptor.send_part(first, b"!", is_last=True)
    pair.dialler.say_goodbye()
    assert not pair.dialler.is_finished
    pair.settle()
    assert pair.dialler.is_finished
    assert pair.acceptor.is_finished
    with pytest.raises(InternalError):
        pair.dialler.open_call(MESSAGE, b"3")


def test_who_is_asked_whether_it_is_there_says_so_once() -> None:
    protocol = fresh()
    protocol.receive_data(raw(*[KeepAliveFrame(False)] * 1000, KeepAliveFrame(True)))
    assert protocol.data_to_send() == raw(KeepAliveFrame(True))


# Calls that are passed on


class Relayed:
    """``asker`` and ``target``, each with a connection to a relay that passes on what they say."""

    def __init__(self) -> None:
        self.budget = Budget(64 << 20)
        self.near, self.far = Pair(budget=self.budget), Pair(budget=self.budget)
        self.asker, self.target = self.near.dialler, self.far.acceptor
        self.ids: dict[int, int] = {}

    def settle(self) -> None:
        near, far = self.near.acceptor, self.far.dialler
        for _ in range(1000):
            self.near.settle()
            self.far.settle()
            events = [(near, event) for event in self.near.take(near)] + [(far, event) for event in self.far.take(far)]
            if not events:
                return
            for side, event in events:
                other = far if side is near else near
                match event:
                    case RelayAsked(call=call, opened=opened):
                        self.ids[call] = far.open_passed(opened, "a")
                    case ChunkArrived(call=call, flags=flags, data=data):
                        other.pass_chunk(self._there(side, call), flags, data)
                    case WindowGranted(call=call, count=count):
                        other.grant(self._there(side, call), count)
                    case CallReset(call=call, reason=reason, message=message):
                        other.reset(self._there(side, call), reason, message)
        raise AssertionError("it goes round in circles")

    def _there(self, side: PeerProtocol, call: int) -> int:
        if side is self.near.acceptor:
            return self.ids[call]
        return next(near for near, far in self.ids.items() if far == call)


@pytest.mark.parametrize("size", [0, 10, PART_BYTES_MAX])
def test_a_call_that_is_passed_on_arrives_with_its_asker_and_its_reply_comes_back(size: int) -> None:
    relayed = Relayed()
    body = random.Random(1).randbytes(size)
    call = relayed.asker.open_call(QUERY, body, seconds=9.0, target="b")
    relayed.settle()
    (arrived,) = relayed.far.take(relayed.target)
    assert isinstance(arrived, CallArrived)
    assert (arrived.kind, arrived.body, arrived.seconds, arrived.source) == (QUERY, body, 9.0, "a")
    relayed.target.send_part(arrived.call, body)
    relayed.target.send_part(arrived.call, b"end", is_last=True)
    for _ in range(2):
        relayed.settle()
        relayed.asker.consume(call)
    assert relayed.near.take(relayed.asker) == [PartArrived(call, body), PartArrived(call, b"end"), CallEnded(call)]
    for pair in (relayed.near, relayed.far):
        assert (pair.dialler.calls, pair.acceptor.calls) == (0, 0)
    assert relayed.budget.bytes_taken == 0


def test_the_window_of_a_call_that_is_passed_on_is_that_of_its_ends() -> None:
    relayed = Relayed()
    call = relayed.asker.open_call(QUERY, b"?", target="b")
    relayed.settle()
    (arrived,) = relayed.far.take(relayed.target)
    assert isinstance(arrived, CallArrived)
    for _ in range(20):
        relayed.target.send_part(arrived.call, b"x" * CHUNK_BYTES_MAX)
    relayed.settle()
    assert relayed.budget.bytes_taken < 3 * WINDOW_BYTES
    assert len(relayed.near.take(relayed.asker)) == WINDOW_BYTES // CHUNK_BYTES_MAX
    relayed.asker.reset(call, ResetReason.CANCELLED)
    relayed.settle()
    assert relayed.far.take(relayed.target) == [CallReset(arrived.call, ResetReason.CANCELLED, "")]


def test_a_call_that_was_passed_on_is_not_passed_on_again() -> None:
    assert refusal_of(fresh(), raw(OpenFrame(1, QUERY, 3, b"", 0.0, "c", "b"))) is Refusal.BAD_VALUE


# Bounds


def test_more_calls_than_the_bound_are_reset_as_busy() -> None:
    pair = Pair()
    for _ in range(CALLS_MAX + 2):
        pair.dialler.open_call(MESSAGE, b"")
    pair.settle()
    resets = pair.take(pair.dialler)
    assert [event.reason for event in resets if isinstance(event, CallReset)] == [ResetReason.BUSY] * 2
    assert len(pair.take(pair.acceptor)) == CALLS_MAX


def test_bodies_that_are_being_served_count_and_one_past_the_bound_is_reset_alone() -> None:
    pair = Pair()
    room = CONNECTION_BYTES_MAX // PART_BYTES_MAX
    calls = [pair.dialler.open_call(MESSAGE, b"x" * (PART_BYTES_MAX - 100_000)) for _ in range(room + 1)]
    pair.settle()
    assert len([event for event in pair.take(pair.acceptor) if isinstance(event, CallArrived)]) == room
    (reset,) = pair.take(pair.dialler)
    assert isinstance(reset, CallReset)
    assert reset.reason is ResetReason.BUSY
    for call in calls:
        pair.acceptor.send_part(call, b"", is_last=True)
    pair.settle()
    assert pair.budget.bytes_taken == 0


def test_all_connections_share_one_budget() -> None:
    budget = Budget(100_000)
    one, other = fresh(budget=budget), fresh(budget=budget)
    one.receive_data(raw(OpenFrame(1, MESSAGE, PART_END | LAST, b"x" * 60_000)))
    (event,) = other.receive_data(raw(OpenFrame(1, MESSAGE, PART_END | LAST, b"x" * 60_000)))
    assert isinstance(event, CallReset)
    assert event.reason is ResetReason.BUSY
    one.abandon()
    assert budget.bytes_taken == 0


@pytest.mark.parametrize("chunks", [1, 3])
def test_what_came_before_a_mistake_is_given_back(chunks: int) -> None:
    """Nobody hears of a call that was to be passed on if what came with it broke the rules."""
    budget = Budget(1 << 20)
    relay = fresh(budget=budget)
    frames: list[PeerFrame] = [OpenFrame(1, CallKind.QUERY, 0, b"?" * 50_000, target="target")]
    frames += [DataFrame(1, 0, b"?" * 50_000)] * (chunks - 1)
    data = b"".join(map(raw, frames)) + raw(PeerHello("a second hello", 1))
    with pytest.raises(RemoteProtocolError):
        relay.receive_data(data)
    assert budget.bytes_taken == 0


def test_empty_chunks_without_end_are_bounded_too() -> None:
    protocol = fresh(is_dialler=True)
    call = protocol.open_call(QUERY, b"?")
    protocol.data_to_send()
    chunk = raw(*[DataFrame(call, PART_END, b"")] * 1000)
    for _ in range(CONNECTION_BYTES_MAX // 1000):
        if not protocol.is_open(call):
            break
        protocol.receive_data(chunk)
    assert not protocol.is_open(call)


def test_who_asks_for_answers_and_does_not_read_them_clogs_the_connection() -> None:
    protocol = fresh()
    protocol.say_goodbye()
    assert not protocol.is_clogged
    protocol.receive_data(raw(*[OpenFrame(2 * number + 1, MESSAGE, 3, b"") for number in range(5000)]))
    assert protocol.is_clogged
    protocol.data_to_send()
    assert not protocol.is_clogged


# What is refused


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", Refusal.BAD_MAGIC),
        (HELLO.replace(b"m2\2", b"m2\3"), Refusal.BAD_VERSION),
        (preamble(b"another!"), Refusal.OTHER_MESH),
        (preamble(TAG) + b"\xff\xff\xff\xff", Refusal.TOO_LARGE),
        (preamble(TAG) + b"\0\0\0\0", Refusal.BAD_SHAPE),
        (preamble(TAG) + b"\0\0\0\1\xc1", Refusal.BAD_SHAPE),
        (preamble(TAG) + raw(GoodbyeFrame()), Refusal.BAD_VALUE),
        (preamble(TAG) + raw(PeerHello("ü" * 65, 1)), Refusal.BAD_VALUE),
    ],
)
def test_a_connection_begins_with_the_mesh_and_a_hello(data: bytes, reason: Refusal) -> None:
    assert refusal_of(PeerProtocol(TAG, PeerHello("a", 1), is_dialler=False), data) is reason


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([PeerHello("b", 2)], Refusal.BAD_VALUE),
        ([OpenFrame(2, MESSAGE, 3, b"")], Refusal.BAD_VALUE),
        ([OpenFrame(1, MESSAGE, 3, b"")] * 2, Refusal.BAD_VALUE),
        ([OpenFrame(3, MESSAGE, 3, b""), OpenFrame(1, MESSAGE, 3, b"")], Refusal.BAD_VALUE),
        ([DataFrame(1, 0, b"")], Refusal.BAD_VALUE),
        ([DataFrame(2, 0, b"")], Refusal.BAD_VALUE),
        ([WindowFrame(7, 1)], Refusal.BAD_VALUE),
        ([ResetFrame(7, ResetReason.CANCELLED)], Refusal.BAD_VALUE),
        ([OpenFrame(1, MESSAGE, 3, b""), DataFrame(1, 3, b"")], Refusal.BAD_VALUE),
        ([OpenFrame(1, MESSAGE, PART_END, b"")], Refusal.BAD_VALUE),
        ([OpenFrame(1, MESSAGE, LAST, b"")], Refusal.BAD_VALUE),
        ([OpenFrame(1, MESSAGE, LAST, b"x")], Refusal.BAD_VALUE),
        ([OpenFrame(1, MESSAGE, 3, b""), WindowFrame(1, 1)], Refusal.BAD_VALUE),
        (
            [OpenFrame(1, MESSAGE, 0, b"", 0.0, "c"), *[DataFrame(1, 0, b"x" * CHUNK_BYTES_MAX)] * 5],
            Refusal.TOO_LARGE,
        ),
    ],
    ids=str,
)
def test_what_breaks_the_rules_is_refused(frames: list[PeerFrame], reason: Refusal) -> None:
    assert refusal_of(fresh(), raw(*frames)) is reason


def test_a_body_past_the_bound_is_refused() -> None:
    protocol = fresh()
    protocol.receive_data(raw(OpenFrame(1, MESSAGE, 0, b"")))
    for _ in range(PART_BYTES_MAX // CHUNK_BYTES_MAX):
        protocol.receive_data(raw(DataFrame(1, 0, b"x" * CHUNK_BYTES_MAX)))
    assert refusal_of(protocol, raw(DataFrame(1, 0, b"x"))) is Refusal.TOO_LARGE


# Laws


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_how_bytes_are_cut_changes_nothing(data: st.DataObject) -> None:
    stream = HELLO + raw(
        OpenFrame(1, MESSAGE, 0, b"begin"),
        OpenFrame(3, QUERY, 3, b"whole", 2.0),
        KeepAliveFrame(False),
        DataFrame(1, 3, b" end"),
        OpenFrame(5, QUERY, 0, b"x", 1.0, "c"),
        ResetFrame(3, ResetReason.CANCELLED),
        GoodbyeFrame(),
    )
    whole = PeerProtocol(TAG, PeerHello("a", 1), is_dialler=False)
    expected = whole.receive_data(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = PeerProtocol(TAG, PeerHello("a", 1), is_dialler=False)
    events = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for event in pieces.receive_data(stream[start:end])
    ]
    assert events == expected
    assert pieces.data_to_send() == whole.data_to_send()


@given(st.integers(0, 1 << 32), st.lists(st.integers(0, 300_000), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_in_any_order_of_sending_all_calls_end_with_their_own_reply(seed: int, sizes: list[int]) -> None:
    dice = random.Random(seed)
    pair = Pair()
    waiting: dict[tuple[PeerProtocol, int], bytes] = {}
    replies: dict[tuple[PeerProtocol, int], bytes] = {}
    todo = list(sizes)
    for _ in range(5000):
        side = dice.choice([pair.dialler, pair.acceptor])
        if todo and dice.random() < 0.5:
            body = dice.randbytes(todo.pop())
            waiting[side, side.open_call(MESSAGE, body)] = body
        pair.carry(side)
        for server in (pair.dialler, pair.acceptor):
            for event in pair.take(server):
                if isinstance(event, CallArrived):
                    server.send_part(event.call, event.body[::-1], is_last=True)
                elif isinstance(event, PartArrived):
                    replies[server, event.call] = event.data[::-1]
        if not todo and len(replies) == len(waiting):
            break
    assert replies == waiting
    assert (pair.dialler.calls, pair.acceptor.calls, pair.budget.bytes_taken) == (0, 0, 0)


frames = st.one_of(
    st.builds(OpenFrame, st.integers(0, 9), st.sampled_from(CallKind), st.integers(0, 3), st.binary(max_size=9)),
    st.builds(DataFrame, st.integers(0, 9), st.integers(0, 3), st.binary(max_size=9)),
    st.builds(WindowFrame, st.integers(0, 9), st.integers(1, 1 << 31)),
    st.builds(ResetFrame, st.integers(0, 9), st.sampled_from(ResetReason)),
    st.builds(KeepAliveFrame, st.booleans()),
    st.just(GoodbyeFrame()),
)


@given(st.lists(frames, max_size=30), st.booleans(), st.binary(max_size=40), st.integers(0, 1 << 30))
@settings(max_examples=300, deadline=None)
def test_nothing_but_a_refusal_escapes_whatever_arrives(
    said: list[PeerFrame], is_dialler: bool, noise: bytes, place: int
) -> None:
    budget = Budget(1 << 20)
    protocol = fresh(is_dialler=is_dialler, budget=budget)
    for number in range(3):
        protocol.open_call(QUERY, b"%d" % number)
    protocol.data_to_send()
    stream = bytearray(raw(*said))
    if noise and stream:
        place %= len(stream)
        stream[place : place + len(noise)] = noise
    try:
        protocol.receive_data(stream)
    except RemoteProtocolError:
        pass
    protocol.data_to_send()
    protocol.abandon()
    assert budget.bytes_taken == 0


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused_or_waited_for(data: bytes) -> None:
    for protocol in (fresh(), PeerProtocol(TAG, PeerHello("a", 1), is_dialler=True)):
        try:
            protocol.receive_data(data)
        except RemoteProtocolError:
            pass


# Bytes


GOLDEN = {
    "d76d32020001020304050607": "preamble",
    "0000000593 00 a161 01".replace(" ", ""): "PeerHello('a', 1)",
    "00000014 98 01 01 00 03 c4026869 cb0000000000000000 a0 a0".replace(" ", ""): "open 1",
    "00000007 94 02 02 03 c40179".replace(" ", ""): "data 2",
}


def test_the_bytes_of_a_connection_are_what_they_always_were() -> None:
    one = PeerProtocol(TAG, PeerHello("a", 1), is_dialler=True)
    one.open_call(MESSAGE, b"hi")
    one.receive_data(HELLO + raw(OpenFrame(2, MESSAGE, 3, b"?")))
    one.send_part(2, b"y", is_last=True)
    assert one.data_to_send().hex() == "".join(GOLDEN)
    others: dict[str, PeerFrame] = {
        "9303 01 82".replace("82", "cd0100").replace(" ", ""): WindowFrame(1, 256),
        "94 04 03 10 a16e".replace(" ", ""): ResetFrame(3, ResetReason.CANCELLED, "n"),
        "92 05 c2".replace(" ", ""): KeepAliveFrame(False),
        "9106": GoodbyeFrame(),
        "98 01 05 02 03 c400 cb4000000000000000 a163 a0".replace(" ", ""): OpenFrame(5, QUERY, 3, b"", 2.0, "c"),
    }
    for expected, frame in others.items():
        assert encode_frame(frame)[4:].hex() == expected
        assert msgspec.msgpack.decode(bytes.fromhex(expected), type=type(frame)) == frame
