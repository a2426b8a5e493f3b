"""What holds for all bytes and all messages."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
from hypothesis import example, given
from hypothesis import strategies as st

from meshp2p.core.calls import CallReply, CallRequest
from meshp2p.core.datagrams import Datagram
from meshp2p.errors import RemoteProtocolError
from meshp2p.wire.beacon import BeaconMessage
from meshp2p.wire.codec import Codec
from meshp2p.wire.frame import frame_header, mesh_tag
from tests.wire.samples import CODEC, MESH, SAMPLES, beacons, datagrams, replies, requests

HEADER = frame_header(mesh_tag(MESH))
DECODERS = (
    CODEC.decode_datagram_untrusted,
    CODEC.decode_request_untrusted,
    CODEC.decode_reply_untrusted,
    CODEC.decode_beacon_untrusted,
)

plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=20,
)


def read_any(data: bytes) -> None:
    """Read it as everything; whatever is not refused must be a message that can be sent again."""
    for decode in DECODERS:
        with contextlib.suppress(RemoteProtocolError):
            message: Any = decode(data)
            assert decode(CODEC.encode(message)) == message


@given(st.binary(max_size=300))
@example(b"")
def test_any_bytes_are_a_message_or_are_refused(data: bytes) -> None:
    read_any(data)
    read_any(HEADER + data)


@given(plain)
def test_any_messagepack_is_a_message_or_is_refused(value: object) -> None:
    read_any(HEADER + msgpack.packb(value))


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_a_message_of_which_bytes_were_changed_is_a_message_or_is_refused(name: str, data: st.DataObject) -> None:
    packet = bytearray(CODEC.encode(SAMPLES[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(packet) - 1))
        packet[position] = data.draw(st.integers(0, 255))
    read_any(bytes(packet))


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_a_message_that_was_cut_or_spliced_is_a_message_or_is_refused(name: str, data: st.DataObject) -> None:
    packet = CODEC.encode(SAMPLES[name])
    other = CODEC.encode(SAMPLES[data.draw(st.sampled_from(sorted(SAMPLES)))])
    read_any(packet[: data.draw(st.integers(0, len(packet)))] + other[data.draw(st.integers(0, len(other))) :])


@given(datagrams)
def test_a_datagram_is_read_as_it_was_written(datagram: Datagram) -> None:
    assert CODEC.decode_datagram_untrusted(CODEC.encode(datagram)) == datagram


@given(requests)
def test_a_request_is_read_as_it_was_written(request: CallRequest) -> None:
    assert CODEC.decode_request_untrusted(CODEC.encode(request)) == request


@given(replies)
def test_a_reply_is_read_as_it_was_written(reply: CallReply) -> None:
    assert CODEC.decode_reply_untrusted(CODEC.encode(reply)) == reply


@given(beacons)
def test_a_beacon_is_read_as_it_was_written(beacon: BeaconMessage) -> None:
    assert CODEC.decode_beacon_untrusted(CODEC.encode(beacon)) == beacon


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20), datagrams)
def test_a_mesh_reads_its_own_frames_alone(one: str, other: str, datagram: Datagram) -> None:
    packet = Codec(one).encode(datagram)
    if one == other:
        assert Codec(other).decode_datagram_untrusted(packet) == datagram
    else:
        with contextlib.suppress(RemoteProtocolError):
            raise AssertionError(Codec(other).decode_datagram_untrusted(packet))
