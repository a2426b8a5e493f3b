"""Values as they stand on the wire, and why a codec refuses them."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest

from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.frame import frame_header, mesh_tag
from tests.wire.samples import CODEC, MESH

HEADER = frame_header(mesh_tag(MESH))
PING = [1, 1, 2, 3, 4]
ADDRESS = ["127.0.0.1", 7700]
AS_NODE = ["id", 1, 0, "id", 1, [ADDRESS], "h", 7700, [], [], 1, 0, 0, "", ""]
AS_HOSTED = ["id", 1, 0, "home", 1, [], "h", 7700, [], [], 1, 0, 0, "", ""]
(ID, INCARNATION, STATE, HOME, BOOT, ADDRESSES, HOSTNAME, PORT, CAPABILITIES) = range(9)
CREATED_AT, EPOCH_SINCE, METRICS = 10, 12, 14


def record(position: int, value: object, of: list[object] | None = None) -> list[object]:
    """A record as it stands on the wire, with one field changed."""
    fields = list(AS_NODE if of is None else of)
    fields[position] = value
    return [1, *fields]


def refusal(data: bytes, decode: Callable[[bytes], object] = CODEC.decode_datagram_untrusted) -> Refusal:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data)
    assert str(caught.value).startswith(f"{caught.value.reason}: ")
    assert len(str(caught.value)) < 2000
    return caught.value.reason


def refused_datagram(value: object) -> Refusal:
    return refusal(HEADER + msgpack.packb(value))


def refused_item(item: object) -> Refusal:
    """In a packet, and in a call alike."""
    reasons = {
        refused_datagram([PING, [item]]),
        refusal(HEADER + msgpack.packb([3, 7, [item]]), CODEC.decode_request_untrusted),
        refusal(HEADER + msgpack.packb([2, [1, *AS_NODE], True, [item], []]), CODEC.decode_reply_untrusted),
    }
    (reason,) = reasons
    return reason
