"""The effects of a machine: commands for its driver, in order."""

from __future__ import annotations

import enum
from typing import ClassVar, Protocol, assert_never

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest, Pong, Probe
from meshp2p.core.datagrams import Datagram
from meshp2p.core.events import Event, MapChanged

__all__ = [
    "Call",
    "CallFailed",
    "Delete",
    "Effect",
    "Emit",
    "Failure",
    "Performer",
    "Persist",
    "Put",
    "Resolve",
    "Send",
    "Store",
    "Table",
    "Unwatch",
    "Watch",
    "WatchOpened",
    "Write",
    "perform",
]


class Send(msgspec.Struct, frozen=True):
    """Send one datagram to the node with the tag ``to``; nothing is awaited."""

    address: Address
    datagram: Datagram
    to: int


class Call(msgspec.Struct, frozen=True):
    """Call a node over TCP: on a connection to it, whoever opened that, or at the first of these addresses to answer.

    ``node_id`` and ``boot`` say which process is meant, where that is known; a connection that the other side opened
    counts only if it is that process's. Whoever answers at an address is called, whoever it is. With a ``target`` the
    node that is called is a relay, which passes the call on to that node, and its reply back.

    The driver hands the reply, or a :class:`CallFailed`, to ``Machine.receive_reply`` with the same ``call_id``,
    exactly once, after at most ``timeout`` seconds.
    """

    call_id: int
    addresses: tuple[Address, ...]
    request: CallRequest
    timeout: float
    node_id: str = ""
    boot: int = 0
    target: str = ""


class Persist(msgspec.Struct, frozen=True):
    """Keep these on disk, if there is one, then tell ``Machine.receive_persisted``, exactly once. Later effects do not
    wait for it; no second one comes before that."""

    incarnation: int
    epoch: int


class Table(enum.StrEnum):
    """The stored tables of messages. Keys and values are bytes that only the core reads."""

    OUTGOING = "outgoing"
    """Messages that this node holds until they are acknowledged."""
    SETTLED = "settled"
    """Final copies of messages of which other copies are not final."""
    INCOMING = "incoming"
    """Mailboxes."""
    ACKNOWLEDGED = "acknowledged"
    """The ids of messages that must not be handed out again."""
    RECEIPTS = "receipts"
    """The status of messages that are no longer held."""


class Put(msgspec.Struct, frozen=True, gc=False):
    """Store this value under this key, in place of an earlier one."""

    table: Table
    key: bytes
    value: bytes


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Delete this key. It may not exist."""

    table: Table
    key: bytes
    value: ClassVar[None] = None


Write = Put | Delete


class Store(msgspec.Struct, frozen=True, gc=False):
    """Make these writes, all or none, after those of earlier ones, then tell ``Machine.receive_stored`` with the same
    ``number``, exactly once. Later effects do not wait for it."""

    number: int
    writes: tuple[Write, ...]


class Emit(msgspec.Struct, frozen=True):
    """Tell the subscribers: those of the mesh, or those of a shared map."""

    event: Event | MapChanged


class Resolve(msgspec.Struct, frozen=True, gc=False):
    """The answer to the request, or to another node's call, that was made under this ticket."""

    ticket: int
    reply: CallReply


class Watch(msgspec.Struct, frozen=True):
    """Keep a connection to a node open: one that there is, or the first of these addresses to answer. ``node_id`` and
    ``boot`` are as in :class:`Call`.

    The driver hands a :class:`WatchOpened` to ``Machine.receive_watch`` with the same ``watch_id`` when it stands, and
    a :class:`CallFailed`, once, when it is over: because it broke, or because it never stood within ``timeout``
    seconds. After :class:`Unwatch` it hands over nothing.
    """

    watch_id: int
    addresses: tuple[Address, ...]
    request: Probe
    timeout: float
    node_id: str = ""
    boot: int = 0


class Unwatch(msgspec.Struct, frozen=True):
    """Close this watch connection, even if it is not established yet."""

    watch_id: int


Effect = Send | Call | Persist | Store | Emit | Resolve | Watch | Unwatch


class Performer(Protocol):
    """Performs the effects of a machine: a driver, or a simulator. There is one method for each effect."""

    def perform_send(self, effect: Send, /) -> None: ...
    def perform_call(self, effect: Call, /) -> None: ...
    def perform_persist(self, effect: Persist, /) -> None: ...
    def perform_store(self, effect: Store, /) -> None: ...
    def perform_emit(self, effect: Emit, /) -> None: ...
    def perform_resolve(self, effect: Resolve, /) -> None: ...
    def perform_watch(self, effect: Watch, /) -> None: ...
    def perform_unwatch(self, effect: Unwatch, /) -> None: ...


def perform(effect: Effect, performer: Performer) -> None:
    """Let ``performer`` perform one effect."""
    match effect:
        case Send():
            performer.perform_send(effect)
        case Call():
            performer.perform_call(effect)
        case Emit():
            performer.perform_emit(effect)
        case Resolve():
            performer.perform_resolve(effect)
        case Store():
            performer.perform_store(effect)
        case Persist():
            performer.perform_persist(effect)
        case Watch():
            performer.perform_watch(effect)
        case Unwatch():
            performer.perform_unwatch(effect)
        case _:
            assert_never(effect)


class Failure(enum.StrEnum):
    """How a call failed, as far as its driver can tell."""

    REFUSED = "refused"
    """Every address refused the connection: the host lives, the process does not."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """There was no route, the connection broke, or the answer was invalid."""


class CallFailed(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """A call had no reply. It is unknown whether the other side acted on it."""

    failure: Failure
    reason: str


class WatchOpened(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A watch connection was established: the address at which the watched node listens, None if the node opened the
    connection itself and that is unknown; and the process that answered."""

    address: Address | None
    pong: Pong
