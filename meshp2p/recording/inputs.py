"""The inputs of a machine as bytes, and back. The format is MessagePack, decoded with the types of the arguments."""

from __future__ import annotations

import functools
import inspect
import math
import operator
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import msgspec

from meshp2p.core.calls import Acknowledged, Deliver, DeliverReply, Deposit, Done, FetchReply
from meshp2p.core.machine import Machine
from meshp2p.core.map_calls import MapDifference, MapPush, MapSync
from meshp2p.core.message import PAYLOAD_BYTES_MAX
from meshp2p.core.requests import Acknowledge, Fetch, Heartbeat, SendMessage
from meshp2p.errors import ConfigError

__all__ = ["INPUTS", "NUMBERS", "Fillers", "bytes_of", "decode_chunk", "replace_payloads", "size_of"]

INPUTS: Final = {
    "abandon": -1,
    "expel": 1,
    "first_route": 1,
    "handle_timeouts": 0,
    "leave": 0,
    "note_route": 3,
    "offer": 3,
    "open_map": 2,
    "readdress": 1,
    "rebuild": 0,
    "receive": 2,
    "receive_call": 1,
    "receive_persisted": 1,
    "receive_reply": 2,
    "receive_stored": 2,
    "receive_watch": 2,
    "register": 1,
    "report": 2,
    "republish": 0,
    "request": 2,
    "routes": 1,
    "send": 1,
    "start": 0,
    "write_map": 3,
}
"""The methods of a machine that change it, and the place of ``now`` among their arguments, -1 if they have none."""

NUMBERS: Final = {name: number for number, name in enumerate(INPUTS)}
"""The number that stands for each of them in a recording."""

FILLER_BYTES_MAX: Final = 256 * 1024 * 1024
"""The most bytes that stand for payloads. Chosen, not measured."""

BATCH_ITEMS_MAX: Final = 1_000_000
"""The most inputs, and answers, that are read at once. Chosen, not measured."""


class Fillers:
    """Zero bytes in place of payloads, for one replay."""

    def __init__(self) -> None:
        self._made: dict[int, bytes] = {}

    def of(self, size: int) -> bytes:
        """Return so many bytes. Raises :class:`ValueError` if a node cannot hold them."""
        filler = self._made.get(size)
        if filler is None:
            if not 0 <= size <= PAYLOAD_BYTES_MAX + 1 or sum(self._made) + size > FILLER_BYTES_MAX:
                raise ValueError("more payloads than a node holds")
            filler = self._made[size] = bytes(size)
        return filler

    def expand(self, size: bytes) -> bytes:
        """Return as many bytes as :func:`size_of` found."""
        return self.of(int(size[:20]))


def size_of(payload: bytes) -> bytes:
    """Return what stands for a payload in a recording: its size."""
    return b"%d" % min(len(payload), PAYLOAD_BYTES_MAX + 1)


def _change_payload(one: Any, change: Callable[[bytes], bytes]) -> Any:
    return msgspec.structs.replace(one, payload=change(one.payload))


def _change_parcels(one: Any, change: Callable[[bytes], bytes]) -> Any:
    replace = msgspec.structs.replace
    parcels = [replace(parcel, message=_change_payload(parcel.message, change)) for parcel in one.parcels]
    return replace(one, parcels=tuple(parcels))


def _change_messages(one: Any, change: Callable[[bytes], bytes]) -> Any:
    return msgspec.structs.replace(one, messages=tuple([_change_payload(message, change) for message in one.messages]))


def _change_entries(one: Any, change: Callable[[bytes], bytes]) -> Any:
    entries = [msgspec.structs.replace(entry, value=change(entry.value)) for entry in one.entries]
    return msgspec.structs.replace(one, entries=tuple(entries))


def _clear_digest(one: Any, _change: Callable[[bytes], bytes]) -> Any:
    return msgspec.structs.replace(one, digest=bytes(len(one.digest)))


_CHANGES: Final[dict[type, Callable[[Any, Callable[[bytes], bytes]], Any]]] = {
    SendMessage: _change_payload,
    dict: lambda one, change: {ticket: _change_payload(request, change) for ticket, request in one.items()},
    Deliver: _change_parcels,
    Deposit: _change_parcels,
    FetchReply: _change_messages,
    MapDifference: _change_entries,
    MapPush: _change_entries,
    MapSync: _clear_digest,
}
"""How the payloads in an argument are replaced."""


def replace_payloads(argument: Any, change: Callable[[bytes], bytes]) -> Any:
    """Return an argument with its payloads, and values of maps, replaced by what ``change`` returns for each."""
    if type(argument) is bytes:
        return change(argument)
    replace = _CHANGES.get(type(argument))
    return argument if replace is None else replace(argument, change)


_ID_BYTES: Final = 64  # of the id of a message as Python keeps it, about

_SIZES: Final[dict[type, Callable[[Any], int]]] = {
    Acknowledge: lambda one: _ID_BYTES * len(one.message_ids),
    Acknowledged: lambda one: _ID_BYTES * len(one.copies),
    Deliver: lambda one: sum([parcel.message.size for parcel in one.parcels]),
    DeliverReply: lambda one: _ID_BYTES * len(one.outcomes),
    Done: lambda _: 0,
    Fetch: lambda _: 0,
    Heartbeat: lambda one: len(one.metrics),
    SendMessage: lambda one: len(one.payload),
    dict: lambda one: sum([len(request.payload) for request in one.values()]),
}


def bytes_of(argument: Any) -> float:
    """Return about how many bytes an argument has; infinitely many if that is not easily told."""
    count = _SIZES.get(type(argument))
    return math.inf if count is None else count(argument)


@functools.cache
def _decoder() -> msgspec.msgpack.Decoder[Any]:
    kinds = [_kind(name) for name in INPUTS]
    steps: Any = list[functools.reduce(operator.or_, kinds)]  # type: ignore[misc]
    limit = msgspec.Meta(max_length=BATCH_ITEMS_MAX)
    # an answer stays bytes until it is asked for: then its type is known, and an object takes far more memory
    return msgspec.msgpack.Decoder(tuple[Annotated[steps, limit], Annotated[list[msgspec.Raw], limit]])


def _kind(name: str) -> Any:
    """Return the type of a recorded input: how many answers there were until its end, the number of its effects or the
    name of its error, and its arguments."""
    method = getattr(Machine, name)
    hints = typing.get_type_hints(method)
    fields: list[Any] = [("answers", int), ("did", int | str)]
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        hint = bool | None if parameter.name in ("is_trusted", "merge") else hints[parameter.name]
        has_default = parameter.default is not parameter.empty
        fields.append((parameter.name, hint, parameter.default) if has_default else (parameter.name, hint))
    return msgspec.defstruct(name, fields, array_like=True, tag=NUMBERS[name])


def decode_chunk(chunk: bytes, fillers: Fillers) -> Iterator[tuple[str, dict[str, Any], list[msgspec.Raw], int | str]]:
    """Return the name of each input, its arguments by name, the answers that the machine got, and the number of its
    effects or the name of its error. Raises :class:`ConfigError` if the data is damaged."""
    try:
        msgspec.msgpack.decode(chunk, type=msgspec.Raw)  # a decoder makes room for what an array announces
        for batch in msgspec.msgpack.decode(chunk, type=list[bytes]):
            msgspec.msgpack.decode(batch, type=msgspec.Raw)
            steps, answers = _decoder().decode(batch)
            begin = 0
            for step in steps:
                names = step.__struct_fields__[2:]
                arguments = {name: replace_payloads(getattr(step, name), fillers.expand) for name in names}
                yield type(step).__name__, arguments, answers[begin : step.answers], step.did
                begin = step.answers
    except (ValueError, RecursionError, OverflowError) as error:
        raise ConfigError(f"the recording is damaged: {error}") from error
