"""The codec: messages to bytes and back.

Bytes from the network are decoded in steps. First the frame is checked. Then a walk over the MessagePack, which builds
nothing, checks that everything its headers announce is present. Then the MessagePack is decoded into typed messages;
the types limit every array and text, and unknown fields are skipped. At last, values that no type can limit are
checked: records and rumours by :mod:`meshp2p.core.validity`, messages and shared maps here.

The modules that define these types do not import ``annotations`` from ``__future__``: msgspec would have to compile
each annotation when a node starts.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from meshp2p.core.calls import (
    Acknowledged,
    AskInstance,
    CallReply,
    CallRequest,
    Deliver,
    Deposit,
    FetchReply,
    ForwardAcknowledge,
    ForwardDeregister,
    ForwardFetch,
    ForwardHeartbeat,
    ForwardStatus,
    InstanceReply,
    LeaseAsk,
    LeaseRelease,
    Parcel,
    Pong,
    Push,
    SendReply,
    StatusReply,
    SyncReply,
    SyncRequest,
)
from meshp2p.core.datagrams import DATAGRAM_BYTES_MAX, Datagram, PingRequest
from meshp2p.core.digest import BUCKETS_MAX, is_digest
from meshp2p.core.mail.uuid7 import is_uuid7
from meshp2p.core.map_calls import MapDifference, MapPush, MapSync, MapTaken
from meshp2p.core.map_entry import MAP_KEY_BYTES_MAX, MapEntry
from meshp2p.core.message import Message
from meshp2p.core.plain_json import NotPlainJson, check_plain_json
from meshp2p.core.record import Item, Record
from meshp2p.core.validity import (
    TIME_MAX,
    check_addresses,
    check_bytes,
    check_id,
    check_ids,
    check_item,
    check_metrics,
    check_short,
)
from meshp2p.errors import ConfigError, Refusal, RemoteProtocolError
from meshp2p.wire.beacon import BEACON_BYTES_MAX, BeaconAnswer, BeaconMessage
from meshp2p.wire.frame import frame_header, mesh_tag, open_frame_untrusted

__all__ = ["CALL_BYTES_MAX", "DATAGRAM_BYTES_MAX", "Codec"]

CALL_BYTES_MAX: Final = 4 << 20
"""The largest body of a call: twice the largest payload of a message. Chosen, not measured."""

_UNCOLLECTED_BYTES: Final = 16 * 1024
"""Larger messages are decoded without garbage collection. Chosen, not measured."""

_T = TypeVar("_T")

_is_complete: Final = msgspec.msgpack.Decoder(msgspec.Raw).decode
_decode_datagram: Final = msgspec.msgpack.Decoder(Datagram).decode
_decode_request: Final = msgspec.msgpack.Decoder(CallRequest).decode
_decode_reply: Final = msgspec.msgpack.Decoder(CallReply).decode
_decode_beacon: Final = msgspec.msgpack.Decoder(BeaconMessage).decode


class Codec:
    """The codec of one mesh. It writes the tag of the mesh into each frame, and refuses frames with other tags."""

    def __init__(self, mesh: str) -> None:
        self.tag: bytes = mesh_tag(mesh)
        self._header = frame_header(self.tag)
        self._encoder = msgspec.msgpack.Encoder()

    def encode(self, message: Datagram | CallRequest | CallReply | BeaconMessage) -> bytes:
        """Encode a datagram, the request or reply of a call, or a beacon as a frame."""
        return self._header + self._encoder.encode(message)

    def decode_datagram_untrusted(self, data: bytes) -> Datagram:
        """Decode a UDP payload. Raises only :class:`RemoteProtocolError`, for everything that is not a datagram of this
        mesh."""
        return self._decode_untrusted(data, _decode_datagram, _check_datagram, DATAGRAM_BYTES_MAX)

    def encode_body(self, datagram: Datagram) -> bytes:
        """Encode a datagram as the body of a sealed frame."""
        return self._encoder.encode(datagram)

    def decode_body_untrusted(self, body: bytes) -> Datagram:
        """Decode the output of :meth:`encode_body`. Raises only :class:`RemoteProtocolError`."""
        return _decode_body_untrusted(body, _decode_datagram, _check_datagram)

    def decode_request_untrusted(self, data: bytes) -> CallRequest:
        """Decode the body of a call. Raises only :class:`RemoteProtocolError`."""
        request: CallRequest = self._decode_untrusted(data, _decode_request, _check_request, CALL_BYTES_MAX)
        return request

    def decode_reply_untrusted(self, data: bytes) -> CallReply:
        """Decode the reply to a call. Raises only :class:`RemoteProtocolError`."""
        reply: CallReply = self._decode_untrusted(data, _decode_reply, _check_reply, CALL_BYTES_MAX)
        return reply

    def decode_beacon_untrusted(self, data: bytes) -> BeaconMessage:
        """Decode a packet from the beacon's port. Raises only :class:`RemoteProtocolError`."""
        message: BeaconMessage = self._decode_untrusted(data, _decode_beacon, _check_beacon, BEACON_BYTES_MAX)
        return message

    def _decode_untrusted(
        self, data: bytes, decode: Callable[[bytes | memoryview], _T], check: Callable[[_T], None], bytes_max: int
    ) -> _T:
        if len(data) > bytes_max:
            raise RemoteProtocolError(Refusal.TOO_LARGE, f"{len(data)} bytes: at most {bytes_max}")
        return _decode_body_untrusted(open_frame_untrusted(data, self._header), decode, check)


def _decode_body_untrusted(
    body: bytes | memoryview, decode: Callable[[bytes | memoryview], _T], check: Callable[[_T], None]
) -> _T:
    try:
        # a decoder makes room for an array when it sees its header: after this there is none without its elements
        _is_complete(body)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(Refusal.BAD_ENCODING, f"not MessagePack: {error}") from None
    # the collector would visit all parts of a large message several times, and decoding makes no cycles
    is_collected = len(body) > _UNCOLLECTED_BYTES and gc.isenabled()
    if is_collected:
        gc.disable()
    try:
        try:
            value = decode(body)
        except (ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, str(error)) from None
        check(value)
    except ConfigError as error:
        raise RemoteProtocolError(Refusal.BAD_VALUE, str(error)) from None
    finally:
        if is_collected:
            gc.enable()
    return value


def _check_datagram(datagram: Datagram) -> None:
    if isinstance(datagram.body, PingRequest):
        check_addresses((datagram.body.address,))
    _check_items(datagram.items)


def _check_beacon(message: BeaconMessage) -> None:
    check_bytes("id", message.id)
    check_addresses(message.addresses)
    if bool(message.id) != bool(message.addresses) or (isinstance(message, BeaconAnswer) and not message.id):
        raise ConfigError("a beacon of a node has an id and addresses, others have none")


def _check_reply(reply: CallReply) -> None:
    match reply:
        case SyncReply(sender=sender, items=items, claim=claim):
            _check_items((sender, *items))
            check_bytes("id", claim[1])
        case Pong(id=instance_id):
            check_id(instance_id)
        case InstanceReply(record=Record() as record):
            check_item(record)
        case FetchReply(messages=messages):
            for message in messages:
                _check_message(message)
        case SendReply(message_id=message_id, delivered_to=recipients):
            _check_message_id(message_id)
            check_ids(recipients)
        case MapDifference(clock_ms=clock_ms, buckets=buckets, entries=entries, holders=holders):
            _check_clock(clock_ms)
            if not is_digest(b"\0" * 8 * min(buckets, 2 * BUCKETS_MAX)):
                raise ConfigError(f"{buckets} buckets: expected a power of two to 4096")
            _check_entries(entries)
            check_ids(holders)
        case MapTaken(clock_ms=clock_ms):
            _check_clock(clock_ms)
        case StatusReply(receipts=receipts):
            check_ids(receipt.recipient for receipt in receipts)
            if any(receipt.changed_at > TIME_MAX for receipt in receipts):
                raise ConfigError("a receipt's time is after the year 9999")
        case _:
            pass


def _check_request(request: CallRequest) -> None:  # one line for each
    match request:
        case Push(items=items):
            _check_items(items)
        case SyncRequest(sender=sender, claim=claim):
            _check_items(() if sender is None else (sender,))
            check_bytes("id", claim[1])
        case ForwardHeartbeat(id=instance_id, status=status, metrics=metrics):
            check_id(instance_id)
            check_short("status", status)
            check_metrics(metrics)
        case (
            AskInstance(id=instance_id)
            | ForwardDeregister(id=instance_id)
            | LeaseAsk(leader_id=instance_id)
            | LeaseRelease(leader_id=instance_id)
        ):
            check_id(instance_id)
        case Deliver(holder=holder, parcels=parcels):
            check_id(holder)
            _check_parcels(parcels)
        case Deposit(parcels=parcels):
            _check_parcels(parcels)
        case Acknowledged(copies=copies, by=by):
            check_ids((by,) if by else ())
            check_ids({recipient for recipient, _ in copies})
            for _, message_id in copies:
                _check_message_id(message_id)
        case ForwardFetch(recipient=recipient, after=after):
            check_id(recipient)
            if after:
                _check_message_id(after)
        case ForwardAcknowledge(recipient=recipient, message_ids=message_ids):
            check_id(recipient)
            for message_id in message_ids:
                _check_message_id(message_id)
        case ForwardStatus(message_id=message_id):
            _check_message_id(message_id)
        case MapSync() | MapPush():
            _check_map(request)
        case _:
            pass


def _check_parcels(parcels: Iterable[Parcel]) -> None:
    for parcel in parcels:
        _check_message(parcel.message)
        check_ids(parcel.recipients)
        if not math.isfinite(parcel.seconds_left):
            raise ConfigError(f"message {parcel.message.id} is to be kept for ever")


def _check_message(message: Message) -> None:
    _check_message_id(message.id)
    message.check()
    if message.created_at > TIME_MAX:
        raise ConfigError(f"message {message.id} was made after the year 9999")
    try:
        check_plain_json(message.payload)
    except NotPlainJson as error:
        raise ConfigError(f"payload of message {message.id} {error}") from None


def _check_map(request: MapSync | MapPush) -> None:
    check_ids((request.name, request.sender))
    _check_clock(request.clock_ms)
    if isinstance(request, MapPush):
        _check_entries(request.entries)


def _check_clock(clock_ms: int) -> None:
    if clock_ms > TIME_MAX:
        raise ConfigError(f"a clock shows {clock_ms} ms: after the year 9999")


def _check_entries(entries: Iterable[MapEntry]) -> None:
    for entry in entries:
        if (size := len(entry.key.encode())) > MAP_KEY_BYTES_MAX:
            raise ConfigError(f"key of {size} bytes: at most {MAP_KEY_BYTES_MAX}")
        _check_clock(entry.stamp.wall_ms)
        if entry.value:
            try:
                check_plain_json(entry.value)
            except NotPlainJson as error:
                raise ConfigError(f"value of {entry.key[:80]!r} {error}") from None


def _check_message_id(message_id: str) -> None:
    if not is_uuid7(message_id):
        raise ConfigError(f"message id {message_id[:80]!r}: expected a UUIDv7 in lower case")


def _check_items(items: Iterable[Item]) -> None:
    for item in items:
        check_item(item)
