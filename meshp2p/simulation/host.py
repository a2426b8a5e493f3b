"""A simulated machine and the one process on it: a node's driver, with a clock, a disk and sockets that can fail."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, Protocol

from meshp2p.core.address import Address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.effects import (
    Call,
    CallFailed,
    Effect,
    Emit,
    Failure,
    Persist,
    Resolve,
    Send,
    Store,
    Unwatch,
    Watch,
    WatchOpened,
    perform,
)
from meshp2p.core.events import Event, MapChanged, MemberEvent
from meshp2p.core.machine import Machine
from meshp2p.core.messages import CallReply, CallRequest, Datagram, Ping, Pong
from meshp2p.core.record import Item
from meshp2p.core.requests import Request
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import InternalError, LocalProtocolError, RemoteProtocolError
from meshp2p.simulation.digest import Digest
from meshp2p.simulation.endpoint import Exchange, WatchLine
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.inbox import Inbox
from meshp2p.simulation.network import Network
from meshp2p.virtual.corruption import Mangled
from meshp2p.virtual.disk import Disk
from meshp2p.virtual.trace import Trace, What

__all__ = ["EPOCH_MS", "Host", "Watcher"]

EPOCH_MS = 1_700_000_000_000
"""Unix milliseconds at virtual time 0."""

SPINS_MAX = 1000
"""Timers that may fire one after another without time going on. Chosen, not measured."""


class Watcher(Protocol):
    """The simulation, as its hosts see it."""

    def event(self, host: Host, event: Event) -> None: ...

    sent: Callable[[Host, Send], None]
    """It sends a datagram: called for hosts with ``is_watched`` alone."""
    heard: Callable[[Host, Datagram], None]
    """It is about to receive one: called for hosts with ``is_watched`` alone."""
    pinged: Callable[[Host, Ping], None]
    """It sends a ping."""
    tells: Callable[[Host, tuple[Item, ...]], None]
    """It sends gossip, of one item or more."""
    told: Callable[[Host, tuple[Item, ...]], None]
    """It is about to receive gossip, of one item or more."""
    calls: Callable[[Host, Call], None]
    """It calls another node."""
    called: Callable[[Host, CallRequest], None]
    """It is about to receive another's call."""
    replied: Callable[[Host, Call, CallReply | CallFailed], None]
    """It is about to receive the reply to its call, or that there is none."""

    def resolved(self, host: Host, ticket: int, reply: CallReply) -> None: ...
    def failed(self, host: Host, what: str) -> None:
        """The machine did what no machine may: raised, or spun."""


class Host:
    """``key`` tells hosts apart, ``id`` is the node's: two hosts may have one id. ``life`` counts processes.

    The process runs where ``machine`` is there. Its monotonic clock shows ``rate`` times virtual time, and ``offset``
    seconds more; ``wall_skew`` is what its wall clock is ahead of the true time, in seconds.
    """

    def __init__(
        self,
        key: str,
        profile: Profile,
        address: Address,
        number: int,
        *,
        seed: int,
        engine: Engine,
        network: Network,
        config: ProtocolConfig,
        watcher: Watcher,
        digest: Digest,
        trace: Trace | None,
        alter: Callable[[Host], None] | None = None,
    ) -> None:
        self.key = key
        self.profile = profile
        self.id: str = profile.id
        self.address: Address = address
        self.number = number
        self.disk: Disk[KeptState] | None = Disk()
        self.machine: Machine | None = None
        self.life: int = 0
        self.began_at: float = 0.0
        """When its process started, by its monotonic clock."""
        self.offset: float = 0.0
        self.rate: float = 1.0
        self.wall_skew: float = 0.0
        self.is_leaving: bool = False
        self.is_dark: bool = False
        """The machine is off or asleep: what is sent to it is lost, and nothing is refused."""
        self.is_stopped: bool = False
        """The process stands still; the kernel takes what fits into its buffers."""
        self.is_watched = False
        self._seed = seed
        self._engine = engine
        self._network = network
        self._config = config
        self._watcher = watcher
        self._mark = digest.mark
        self._trace = trace
        self._alter = alter
        self._is_direct = True
        self._inbox = Inbox(engine, self._may_serve, random.Random(f"{seed}/{key}/service").random)
        self._wake_at = math.inf
        self._deadline = math.inf
        self._wake_cause = 0
        self._cause = 0
        self._spins = 0
        self._spun_at = -1.0
        self._answering: dict[int, tuple[Exchange, int]] = {}
        self._answers = 0
        self._stored_at = 0.0
        self._store_draw = random.Random(f"{seed}/{key}/store").random
        network.attach(address, self)

    def __repr__(self) -> str:
        return f"<Host {self.key} life={self.life} {self.machine or 'down'}>"

    @property
    def is_up(self) -> bool:
        return self.machine is not None

    @property
    def now(self) -> float:
        """The monotonic clock of this machine."""
        return self._engine.now * self.rate + self.offset

    def wall_ms(self) -> int:
        """The wall clock of this machine, in Unix milliseconds."""
        return EPOCH_MS + int((self._engine.now + self.wall_skew) * 1000)

    def lease_clock(self) -> float:
        """A clock of this machine that also runs while it sleeps, in seconds."""
        return self._engine.now

    # The process

    def prepare(self) -> None:
        """Make a process with what the disk has; :meth:`start` lets it begin."""
        self.life += 1
        self.is_leaving = self.is_dark = self.is_stopped = False
        self._inbox.clear()
        self._wake_at = math.inf
        self._spins = 0
        self._set_direct()
        self._answering = {}
        kept = self.disk.read() if self.disk is not None else None
        mail = self.disk.read_messages() if self.disk is not None else None
        draw = random.Random(f"{self._seed}/{self.key}/{self.life}")
        self.machine = Machine(
            self.profile,
            (self.address,),
            self._config,
            draw,
            self.wall_ms,
            kept,
            mail,
            lease_clock=self.lease_clock,
            age=self._engine.now,
        )
        if self._alter is not None:
            self._alter(self)

    def start(self, cause: int = 0) -> None:
        """Let the process begin that was prepared."""
        machine = self.machine
        if machine is None:
            raise InternalError(f"host {self.key}: its process is prepared before it is started")
        self.began_at = self.now
        kept = self.disk.read() if self.disk is not None else None
        if self._trace is not None:
            cause = self._trace.add(self._engine.now, self.key, What.START, "", kept, cause)
        self._perform(machine.start(self.now), cause)

    def stop(self, *, is_silent: bool, cause: int = 0) -> None:
        """The process is gone, and with ``is_silent`` its machine."""
        self._network.watches.break_all(self, is_silent=is_silent)
        self._network.watches.forget(self)
        self.machine = None
        self.is_dark = is_silent
        self.is_stopped = False
        if self._trace is not None:
            self._trace.add(self._engine.now, self.key, What.STOP, "", "silent" if is_silent else "killed", cause)
        for action, arguments, _ in self._inbox.clear():
            if action == self._receive_call and not is_silent:
                broken = CallFailed(Failure.UNREACHABLE, "connection reset")
                self._network.reply(arguments[0], self, broken, arguments[0].cause)

    def leave(self, cause: int = 0) -> None:
        """Leave the mesh, as a node does that is told to end; the caller stops it when it has left."""
        if self.machine is not None:
            self.is_leaving = True
            if self._trace is not None:
                cause = self._trace.add(self._engine.now, self.key, What.STOP, "", "leaving", cause)
            self._perform(self.machine.leave(self.now), cause)

    def pause(self, *, is_asleep: bool, cause: int = 0) -> None:
        """The process stands still; ``is_asleep``: its machine too."""
        self.is_stopped = True
        self.is_dark = is_asleep
        self._set_direct()
        if self._trace is not None:
            self._trace.add(self._engine.now, self.key, What.PAUSE, "", "asleep" if is_asleep else "stopped", cause)

    def resume(self, cause: int = 0) -> None:
        """It goes on: it reads all that waits in its sockets before it looks at its clock."""
        self.is_stopped = self.is_dark = False
        self._set_direct()
        if self._trace is not None and self.machine is not None:
            self._trace.add(self._engine.now, self.key, What.RESUME, "", None, cause)
        if self._inbox.service:
            self._inbox.serve()
        else:
            self._drain()
            self._handle_due()

    def _drain(self) -> None:
        for action, arguments in self._inbox.drain():
            if self.machine is not None:
                action(*arguments)

    def set_service(self, seconds: float) -> None:
        """From now on the process takes so long for one thing, on average; 0: no time."""
        self._inbox.service = seconds
        self._set_direct()
        if self._is_direct:
            self._drain()

    def set_rate(self, rate: float) -> None:
        """From now on the monotonic clock runs at this rate; 1 is right."""
        self.offset += self._engine.now * (self.rate - rate)
        self.rate = rate
        if self.machine is not None and not self.is_stopped:
            self._set_wake(self._deadline)  # it may be due sooner

    def move(self, address: Address) -> None:
        """The machine has another address. The process is not told."""
        self._network.detach(self.address)
        self.address = address
        self._network.attach(address, self)

    def _set_direct(self) -> None:
        self._is_direct = not self.is_stopped and not self.is_dark and not self._inbox.service

    def _may_serve(self) -> bool:
        return self.machine is not None and not self.is_stopped

    # What arrives

    def take_datagram(self, packet: tuple[Any, Address, int]) -> None:
        """A datagram arrives at the machine: (message or bytes, source, cause)."""
        if self.machine is None:
            return
        if self._is_direct:
            self._receive(*packet)
        elif not self.is_dark:
            self._inbox.put(self._receive, *packet, is_datagram=True)

    def take_call(self, exchange: Exchange) -> None:
        """A call arrives at the machine."""
        if self.is_dark:
            return
        if self.machine is None:
            self._network.refuse(exchange, self)
        elif self._is_direct:
            self._receive_call(exchange)
        else:
            self._inbox.put(self._receive_call, exchange)

    def take_reply(self, exchange: Exchange, reply: CallReply | CallFailed, peer: str, cause: int) -> None:
        """What came of a call of this host's."""
        if self.machine is None or exchange.life != self.life:
            return
        if self._is_direct:
            self._receive_reply(exchange, reply, peer, cause)
        else:
            self._inbox.put(self._receive_reply, exchange, reply, peer, cause)

    def take_watcher(self, line: WatchLine) -> None:
        """Somebody watches this process from now on."""
        if self._is_direct:
            self._receive_watcher(line)
        else:
            self._inbox.put(self._receive_watcher, line)

    def take_watch(self, line: WatchLine, outcome: WatchOpened | CallFailed) -> None:
        """A watch of this host's stands, or is over."""
        if self.machine is None or line.life != self.life:
            return
        if self._is_direct:
            self._receive_watch(line, outcome)
        else:
            self._inbox.put(self._receive_watch, line, outcome)

    # What the process does

    def _receive(self, packet: Any, source: Address, cause: int) -> None:
        machine = self.machine
        if machine is None:
            return
        if isinstance(packet, bytes):
            packet = self._decode(packet)
            if packet is None:
                return
        engine = self._engine
        self._mark(engine.now)
        self._mark(self.number)
        if self._trace is not None:
            peer = self._trace[cause].node if cause else str(source)
            cause = self._trace.add(engine.now, self.key, What.RECEIVE, peer, packet, cause)
        if self.is_watched:
            self._watcher.heard(self, packet)
        if packet.items:
            self._watcher.told(self, packet.items)
        self._perform(machine.receive(packet, source, engine.now * self.rate + self.offset), cause)

    def _decode(self, data: bytes) -> Datagram | None:
        codec = self._network.codec
        if codec is None:
            return None
        try:
            datagram = codec.decode_datagram_untrusted(data)
        except RemoteProtocolError:
            self._network.traffic.refused += 1
            return None
        return None if isinstance(data, Mangled) else datagram

    def _receive_call(self, exchange: Exchange) -> None:
        machine = self.machine
        if machine is None:
            return
        request = exchange.effect.request
        codec = self._network.codec
        if codec is not None:
            request = codec.decode_request_untrusted(codec.encode(request))
        self._mark(self._engine.now)
        self._mark(-self.number)
        cause = exchange.cause
        if self._trace is not None:
            cause = self._trace.add(self._engine.now, self.key, What.CALLED, exchange.caller.key, request, cause)
        self._answers -= 1  # agents' tickets count upwards
        ticket = self._answers
        self._answering[ticket] = (exchange, cause)
        self._watcher.called(self, request)
        reply, effects = machine.receive_call(request, self.now, ticket)
        self._perform(effects, cause)
        if reply is not None:
            self._answer(ticket, reply)

    def _answer(self, ticket: int, reply: CallReply) -> None:
        """Send the reply to another node's call."""
        answering = self._answering.pop(ticket, None)
        if answering is None:
            return
        codec = self._network.codec
        if codec is not None:
            reply = codec.decode_reply_untrusted(codec.encode(reply))
        exchange, cause = answering
        self._network.reply(exchange, self, reply, cause)

    def _write(self, take: Callable[[Any], None], written: object) -> None:
        """Write to the disk, which takes its time, one after another."""
        seconds = self.disk.write_seconds if self.disk is not None else 0.0
        delay = seconds * (0.5 + self._store_draw())
        self._stored_at = max(self._stored_at, self._engine.now + delay)
        self._engine.at(self._stored_at, take, (written, self.life))

    def _take_persisted(self, written: tuple[KeptState, int]) -> None:
        kept, life = written
        if self.machine is None or life != self.life or self.disk is None:
            return
        failure = self.disk.write(kept)
        if self._is_direct:
            self._receive_persisted(failure)
        else:
            self._inbox.put(self._receive_persisted, failure)

    def _receive_persisted(self, failure: str | None) -> None:
        if self.machine is not None:
            self._mark(self._engine.now)
            self._perform(self.machine.receive_persisted(failure, self.now), 0)

    def _take_stored(self, stored: tuple[Store, int]) -> None:
        effect, life = stored
        if self.machine is None or life != self.life or self.disk is None:
            return
        failure = self.disk.write_messages(effect.writes)
        if self._is_direct:
            self._receive_stored(effect.number, failure)
        else:
            self._inbox.put(self._receive_stored, effect.number, failure)

    def _receive_stored(self, number: int, failure: str | None) -> None:
        if self.machine is not None:
            self._mark(self._engine.now)
            self._perform(self.machine.receive_stored(number, failure, self.now), 0)

    def _receive_reply(self, exchange: Exchange, reply: CallReply | CallFailed, peer: str, cause: int) -> None:
        machine = self.machine
        if machine is None:
            return
        self._mark(self._engine.now)
        self._mark(-self.number - 0.5)
        if self._trace is not None:
            what = What.FAIL if isinstance(reply, CallFailed) else What.REPLY
            cause = self._trace.add(self._engine.now, self.key, what, peer, reply, cause)
        self._watcher.replied(self, exchange.effect, reply)
        self._perform(machine.receive_reply(exchange.effect.call_id, reply, self.now), cause)

    def _receive_watcher(self, line: WatchLine) -> None:
        machine = self.machine
        if machine is None or line.address is None:
            return
        pong, effects = machine.receive_call(line.effect.request, self.now)
        self._perform(effects, 0)
        if isinstance(pong, Pong):
            self._network.watches.stand(line, WatchOpened(line.address, pong))

    def _receive_watch(self, line: WatchLine, outcome: WatchOpened | CallFailed) -> None:
        machine = self.machine
        if machine is None:
            return
        self._mark(self._engine.now)
        self._mark(self.number + 0.25)
        cause = 0
        if self._trace is not None:
            what = What.FAIL if isinstance(outcome, CallFailed) else What.REPLY
            peer = line.watched.key if line.watched is not None else ""
            cause = self._trace.add(self._engine.now, self.key, what, peer, outcome)
        self._perform(machine.receive_watch(line.effect.watch_id, outcome, self.now), cause)

    def ask(self, ticket: int, request: Request) -> LocalProtocolError | None:
        """An agent asks something of this node; why it was refused, None where it was not. The answer comes by
        ``Watcher.resolved``."""
        return self._serve_agent(request, lambda machine: machine.request(ticket, request, self.now))

    def open_map(self, name: str) -> None:
        """The agent on this node opens a shared map."""
        if self.machine is not None:
            self._perform(self.machine.open_map(name, None, self.now)[1], 0)

    def write_map(self, name: str, key: str, value: bytes) -> bool:
        """The agent on this node writes into a shared map, or deletes where the value is empty; whether it could."""
        machine = self.machine
        if machine is None or not self._is_direct or self.is_leaving:
            return False
        try:
            self._perform(machine.write_map(name, key, value, self.now), 0)
        except LocalProtocolError:
            return False
        return True

    def register(self, profile: Profile) -> LocalProtocolError | None:
        """An agent registers at this node; why it was refused, None where it was not."""
        return self._serve_agent(profile, lambda machine: machine.register(profile, self.now))

    def _serve_agent(
        self, asked: Request | Profile, serve: Callable[[Machine], list[Effect]]
    ) -> LocalProtocolError | None:
        machine = self.machine
        if machine is None or not self._is_direct:
            return LocalProtocolError("not running")
        cause = 0
        if self._trace is not None:
            cause = self._trace.add(self._engine.now, self.key, What.ASK, "", asked)
        try:
            effects = serve(machine)
        except LocalProtocolError as error:
            return error
        self._perform(effects, cause)
        return None

    def offer(self, source: str, address: Address, instance_id: str | None = None) -> None:
        """A source of discovery tells that a peer may be at this address."""
        machine = self.machine
        if machine is None or self.is_stopped or self.is_dark:
            return
        cause = 0
        if self._trace is not None:
            cause = self._trace.add(self._engine.now, self.key, What.OFFER, str(address), source)
        self._perform(machine.offer(source, (address,), instance_id, self.now), cause)

    # Time

    def _wake(self, when: float) -> None:
        if when != self._wake_at:
            return
        self._wake_at = math.inf
        if self.machine is None or self.is_stopped:
            return  # whoever resumes it looks at its clock
        if self._is_direct:
            self._handle_due()
        else:
            self._inbox.put(self._handle_due)

    def _handle_due(self) -> None:
        """Fire what is due; else wake again when something is."""
        machine = self.machine
        if machine is None:
            return
        engine = self._engine
        deadline = self._deadline
        now = engine.now * self.rate + self.offset
        if deadline > now + 1e-9:
            self._set_wake(deadline)
            return
        self._spins = self._spins + 1 if engine.now == self._spun_at else 0
        self._spun_at = engine.now
        if self._spins > SPINS_MAX:
            self._watcher.failed(self, f"asked for {SPINS_MAX} timers at one moment: {machine!r}")
            self.stop(is_silent=False)
            return
        self._mark(engine.now)
        self._mark(self.number + 0.5)
        cause = 0
        if self._trace is not None:
            cause = self._trace.add(engine.now, self.key, What.TIMER, "", None, self._wake_cause)
        self._perform(machine.handle_timeouts(max(now, deadline)), cause)

    def _set_wake(self, deadline: float) -> None:
        when = (deadline - self.offset) / self.rate
        if when < self._wake_at:
            self._wake_at = when = max(when, self._engine.now)
            self._engine.at(when, self._wake, when)

    # What the machine asks for

    def _perform(self, effects: list[Effect], cause: int) -> None:
        """Perform effects in their order, then see when the machine is to be woken."""
        for effect in effects:
            self._cause = cause
            perform(effect, self)
        machine = self.machine
        if machine is not None:
            self._deadline = deadline = machine.next_deadline()
            if (deadline - self.offset) / self.rate < self._wake_at:
                self._wake_cause = cause
                self._set_wake(deadline)

    def perform_send(self, effect: Send) -> None:
        datagram = effect.datagram
        if datagram.items:
            self._watcher.tells(self, datagram.items)
        if type(datagram.body) is Ping:
            self._watcher.pinged(self, datagram.body)
        if self.is_watched:
            self._watcher.sent(self, effect)
        self._network.send(self, effect, self._cause)

    def perform_call(self, effect: Call) -> None:
        self._watcher.calls(self, effect)
        self._network.call(self, effect, self._cause)

    def perform_watch(self, effect: Watch) -> None:
        self._network.watches.open(self, effect)

    def perform_unwatch(self, effect: Unwatch) -> None:
        self._network.watches.close(self, effect.watch_id)

    def perform_persist(self, effect: Persist) -> None:
        if self._trace is not None:
            self._trace.add(self._engine.now, self.key, What.PERSIST, "", effect, self._cause)
        if self.disk is not None:
            self._write(self._take_persisted, KeptState(effect.incarnation, effect.epoch))

    def perform_store(self, effect: Store) -> None:
        self._write(self._take_stored, effect)

    def perform_resolve(self, effect: Resolve) -> None:
        if effect.ticket < 0:
            self._answer(effect.ticket, effect.reply)
        else:
            self._watcher.resolved(self, effect.ticket, effect.reply)

    def perform_emit(self, effect: Emit) -> None:
        event = effect.event
        if isinstance(event, MapChanged):
            return  # maps are looked at as a whole
        if self._trace is not None:
            self._trace.add(self._engine.now, self.key, What.EVENT, "", event, self._cause)
        if isinstance(event, MemberEvent):
            self._mark(float(event.record.incarnation) + float(event.record.state))
        self._watcher.event(self, event)
