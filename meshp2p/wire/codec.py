"""Messages to bytes and back.

What comes from the network is decoded in steps, each with its limits: the frame; a walk over the MessagePack that
builds nothing and finds whether all that its headers announce is really there; MessagePack into plain values (by
msgpack, which can bound what a header may announce); plain values into typed messages (by msgspec). What then remains
to be checked is what no type says: that an id is not too long in bytes, that an address is a literal one, so that
nobody can make a node look up names, that a payload is JSON which every client can read, and that nobody is told to be
what the protocol never says.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from collections.abc import Iterable
from typing import Any, Final

import msgpack
import msgspec

from meshp2p.core.address import Address
from meshp2p.core.digest import BUCKETS_MAX, is_digest
from meshp2p.core.message import CUSTOM, KINDS, PAYLOAD_BYTES_MAX, Message
from meshp2p.core.messages import (
    Acknowledged,
    CallReply,
    CallRequest,
    Carry,
    Datagram,
    Deliver,
    Deposit,
    FetchReply,
    ForwardAcknowledge,
    ForwardDeregister,
    ForwardFetch,
    ForwardHeartbeat,
    ForwardStatus,
    LeaseAsk,
    LeaseRelease,
    MapDifference,
    MapPush,
    MapSync,
    MapTaken,
    Parcel,
    PingRequest,
    Pong,
    Push,
    SendReply,
    StatusReply,
    SyncReply,
    SyncRequest,
)
from meshp2p.core.record import ID_BYTES_MAX, Item, Record, State
from meshp2p.core.replicated_map import MAP_KEY_BYTES_MAX, Entry
from meshp2p.core.uuid7 import is_uuid7
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.beacon import BEACON_BYTES_MAX, Answer, BeaconMessage
from meshp2p.wire.frame import frame_header, mesh_tag, open_frame_untrusted
from meshp2p.wire.plain_json import NotPlainJson, check_plain_json

__all__ = ["CALL_BYTES_MAX", "DATAGRAM_BYTES_MAX", "Codec"]

DATAGRAM_BYTES_MAX: Final = 65_507
"""The largest UDP payload there is. Ours are much smaller (``packet_bytes_max``), a peer may be configured
otherwise."""

CALL_BYTES_MAX: Final = 4 << 20
"""The largest body of a call: twice the largest payload of a message. Chosen, not measured."""

TIME_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: what comes after it cannot be written as RFC 3339."""

_LENGTH_MAX: Final = 65_536

_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")
_is_complete: Final = msgspec.msgpack.Decoder(msgspec.Raw).decode
_decode_metrics: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Codec:
    """The codec of one mesh: it writes that mesh's tag into each frame and refuses frames of others."""

    def __init__(self, mesh: str) -> None:
        self._header = frame_header(mesh_tag(mesh))
        self._encoder = msgspec.msgpack.Encoder()

    def encode(self, message: Datagram | CallRequest | CallReply | BeaconMessage) -> bytes:
        """The frame of a datagram, a call's request or its reply, or a beacon."""
        return self._header + self._encoder.encode(message)

    def decode_datagram_untrusted(self, data: bytes) -> Datagram:
        """Read a UDP payload. Raises :class:`RemoteProtocolError`, and nothing else, on all that is not a datagram of
        this mesh."""
        datagram: Datagram = self._decode_untrusted(data, Datagram, DATAGRAM_BYTES_MAX)
        if isinstance(datagram.body, PingRequest):
            _check_addresses((datagram.body.address,))
        _check_items(datagram.items)
        return datagram

    def decode_request_untrusted(self, data: bytes) -> CallRequest:
        """Read the body of a call. Raises :class:`RemoteProtocolError`, and nothing else."""
        request: CallRequest = self._decode_untrusted(data, CallRequest, CALL_BYTES_MAX, PAYLOAD_BYTES_MAX)
        _check_request(request)
        return request

    def decode_reply_untrusted(self, data: bytes) -> CallReply:
        """Read the reply to a call. Raises :class:`RemoteProtocolError`, and nothing else."""
        reply: CallReply = self._decode_untrusted(data, CallReply, CALL_BYTES_MAX, PAYLOAD_BYTES_MAX)
        match reply:
            case SyncReply(sender=sender, items=items):
                _check_items((sender, *items))
            case Pong(id=instance_id):
                _check_id(instance_id)
            case FetchReply(messages=messages):
                for message in messages:
                    _check_message(message)
            case SendReply(message_id=message_id, delivered_to=recipients):
                _check_message_id(message_id)
                _check_ids(recipients)
            case MapDifference(clock_ms=clock_ms, buckets=buckets, entries=entries, holders=holders):
                _check_clock(clock_ms)
                if not is_digest(b"\0" * 8 * min(buckets, 2 * BUCKETS_MAX)):
                    raise RemoteProtocolError(Refusal.BAD_VALUE, f"{buckets} buckets: expected a power of two to 4096")
                _check_entries(entries)
                _check_ids(holders)
            case MapTaken(clock_ms=clock_ms):
                _check_clock(clock_ms)
            case StatusReply(receipts=receipts):
                _check_ids(receipt.recipient for receipt in receipts)
                if any(receipt.changed_at > TIME_MAX for receipt in receipts):
                    raise RemoteProtocolError(Refusal.BAD_VALUE, "a receipt's time is after the year 9999")
            case _:
                pass
        return reply

    def decode_beacon_untrusted(self, data: bytes) -> BeaconMessage:
        """Read a packet of the beacon's port. Raises :class:`RemoteProtocolError`, and nothing else."""
        message: BeaconMessage = self._decode_untrusted(data, BeaconMessage, BEACON_BYTES_MAX)
        _check_bytes("id", message.id)
        _check_addresses(message.addresses)
        if bool(message.id) != bool(message.addresses) or (isinstance(message, Answer) and not message.id):
            raise RemoteProtocolError(Refusal.BAD_VALUE, "a beacon of a node has an id and addresses, others have none")
        return message

    def _decode_untrusted(self, data: bytes, of: Any, bytes_max: int, value_bytes_max: int = _LENGTH_MAX) -> Any:
        if len(data) > bytes_max:
            raise RemoteProtocolError(Refusal.TOO_LARGE, f"{len(data)} bytes: at most {bytes_max}")
        body = open_frame_untrusted(data, self._header)
        try:
            # msgpack makes room for an array when it sees its header: 160 headers in one another, of 3 bytes each, cost
            # 82 MB and 60 ms. After this walk there is no header without its elements.
            _is_complete(body)
            value = msgpack.unpackb(
                body,
                use_list=False,
                raw=False,
                strict_map_key=True,
                max_array_len=_LENGTH_MAX,
                max_map_len=0,
                max_str_len=_LENGTH_MAX,
                max_bin_len=value_bytes_max,
                max_ext_len=0,
            )
        except (ValueError, RecursionError, msgpack.UnpackException) as error:
            raise RemoteProtocolError(Refusal.BAD_ENCODING, f"not MessagePack within the limits: {error}") from None
        try:
            return msgspec.convert(value, of, builtin_types=(bytes,))  # otherwise text may stand for bytes
        except (ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, str(error)) from None


def _check_request(request: CallRequest) -> None:
    match request:
        case Push(items=items):
            _check_items(items)
        case SyncRequest(sender=Record() as sender):
            _check_items((sender,))
        case (
            ForwardHeartbeat(id=instance_id)
            | ForwardDeregister(id=instance_id)
            | LeaseAsk(leader_id=instance_id)
            | LeaseRelease(leader_id=instance_id)
        ):
            _check_id(instance_id)
        case Deliver(holder=holder, parcels=parcels):
            _check_id(holder)
            _check_parcels(parcels)
        case Deposit(parcels=parcels):
            _check_parcels(parcels)
        case Acknowledged(copies=copies):
            for recipient, message_id in copies:
                _check_id(recipient)
                _check_message_id(message_id)
        case ForwardFetch(recipient=recipient, after=after):
            _check_id(recipient)
            if after:
                _check_message_id(after)
        case ForwardAcknowledge(recipient=recipient, message_ids=message_ids):
            _check_id(recipient)
            for message_id in message_ids:
                _check_message_id(message_id)
        case ForwardStatus(message_id=message_id):
            _check_message_id(message_id)
        case MapSync() | MapPush():
            _check_map(request)
        case Carry(target=target, request=carried):
            _check_id(target)
            _check_request(carried)
        case _:
            pass


def _check_parcels(parcels: Iterable[Parcel]) -> None:
    for parcel in parcels:
        _check_message(parcel.message)
        _check_ids(parcel.recipients)
        if not math.isfinite(parcel.seconds_left):
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"message {parcel.message.id} is to be kept for ever")


def _check_message(message: Message) -> None:
    _check_message_id(message.id)
    _check_id(message.source)
    if message.target is not None:
        _check_id(message.target)
    if message.kind not in KINDS or (message.name and message.kind != CUSTOM):
        raise RemoteProtocolError(
            Refusal.BAD_VALUE, f"message {message.id} is a {message.kind[:80]!r} named {message.name[:80]!r}"
        )
    if message.created_at > TIME_MAX:
        raise RemoteProtocolError(Refusal.BAD_VALUE, f"message {message.id} was made after the year 9999")
    try:
        check_plain_json(message.payload)
    except NotPlainJson as error:
        raise RemoteProtocolError(Refusal.BAD_VALUE, f"payload of message {message.id} {error}") from None


def _check_map(request: MapSync | MapPush) -> None:
    _check_ids((request.name, request.sender))
    _check_clock(request.clock_ms)
    if isinstance(request, MapPush):
        _check_entries(request.entries)


def _check_clock(clock_ms: int) -> None:
    if clock_ms > TIME_MAX:
        raise RemoteProtocolError(Refusal.BAD_VALUE, f"a clock shows {clock_ms} ms: after the year 9999")


def _check_entries(entries: Iterable[Entry]) -> None:
    for entry in entries:
        if (size := len(entry.key.encode())) > MAP_KEY_BYTES_MAX:
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"key of {size} bytes: at most {MAP_KEY_BYTES_MAX}")
        _check_clock(entry.stamp.wall_ms)
        if entry.value:
            try:
                check_plain_json(entry.value)
            except NotPlainJson as error:
                raise RemoteProtocolError(Refusal.BAD_VALUE, f"value of {entry.key[:80]!r} {error}") from None


def _check_message_id(message_id: str) -> None:
    if not is_uuid7(message_id):
        raise RemoteProtocolError(Refusal.BAD_VALUE, f"message id {message_id[:80]!r}: expected a UUIDv7 in lower case")


def _check_items(items: Iterable[Item]) -> None:
    for item in items:
        _check_id(item.id)
        if not isinstance(item, Record):
            _check_bytes("by", item.by)
            if item.state is State.ALIVE:
                raise RemoteProtocolError(
                    Refusal.BAD_VALUE, f"rumour that {item.id!r} is alive: only its record says so"
                )
            continue
        _check_id(item.home)
        _check_addresses(item.addresses)
        if not item.is_live:
            state = item.state.name.lower()
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"record of {item.id!r} as {state}: only a rumour says so")
        if item.is_node != bool(item.addresses):
            raise RemoteProtocolError(
                Refusal.BAD_VALUE, f"record of {item.id!r}: a node has addresses and a hosted instance has none"
            )
        if max(item.created_at, item.epoch_since) > TIME_MAX:
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"record of {item.id!r}: a time is after the year 9999")
        if item.metrics:
            _check_metrics(item)


def _check_metrics(record: Record) -> None:
    try:
        _decode_metrics(record.metrics)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(
            Refusal.BAD_VALUE, f"metrics of {record.id!r}: expected a JSON object: {error}"
        ) from None


def _check_ids(instance_ids: Iterable[str]) -> None:
    for instance_id in instance_ids:
        _check_id(instance_id)


def _check_id(instance_id: str) -> None:
    if not instance_id:
        raise RemoteProtocolError(Refusal.BAD_VALUE, "an id is empty: expected 1 byte or more")
    _check_bytes("id", instance_id)


def _check_bytes(what: str, text: str) -> None:
    if len(text) * 4 > ID_BYTES_MAX and (size := len(text.encode())) > ID_BYTES_MAX:
        raise RemoteProtocolError(Refusal.BAD_VALUE, f"{what} of {size} bytes: at most {ID_BYTES_MAX}")


def _check_addresses(addresses: Iterable[Address]) -> None:
    for address in addresses:
        if not address.port or not _is_one_host(address.host):
            raise RemoteProtocolError(
                Refusal.BAD_VALUE, f"address {str(address)!r}: expected a literal IP address of one host, and a port"
            )


@functools.lru_cache(maxsize=4096)
def _is_one_host(host: str) -> bool:
    """Whether this is a literal address that leads to one host, and to the same one whoever uses it: no zone (``%``),
    no multicast, no broadcast."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        address = address.ipv4_mapped or address
    return not (address.is_multicast or address.is_unspecified or address == _BROADCAST)
