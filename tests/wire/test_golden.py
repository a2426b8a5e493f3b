"""The bytes of each message, pinned: nodes of two versions must go on understanding each other.

Where a new field was appended on purpose, ``MESHP2P_REWRITE_GOLDEN=1 pytest tests/wire`` writes the files anew; the old
file's content then belongs into ``READ_FOR_EVER``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshp2p.core.calls import SyncReply, SyncRequest
from meshp2p.core.datagrams import Ack, Datagram
from meshp2p.wire.frame import FRAME_BYTES, frame_header, mesh_tag
from tests.wire.samples import CODEC, MESH, NODE, SAMPLES, decode

GOLDEN = Path(__file__).parent / "golden"
IS_REWRITING = os.environ.get("MESHP2P_REWRITE_GOLDEN") == "1"
LINE_BYTES = 32

READ_FOR_EVER: dict[str, tuple[str, object]] = {
    # A sender that leaves out what has a default.
    "an ack without items and ages": ("9194020a0b0c", Datagram(Ack(10, 11, 12))),
    # Written before they told how slow the sender is.
    "an ack without local health": ("9394020a0b0c" + "9090", Datagram(Ack(10, 11, 12))),
    # A sender of a later version, that appended fields.
    "an ack with a field of tomorrow": ("9496020a0b0c03c3" + "9090" + "c0", Datagram(Ack(10, 11, 12, 3))),
}

CALLS_READ_FOR_EVER: dict[str, tuple[str, object]] = {
    # Written before they told the greatest claim to lead.
    "sync-request": ("9302c4080000000000000000c0", SyncRequest(b"\0" * 8, None)),
    "sync-reply": (
        (
            "9502dc001001ad30313932616161612d6e6f6465"
            "cf0000018bcfe5680000ad30313932616161612d6e6f6465cf018bcfe5680030"
            "399292a93139322e302e322e37cd1e1492ab323030313a6462383a3a37cd1e15"
            "ac686f73742e6578616d706c65cd1e1492a973756d6d6172697365abc3bc6265"
            "727365747a656e91a6777269746572cf0000018bcfe567ff03cf0000018bcfe5"
            "6801a462757379ac7b226c6f6164223a302e357dc29090"
        ),
        SyncReply(NODE, False, (), ()),
    ),
    # Written before a message told that it is an error.
    "deliver": (
        (
            "9410ad30313932616161612d6e6f6465929398d92430313862636665352d3638"
            "30302d373030302d383030302d303030303030303030303030a96167656e7420"
            "312f32ad30313932616161612d6e6f6465a55175657279a0c42a7b2262223a20"
            "31652d3430303030302c202261223a3138343436373434303733373039353531"
            "3631377da3632d31cf0000018bcfe5680091a96167656e7420312f32cb40f518"
            "00000000009398d92430313862636665352d363830312d376666662d62666666"
            "2d666666666666666666666666ad30313932616161612d6e6f6465c0a6437573"
            "746f6dac696e766f6963652e50616964c405206e756c6cc0cf0000e677d21fdb"
            "ff92a2c3bcd98078787878787878787878787878787878787878787878787878"
            "7878787878787878787878787878787878787878787878787878787878787878"
            "7878787878787878787878787878787878787878787878787878787878787878"
            "7878787878787878787878787878787878787878787878787878787878787878"
            "78787878787878cb3fe000000000000000"
        ),
        SAMPLES["deliver"],
    ),
    # Written before a message had a trace.
    "deposit": (
        (
            "9212919399d92430313862636665352d363830302d373030302d383030302d30"
            "3030303030303030303030a96167656e7420312f32ad30313932616161612d6e"
            "6f6465a55175657279a0c42a7b2262223a2031652d3430303030302c20226122"
            "3a31383434363734343037333730393535313631377da3632d31cf0000018bcf"
            "e56800c291a2c3bccb0000000000000000"
        ),
        SAMPLES["deposit"],
    ),
    "fetch-reply": (
        (
            "93139299d92430313862636665352d363830302d373030302d383030302d3030"
            "30303030303030303030a96167656e7420312f32ad30313932616161612d6e6f"
            "6465a55175657279a0c42a7b2262223a2031652d3430303030302c202261223a"
            "31383434363734343037333730393535313631377da3632d31cf0000018bcfe5"
            "6800c299d92430313862636665352d363830312d376666662d626666662d6666"
            "66666666666666666666ad30313932616161612d6e6f6465c0a6437573746f6d"
            "ac696e766f6963652e50616964c405206e756c6cc0cf0000e677d21fdbffc2c3"
        ),
        SAMPLES["fetch-reply"],
    ),
}


def read_golden(name: str) -> bytes:
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def write_golden(name: str, data: bytes) -> None:
    lines = [data[start : start + LINE_BYTES].hex() for start in range(0, len(data), LINE_BYTES)]
    (GOLDEN / f"{name}.hex").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_message_has_the_bytes_it_always_had(name: str) -> None:
    data = CODEC.encode(SAMPLES[name])
    if IS_REWRITING:
        write_golden(name, data)
    assert data == read_golden(name)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_bytes_are_read_as_the_message_they_always_were(name: str) -> None:
    assert decode(name, read_golden(name)) == SAMPLES[name]


def test_every_golden_file_belongs_to_a_message() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(SAMPLES)


@pytest.mark.parametrize("name", READ_FOR_EVER)
def test_fields_may_be_missing_at_the_end_and_unknown_ones_may_follow(name: str) -> None:
    body, expected = READ_FOR_EVER[name]
    assert CODEC.decode_datagram_untrusted(frame_header(mesh_tag(MESH)) + bytes.fromhex(body)) == expected


def test_the_frame_is_magic_version_flags_and_the_tag_of_the_mesh() -> None:
    assert frame_header(mesh_tag("default")).hex() == "6d320200" + "fe98b07b1ba6b3a2"
    assert len(frame_header(mesh_tag("ü" * 64))) == FRAME_BYTES


@pytest.mark.parametrize("name", CALLS_READ_FOR_EVER)
def test_a_call_of_an_earlier_version_is_read_for_ever(name: str) -> None:
    body, expected = CALLS_READ_FOR_EVER[name]
    assert decode(name, frame_header(mesh_tag(MESH)) + bytes.fromhex(body)) == expected
