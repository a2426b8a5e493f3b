"""A machine and the codecs in front of it, fed with bytes."""

from __future__ import annotations

import contextlib
import enum
import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from meshp2p.core.address import Address
from meshp2p.core.calls import (
    Acknowledged,
    AskInstance,
    CallReply,
    CallRequest,
    Deliver,
    Deposit,
    ForwardAcknowledge,
    ForwardDeregister,
    ForwardFetch,
    ForwardHeartbeat,
    Parcel,
    Pong,
    Push,
    SyncReply,
    SyncRequest,
)
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.effects import (
    Call,
    CallFailed,
    Effect,
    Emit,
    Failure,
    Persist,
    Put,
    Resolve,
    Send,
    Store,
    Table,
    Unwatch,
    Watch,
    perform,
)
from meshp2p.core.effects import WatchOpened as Opened
from meshp2p.core.machine import Machine
from meshp2p.core.message import Message
from meshp2p.core.record import Item, Record, Rumour, State, tag_of
from meshp2p.core.requests import Acknowledge, AskStatus, Deregister, Fetch, Heartbeat, SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import ConfigError, LocalProtocolError, RemoteProtocolError
from meshp2p.wire.codec import Codec
from simulations.fuzz.mutation import IDS
from simulations.fuzz.soundness import check_machine

__all__ = ["HEADER", "Kind", "Target", "golden_bodies"]

_CODEC: Final = Codec("default")
HEADER: Final = _CODEC.encode(Pong("a", 0, 0))[:12]
_CONFIG: Final = ProtocolConfig(
    members_max=7, departed_max=8, candidates_max=5, instance_timeout=2.0, departed_retention=20.0, receipts_max=4
)
_SOURCES: Final = (Address("10.0.0.8", 1), Address("10.0.0.9", 2), Address("::1", 3))
_STATUS: Final = ("", "busy", "x" * 1024, "\ud800")
_METRICS: Final = ("", "{}", '{"a":1}', "no JSON", '{"a":"\ud800"}')
_START_MS: Final = 1_700_000_000_000


class Kind(enum.Enum):
    """How bytes come in."""

    DATAGRAM = "datagram"
    REQUEST = "request"
    REPLY = "reply"


_DECODE: Final[dict[Kind, Callable[[bytes], object]]] = {
    Kind.DATAGRAM: _CODEC.decode_datagram_untrusted,
    Kind.REQUEST: _CODEC.decode_request_untrusted,
    Kind.REPLY: _CODEC.decode_reply_untrusted,
}


@functools.cache
def golden_bodies() -> dict[Kind, tuple[bytes, ...]]:
    """Return the bodies of the golden vectors and of the stored corpus, by the way they come in."""
    root = Path(__file__).parents[2]
    lines = [path.read_text() for path in sorted((root / "tests" / "wire" / "golden").glob("*.hex"))]
    lines += (Path(__file__).parent / "corpus.txt").read_text().splitlines()
    lines += [_CODEC.encode(message).hex() for message in _likely()]
    bodies: dict[Kind, list[bytes]] = {kind: [] for kind in Kind}
    for line in lines:
        data = HEADER + bytes.fromhex(line)[12:]
        for kind, decode in _DECODE.items():
            with contextlib.suppress(RemoteProtocolError):
                decode(data)
                bodies[kind].append(data[12:])
    return {kind: tuple(found) for kind, found in bodies.items()}


def _likely() -> list[Datagram | CallRequest | CallReply]:
    """Return messages about the ids of this mesh, for nearly all types."""
    nodes = [Record(one, 5, State.ALIVE, one, 6, (_SOURCES[0],), "h", 1, (), (), 1) for one in ("a", "b", "x")]
    hosted = [Record("agent", 5, State.ALIVE, home, 6, (), "h", 1, (), (), 1) for home in ("a", "me", "x")]
    orphan = Record("x", 5, State.ALIVE, "agent", 6, (), "h", 1, (), (), 1)
    nested: tuple[Item, ...] = (orphan, *(Rumour("x", 5, state) for state in list(State)[1:]))
    rumours = [Rumour(one, 5, state, "b") for one in ("a", "agent", "x", "me") for state in list(State)[1:]]
    query = Message("018bcfe5-6800-7000-8000-000000000000", "a", "agent", "Query", "", b"1", None, 1)
    parcels = (Parcel(query, ("agent", "me", "a"), 60.0), Parcel(query, ("x",), 1.0))
    copies = (("agent", query.id), ("me", query.id))
    messages: list[Datagram | CallRequest | CallReply] = []
    told: tuple[tuple[Item, ...], ...]
    told = (*nodes, *hosted), (*nodes[:1], *hosted[:1], *rumours[:3]), tuple(rumours), tuple(nodes), nested
    for items in told:
        messages += [
            Datagram(Gossip(tag_of("a")), items),
            Push(tag_of("a"), items),
            SyncReply(nodes[0], True, items, (0,)),
        ]
    messages += [Deliver("a", parcels), Deposit(parcels), Acknowledged(copies)]
    messages += [
        ForwardHeartbeat("agent", "busy", "{}"),
        ForwardDeregister("agent"),
        AskInstance("agent"),
        SyncRequest(bytes(8), nodes[0]),
    ]
    messages += [
        ForwardAcknowledge("agent", (query.id,)),
        ForwardFetch("agent", 10, "", 30.0),
        Push(0, (*rumours, *nodes)),
    ]
    return messages


class Target:
    """One life of one fuzzed machine. Every method that feeds it raises ``AssertionError``, or any error that escapes,
    if an invariant is broken. ``sent`` collects bodies that the machine sent."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.now = 0.0
        self.sent: dict[Kind, list[bytes]] = {kind: [] for kind in Kind}
        self._disk: dict[tuple[Table, bytes], bytes] | None = {} if draw.random() < 0.5 else None
        self._kept = KeptState()
        self._config = _CONFIG if draw.random() < 0.8 else ProtocolConfig(quorum=2, members_max=7, departed_max=8)
        self.machine = self._start()
        self._pass_time(draw.choice((0.0, 2.0)))

    def _start(self) -> Machine:
        self._calls: list[Call] = []
        self._stores: list[Store] = []
        self._persists: list[Persist] = []
        self._watches: list[Watch] = []
        self._tickets = 0
        self._resolved: dict[int, None] = {}
        rows = None if self._disk is None else sorted((*place, value) for place, value in self._disk.items())
        machine = Machine(
            Profile("me", "h", 1),
            (Address("10.0.0.7", 7),),
            self._config,
            random.Random(self._draw.random()),
            lambda: _START_MS + int(self.now * 1000),
            self._kept,
            rows,
            lease_clock=lambda: self.now,
        )
        self.machine = machine
        self._take(machine.start(self.now))
        return machine

    # What a stranger sends

    def feed(self, kind: Kind, body: bytes) -> None:
        """Bytes come in."""
        match kind:
            case Kind.DATAGRAM:
                self._receive(body)
            case Kind.REQUEST:
                self._call(body)
            case Kind.REPLY:
                self._reply(body)

    def _receive(self, body: bytes) -> None:
        """A datagram comes."""
        try:
            datagram = _CODEC.decode_datagram_untrusted(HEADER + body)
        except RemoteProtocolError:
            return
        self._take(self.machine.receive(datagram, self._draw.choice(_SOURCES), self.now))

    def _call(self, body: bytes) -> None:
        """Another node calls."""
        try:
            request = _CODEC.decode_request_untrusted(HEADER + body)
        except RemoteProtocolError:
            return
        reply, effects = self.machine.receive_call(request, self.now, self._ticket())
        self._take(effects)
        if reply is not None:
            self._check_reply(reply)

    def _reply(self, body: bytes) -> None:
        """A call that is under way is answered."""
        try:
            reply = _CODEC.decode_reply_untrusted(HEADER + body)
        except RemoteProtocolError:
            return
        self._answer(reply)

    def _answer(self, reply: CallReply | CallFailed) -> None:
        draw = self._draw
        if isinstance(reply, Pong) and self._watches and draw.random() < 0.3:
            watch = draw.choice(self._watches)
            self._take(self.machine.receive_watch(watch.watch_id, Opened(watch.addresses[0], reply), self.now))
        elif self._calls:
            call = self._calls.pop(draw.randrange(len(self._calls)))
            self._take(self.machine.receive_reply(call.call_id, reply, self.now))

    # What else happens

    def happen(self) -> None:
        """Something that is no message: time, an agent, the disk, a connection, a new process."""
        draw, machine, now = self._draw, self.machine, self.now
        try:
            match draw.randrange(16):
                case 0 | 1 | 2:
                    self._pass_time(draw.choice((0.01, 0.2, 1.0, 3.0, 30.0)))
                case 3:
                    self._answer(CallFailed(draw.choice(tuple(Failure)), ""))
                case 4:
                    if self._watches:
                        watch = self._watches.pop(draw.randrange(len(self._watches)))
                        failed = CallFailed(draw.choice(tuple(Failure)), "")
                        self._take(machine.receive_watch(watch.watch_id, failed, now))
                case 5 | 6:
                    self._write()
                case 7:
                    profile = Profile(
                        draw.choice(IDS), draw.choice(("h", "\ud800")), 1, draw.choice(((), ("c",) * 300))
                    )
                    self._take(machine.register(profile, now))
                case 8:
                    self._take(machine.report(draw.choice(_STATUS), draw.choice(_METRICS), now))
                case 9 | 10 | 11 | 12:
                    self._ask()
                case 13:
                    self._share()
                case 14:
                    self._take(machine.readdress((draw.choice(_SOURCES),), now))
                    self._take(machine.offer("seed", (draw.choice(_SOURCES),), draw.choice((None, *IDS)), now))
                case _:
                    self._end_life()
        except (LocalProtocolError, ConfigError):
            pass

    def _ask(self) -> None:
        draw = self._draw
        one = draw.choice(IDS)
        message_id = f"018bcfe5-6800-7000-8000-00000000000{draw.randrange(3)}"
        match draw.randrange(6):
            case 0:
                request: object = Heartbeat(one, draw.choice(_STATUS), draw.choice(_METRICS))
            case 1:
                request = Deregister(one)
            case 2:
                request = Fetch(one, draw.choice((1, 10)), draw.choice(("", message_id)), draw.choice((0.0, 30.0)))
            case 3:
                request = Acknowledge(one, (message_id,))
            case 4:
                request = AskStatus(message_id)
            case _:
                target = draw.choice((None, *IDS))
                request = SendMessage(one, target, draw.choice(("Query", "Gossip")), "", b"1")
                if draw.random() < 0.5:
                    self._take(self.machine.send({self._ticket(): request, self._ticket(): request}, self.now)[1])
                    return
        ticket = self._ticket()
        self._take(self.machine.request(ticket, request, self.now))  # type: ignore[arg-type]  # one of those
        if draw.random() < 0.1:
            self.machine.abandon(ticket)

    def _share(self) -> None:
        draw = self._draw
        name = draw.choice(("plan", "m"))
        self._take(self.machine.open_map(name, None, self.now)[1])
        self._take(self.machine.write_map(name, draw.choice(("k", "l")), draw.choice((b"", b"1")), self.now))

    def _end_life(self) -> None:
        """It leaves, begins anew in this process, or in another."""
        match self._draw.randrange(8):
            case 0:
                self._take(self.machine.leave(self.now))
            case 1 | 2 | 3:
                self._calls, self._watches, self._stores = [], [], []
                self._take(self.machine.rebuild(self.now))
            case _:
                self._start()

    def _pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while (due := self.machine.next_deadline()) <= until:
            self.now = max(self.now, due)
            self._take(self.machine.handle_timeouts(self.now))
        self.now = until

    def _write(self) -> None:
        """The disk has done what it was asked first, or has failed."""
        failure = None if self._draw.random() < 0.8 else "full"
        if self._persists:
            kept = self._persists.pop(0)
            if failure is None:
                self._kept = KeptState(kept.incarnation, kept.epoch)
            self._take(self.machine.receive_persisted(failure, self.now))
        if self._stores and self._disk is not None:
            store = self._stores.pop(0)
            for write in store.writes if failure is None else ():
                if isinstance(write, Put):
                    self._disk[write.table, write.key] = write.value
                else:
                    self._disk.pop((write.table, write.key), None)
            self._take(self.machine.receive_stored([store.number], failure, self.now))

    # The laws

    def check(self) -> None:
        """The machine is sound."""
        check_machine(self.machine, self.now)

    def _ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    def _take(self, effects: list[Effect]) -> None:
        for effect in effects:
            perform(effect, self)

    def perform_send(self, effect: Send) -> None:
        data = _CODEC.encode(effect.datagram)
        assert _CODEC.decode_datagram_untrusted(data) == effect.datagram
        assert len(data) <= self._config.packet_bytes_max
        self._keep(Kind.DATAGRAM, data)

    def perform_call(self, effect: Call) -> None:
        assert effect.addresses
        assert effect.timeout > 0
        self._check_request(effect.request)
        self._calls.append(effect)

    def perform_watch(self, effect: Watch) -> None:
        assert effect.addresses
        self._watches.append(effect)

    def perform_unwatch(self, effect: Unwatch) -> None:
        pass

    def perform_resolve(self, effect: Resolve) -> None:
        assert effect.ticket not in self._resolved, "answered twice"
        self._resolved[effect.ticket] = None
        self._check_reply(effect.reply)

    def perform_store(self, effect: Store) -> None:
        assert self._disk is not None
        self._stores.append(effect)

    def perform_persist(self, effect: Persist) -> None:
        self._persists.append(effect)

    def perform_emit(self, effect: Emit) -> None:
        pass

    def _check_request(self, request: CallRequest) -> None:
        data = _CODEC.encode(request)
        assert _CODEC.decode_request_untrusted(data) == request
        self._keep(Kind.REQUEST, data)

    def _check_reply(self, reply: CallReply) -> None:
        data = _CODEC.encode(reply)
        assert _CODEC.decode_reply_untrusted(data) == reply
        self._keep(Kind.REPLY, data)

    def _keep(self, kind: Kind, data: bytes) -> None:
        if len(self.sent[kind]) < 64 and len(data) < 2000:
            self.sent[kind].append(data[12:])
