"""The process of a simulated node: its driver, on a computer that can fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, Pong
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip, Ping
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.effects import (
    Call,
    CallFailed,
    Effect,
    Emit,
    Persist,
    Resolve,
    Send,
    Store,
    Unwatch,
    Watch,
    WatchOpened,
    perform,
)
from meshp2p.core.events import InstanceEvent, MapChanged
from meshp2p.core.machine import Machine
from meshp2p.core.requests import Request
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import InternalError, LocalProtocolError, RemoteProtocolError
from meshp2p.simulation.alarm import Alarm
from meshp2p.simulation.computer import OBSERVERS_MAX
from meshp2p.simulation.digest import Digest
from meshp2p.simulation.endpoint import CallInProgress, WatchLine
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.network import Network
from meshp2p.simulation.secured_computer import SecuredComputer
from meshp2p.simulation.watcher import Watcher
from meshp2p.virtual.corruption import Mangled
from meshp2p.virtual.trace import Trace, What

__all__ = ["Host"]


class Host(SecuredComputer):
    """A computer with a node's process: the inputs and the requests of its machine."""

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
        watcher: Watcher[Host],
        digest: Digest,
        trace: Trace | None,
        alter: Callable[[Host], None] | None = None,
    ) -> None:
        super().__init__(key, profile.id, address, seed=seed, engine=engine, network=network, watcher=watcher)
        self.profile = profile
        self.number = number
        self.began_at: float = 0.0  # by its monotonic clock
        self.is_leaving: bool = False
        self.is_watched = False
        self.heard_at: dict[int, float] = {}
        """When a process that is followed last received a datagram, by its own clock, by the sender's tag."""
        self.make_machine: Callable[..., Machine] = Machine
        """Makes the machine of each process."""
        self._seed = seed
        self._config = config
        self._mark = digest.mark
        self._trace = trace
        self._alter = alter
        self._alarm = Alarm(engine, self.clock, self._wake)
        self._cause = 0
        self._answering: dict[int, tuple[CallInProgress, int]] = {}
        self._answers = 0

    def __repr__(self) -> str:
        return f"<Host {self.key} life={self.life} {self.machine or 'down'}>"

    # The process

    def prepare(self) -> None:
        """Make a process from the state on the disk; :meth:`start` starts it."""
        self._begin_life()
        self.is_leaving = False
        self.heard_at.clear()
        self._alarm.forget()
        self._answering = {}
        kept = self.disk.read() if self.disk is not None else None
        mail = self.disk.read_messages() if self.disk is not None else None
        draw = random.Random(f"{self._seed}/{self.key}/{self.life}")
        self.machine = self.make_machine(
            self.profile,
            self.addresses,
            self._config,
            draw,
            self.clock.wall_ms,
            kept,
            mail,
            lease_clock=self.clock.lease_seconds,
            age=self._engine.now,
            tags=self._network.tags,
            **self._begin_security(draw),
        )
        if self.security is not None:
            self.security.attach(self.machine, self._note_stranger)
        if self._alter is not None:
            self._alter(self)

    def start(self, cause: int = 0) -> None:
        """Start the prepared process."""
        machine = self.machine
        if machine is None:
            raise InternalError(f"host {self.key}: its process is prepared before it is started")
        self.began_at = self.now
        cause = self._note(What.START, "", self.disk.read() if self.disk is not None else None, cause)
        self._perform(machine.start(self.now), cause)
        self._await_renewal()

    def stop(self, *, is_silent: bool, cause: int = 0) -> None:
        """Kill the process, and with ``is_silent`` its machine."""
        self._network.watches.break_all(self, is_silent=is_silent)
        self._network.watches.forget(self)
        self.machine = None
        self._end_security()
        self._set_state(is_dark=is_silent, is_stopped=False)
        self._note(What.STOP, "", "silent" if is_silent else "killed", cause)
        for action, arguments, _ in self._inbox.clear():
            if action == self._receive_call and not is_silent:
                self._break(arguments[0])

    def leave(self, cause: int = 0) -> None:
        """Leave the mesh. The caller stops the process when it has left."""
        if self.machine is not None:
            self.is_leaving = True
            cause = self._note(What.STOP, "", "leaving", cause)
            self._perform(self.machine.leave(self.now), cause)

    def pause(self, *, is_asleep: bool, cause: int = 0) -> None:
        """Stop the process; with ``is_asleep`` its machine too."""
        self._set_state(is_dark=is_asleep, is_stopped=True)
        self._note(What.PAUSE, "", "asleep" if is_asleep else "stopped", cause)

    def resume(self, cause: int = 0) -> None:
        """Continue the process. It reads all waiting input before it looks at its clock."""
        self._set_state(is_dark=False, is_stopped=False)
        self._note(What.RESUME, "", None, cause)
        if self._inbox.service:
            self._inbox.serve()
        else:
            self._drain()
            self._handle_due()

    def set_rate(self, rate: float) -> None:
        """Set the rate of the monotonic clock from now on; 1 is right."""
        self.clock.set_rate(rate)
        if self.machine is not None and not self.is_stopped:
            self._alarm.look()  # a timer may be due sooner

    # What the process does

    def _note(self, what: What, peer: str, detail: object, cause: int = 0) -> int:
        """Add this to the trace, if there is one. Return the number of the entry, or ``cause``."""
        if self._trace is None:
            return cause
        return self._trace.add(self._engine.now, self.key, what, peer, detail, cause)

    def _receive(self, packet: Any, source: Address, cause: int) -> None:
        if isinstance(packet, bytes):
            packet = self._decode(packet) if self.security is None else self._open(packet, source)
            if packet is None:
                return
        self._mark(self._engine.now)
        self._mark(self.number)
        if self._trace is not None:
            peer = self._trace[cause].node if cause else str(source)
            cause = self._trace.add(self._engine.now, self.key, What.RECEIVE, peer, packet, cause)
        if self.is_watched:
            self._watcher.heard(self, packet)
        if packet.items:
            self._watcher.told(self, packet.items)
        effects = (machine := self.running).receive(packet, source, now := self.clock.now)
        # what waited while the process was stopped is no sign of life of now
        if self.number < OBSERVERS_MAX and not machine.is_guarded:
            self.heard_at[packet.body.sender] = now
        self._perform(effects, cause)

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

    def _receive_call(self, exchange: CallInProgress) -> None:
        request = self._admit(exchange)
        if isinstance(request, CallFailed):
            self._network.reply(exchange, self, request, exchange.cause)
            return
        codec = self._network.codec
        if codec is not None:
            request = codec.decode_request_untrusted(codec.encode(request))
        self._mark(self._engine.now)
        self._mark(-self.number)
        cause = self._note(What.CALLED, exchange.caller.key, request, exchange.cause)
        self._answers = ticket = self._answers - 1  # agents' tickets count upwards
        self._answering[ticket] = (exchange, cause)
        self._watcher.called(self, request)
        reply, effects = self.running.receive_call(request, self.now, ticket)
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

    def _receive_persisted(self, failure: str | None) -> None:
        self._mark(self._engine.now)
        self._perform(self.running.receive_persisted(failure, self.now), 0)

    def _receive_stored(self, number: int, failure: str | None) -> None:
        self._mark(self._engine.now)
        self._perform(self.running.receive_stored((number,), failure, self.now), 0)

    def _receive_reply(self, exchange: CallInProgress, reply: CallReply | CallFailed, peer: str, cause: int) -> None:
        reply = self._check_reply(reply, peer)
        self._mark(self._engine.now)
        self._mark(-self.number - 0.5)
        cause = self._note(What.FAIL if isinstance(reply, CallFailed) else What.REPLY, peer, reply, cause)
        self._watcher.replied(self, exchange.effect, reply)
        self._perform(self.running.receive_reply(exchange.effect.call_id, reply, self.now), cause)

    def _receive_watcher(self, line: WatchLine) -> None:
        if self._network.introduce(line.watcher, line.life, self):
            self._network.watches.cut(line)
            return
        pong, effects = self.running.receive_call(line.effect.request, self.now)
        self._perform(effects, 0)
        if isinstance(pong, Pong) and line.address is not None:
            self._network.watches.stand(line, WatchOpened(line.address, pong))

    def _receive_watch(self, line: WatchLine, outcome: WatchOpened | CallFailed) -> None:
        self._mark(self._engine.now)
        self._mark(self.number + 0.25)
        peer = line.watched.key if line.watched is not None else ""
        cause = self._note(What.FAIL if isinstance(outcome, CallFailed) else What.REPLY, peer, outcome)
        self._perform(self.running.receive_watch(line.effect.watch_id, outcome, self.now), cause)

    def ask(self, ticket: int, request: Request) -> LocalProtocolError | None:
        """Make an agent's request. Return why it was refused, or None. The answer comes by ``Watcher.resolved``."""
        return self._serve(request, lambda machine: machine.request(ticket, request, self.now))

    def notice_address(self, life: int) -> None:
        """Let the process with this life notice the address of its machine."""
        self._act(life, lambda: self._perform(self.running.readdress(self.addresses, self.now), 0))

    def open_map(self, name: str) -> None:
        """Open a shared map for the agent on this node."""
        if self.machine is not None:
            self._perform(self.machine.open_map(name, None, self.now)[1], 0)

    def write_map(self, name: str, key: str, value: bytes) -> bool:
        """Write to a shared map, or delete if the value is empty. Return whether that was possible."""
        machine = self.machine
        if machine is None or not self._is_direct or self.is_leaving:
            return False
        cause = self._note(What.ASK, "", MapChanged(name, key, value))
        try:
            self._perform(machine.write_map(name, key, value, self.now), cause)
        except LocalProtocolError:
            return False
        return True

    def register(self, profile: Profile) -> LocalProtocolError | None:
        """Register an agent at this node. Return why it was refused, or None."""
        return self._serve(profile, lambda machine: machine.register(profile, self.now))

    def _serve(self, asked: Request | Profile, serve: Callable[[Machine], list[Effect]]) -> LocalProtocolError | None:
        machine = self.machine
        if machine is None or not self._is_direct:
            return LocalProtocolError("not running")
        cause = self._note(What.ASK, "", asked)
        try:
            effects = serve(machine)
        except LocalProtocolError as error:
            return error
        self._perform(effects, cause)
        return None

    def offer(self, source: str, address: Address, instance_id: str | None = None) -> None:
        """Offer an address at which a peer may be."""
        machine = self.machine
        if machine is None or self.is_stopped or self.is_dark:
            return
        cause = self._note(What.OFFER, str(address), source)
        self._perform(machine.offer(source, (address,), instance_id, self.now), cause)

    # Time

    def _wake(self) -> None:
        if self.machine is not None and not self.is_stopped:  # whoever resumes it looks at its clock
            self._arrive(self._handle_due)

    def _handle_due(self) -> None:
        """Fire due timers, and wake again at the next one."""
        machine, alarm, now = self.machine, self._alarm, self.clock.now
        if machine is None:
            return
        if alarm.deadline > now + 1e-9:
            alarm.look()
            return
        if alarm.is_spinning():
            self._watcher.failed(self, f"asked for too many timers at one moment: {machine!r}")
            self.stop(is_silent=False)
            return
        self._mark(self._engine.now)
        self._mark(self.number + 0.5)
        cause = self._note(What.TIMER, "", None, alarm.cause)
        self._perform(machine.handle_timeouts(max(now, alarm.deadline)), cause)

    # What the machine asks for

    def _perform(self, effects: list[Effect], cause: int) -> None:
        """Perform effects in their order, then schedule the next wake-up."""
        for effect in effects:
            self._cause = cause
            if type(effect) is Send:  # most are
                self.perform_send(effect)
            else:
                perform(effect, self)
        if self.machine is not None:
            self._alarm.set(self.machine.next_deadline(), cause)

    def perform_send(self, effect: Send) -> None:
        datagram = effect.datagram
        if datagram.items:
            self._watcher.tells(self, datagram.items)
        if type(datagram.body) is Ping:
            self._watcher.pinged(self, datagram.body)
        elif type(datagram.body) is Gossip:
            self._watcher.gossips(self, effect)
        if self.is_watched:
            self._watcher.sent(self, effect)
        self._network.send(self, effect, self._cause)

    def perform_call(self, effect: Call) -> None:
        self._watcher.calls(self, effect)
        self._network.call(self, effect, self._cause)

    def perform_watch(self, effect: Watch) -> None:
        self._watcher.watching(self, effect)
        self._network.watches.open(self, effect)

    def perform_unwatch(self, effect: Unwatch) -> None:
        self._network.watches.close(self, effect.watch_id)

    def perform_persist(self, effect: Persist) -> None:
        self._note(What.PERSIST, "", effect, self._cause)
        if self.disk is not None:
            self._write(lambda disk: disk.write(KeptState(effect.incarnation, effect.epoch)), self._receive_persisted)

    def perform_store(self, effect: Store) -> None:
        self._write(lambda disk: disk.write_messages(effect.writes), partial(self._receive_stored, effect.number))

    def perform_resolve(self, effect: Resolve) -> None:
        if effect.ticket < 0:
            self._answer(effect.ticket, effect.reply)
        else:
            self._note(What.ANSWER, "", effect.reply, self._cause)
            self._watcher.resolved(self, effect.ticket, effect.reply)

    def perform_emit(self, effect: Emit) -> None:
        event = effect.event
        self._note(What.EVENT, "", event, self._cause)
        if isinstance(event, InstanceEvent):
            self._mark(float(event.record.incarnation) + float(event.record.state))
        if not isinstance(event, MapChanged):  # maps are looked at as a whole
            self._watcher.event(self, event)
