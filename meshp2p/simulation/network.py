"""The virtual network: it carries datagrams and calls between hosts, late, or never."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.effects import Call, CallFailed, Failure, Send
from meshp2p.core.messages import CallReply, CallRequest, Datagram
from meshp2p.errors import check
from meshp2p.simulation.connections import Connections
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.faults import Hidden, Kind, Rejected
from meshp2p.simulation.rules import Deliver, Flight, Impairment, Rule
from meshp2p.simulation.schedule import LinkOptions
from meshp2p.simulation.trace import Trace, What
from meshp2p.simulation.watches import WatchLines

if TYPE_CHECKING:
    from meshp2p.simulation.host import Host

__all__ = ["Codec", "Exchange", "Mangled", "Network", "Traffic"]

FRAME_BYTES = 12
"""What the frame adds to a body; :mod:`meshp2p.wire.frame` has the layout."""


class Codec(Protocol):
    """What of :class:`meshp2p.wire.codec.Codec` is used where messages go through bytes."""

    def encode(self, message: Any) -> bytes: ...
    def decode_datagram_untrusted(self, data: bytes) -> Datagram: ...
    def decode_request_untrusted(self, data: bytes) -> CallRequest: ...
    def decode_reply_untrusted(self, data: bytes) -> CallReply: ...


class Mangled(bytes):
    """A datagram that was corrupted on its way: its receiver's checksum catches what its codec does not."""


class Traffic(msgspec.Struct):
    """What was carried since the begin. ``packet_bytes`` (UDP payloads) is counted only through wire."""

    datagrams: int = 0
    packet_bytes: int = 0
    packet_bytes_max: int = 0
    dropped: int = 0
    refused: int = 0
    """Datagrams that the receiver's codec refused."""
    calls: int = 0
    calls_failed: int = 0


class Exchange:
    """A call under way: it is settled once, by the first reply, or by the failure that comes last."""

    __slots__ = ("caller", "cause", "effect", "is_done", "life", "refused", "relay")

    def __init__(self, caller: Host, effect: Call, cause: int) -> None:
        self.caller: Host = caller
        self.life: int = caller.life
        self.effect: Call = effect
        self.cause: int = cause
        self.is_done: bool = False
        self.refused: int = 0
        self.relay: Host | None = None


class Network:
    """All links. ``rules`` and ``impairments`` are those of the faults that are on, and of whoever adds one.

    ``fired`` counts by a fault's name how many packets it touched.
    """

    def __init__(self, engine: Engine, link: LinkOptions, draw: random.Random) -> None:
        self.engine = engine
        self.random = draw
        self.rules: list[Rule] = []
        self.impairments: list[Impairment] = []
        self.rejections: list[Rejected] = []
        self.hidden: list[Hidden] = []
        self.connections: Connections = Connections(engine)
        self.watches: WatchLines = WatchLines(self)
        self.traffic: Traffic = Traffic()
        self.fired: dict[str, int] = {}
        self.codec: Codec | None = None
        self.trace: Trace | None = None
        self.overhear: Callable[[bytes, Address], None] | None = None
        """An attacker who listens: it is given each datagram's bytes and target."""
        self.places: dict[str, str] = {}
        """By the keys of hosts that stand where another does: the key of that one, which the rules name."""
        self._delay, self._jitter = link.delay, link.jitter
        self._listeners: dict[Address, Host] = {}
        self._keys: dict[Address, str] = {}
        self._draw = draw.random

    def __repr__(self) -> str:
        return f"<Network hosts={len(self._listeners)} rules={len(self.rules)} impairments={len(self.impairments)}>"

    # Who is where

    def attach(self, address: Address, host: Host) -> None:
        """The host is reached at this address from now on, whether its process runs or not."""
        self._listeners[address] = host
        self._keys[address] = host.key

    def detach(self, address: Address) -> None:
        """Nobody is reached at this address any more."""
        self._listeners.pop(address, None)

    def key_at(self, address: Address) -> str:
        """The key of the host that is, or was last, at this address; empty where none ever was."""
        return self._keys.get(address, "")

    def passes(self, sender: str, receiver: str, kind: Kind) -> bool:
        """Whether the rules let this pass now. Chance is not asked."""
        if kind is Kind.TCP and self.is_rejected(sender, receiver):
            return False
        return not self.rules or not self._objection(sender, receiver, kind)

    def host_at(self, address: Address) -> Host | None:
        return self._listeners.get(address)

    def is_rejected(self, sender: str, receiver: str) -> bool:
        """Whether a firewall refuses what this one sends to that one by TCP."""
        if not self.rejections:
            return False
        sender, receiver = self.places.get(sender, sender), self.places.get(receiver, receiver)
        return any(sender in fault.senders and receiver in fault.receivers for fault in self.rejections)

    def may_connect(self, one: Host, other: Host) -> bool:
        """Whether a call of one reaches the other: it may dial it, or there is a connection between them."""
        if not any(not fault.nodes or other.key in fault.nodes for fault in self.hidden):
            return True
        if self.connections.stands(one, other) or self.watches.stands_between(one, other):
            return True
        self._fire(Hidden.__name__)
        return False

    def _objection(self, sender: str, receiver: str, kind: Kind) -> str:
        sender, receiver = self.places.get(sender, sender), self.places.get(receiver, receiver)
        for rule in self.rules:
            verdict = rule.verdict(sender, receiver, self.engine.now, kind)
            if not isinstance(verdict, Deliver):
                return verdict.reason
        return ""

    @property
    def leg(self) -> float:
        """How long a leg takes at the most where no fault touches it, but for one in 150."""
        return self._delay + 5 * self._jitter

    def _delay_of_leg(self) -> float:
        return self._delay - math.log(1.0 - self._draw()) * self._jitter

    # Datagrams

    def send(self, sender: Host, effect: Send, cause: int) -> None:
        """Carry one datagram; ``cause`` is the trace's entry that led to it."""
        target = self._listeners.get(effect.address)
        packet: Any = effect.datagram
        traffic = self.traffic
        traffic.datagrams += 1
        if self.codec is not None:
            packet = self.codec.encode(packet)
            traffic.packet_bytes += len(packet)
            traffic.packet_bytes_max = max(traffic.packet_bytes_max, len(packet))
            if self.overhear is not None:
                self.overhear(packet, effect.address)
        if self.trace is not None:
            peer = self._keys.get(effect.address, str(effect.address))
            cause = self.trace.add(self.engine.now, sender.key, What.SEND, peer, effect.datagram, cause)
        if target is None:
            self._drop("nobody is there", sender.key, "", cause)
        elif self.rules or self.impairments:
            self._send_impaired(sender, target, effect.datagram, packet, cause)
        else:
            engine = self.engine
            delay = self._delay - math.log(1.0 - self._draw()) * self._jitter
            engine.at(engine.now + delay, target.take_datagram, (packet, sender.address, cause))

    def _send_impaired(self, sender: Host, target: Host, datagram: Datagram, packet: Any, cause: int) -> None:
        reason = self._objection(sender.key, target.key, Kind.UDP)
        if reason:
            self._fire(reason)
            self._drop(reason, sender.key, target.key, cause)
            return
        now = self.engine.now
        flight = Flight(sender.key, target.key, now, Kind.UDP, lambda: self._packet_bytes(datagram, packet))
        self._impair(flight)
        if flight.dropped:
            self._drop(flight.dropped, sender.key, target.key, cause)
            return
        if flight.is_corrupted:
            packet = self._mangle(packet)
        when = now + self._delay_of_leg() + flight.delay
        for later in (0.0, *flight.copies):
            self.engine.at(when + later, target.take_datagram, (packet, sender.address, cause))

    def inject(self, data: bytes, source: Address, target: Address) -> None:
        """Carry bytes of an attacker."""
        host = self._listeners.get(target)
        if host is not None:
            self.engine.at(self.engine.now + self._delay_of_leg(), host.take_datagram, (data, source, 0))

    def _impair(self, flight: Flight) -> None:
        for impairment in self.impairments:
            if impairment.concerns(flight) and impairment.apply(flight):
                self._fire(type(impairment.fault).__name__)
                if flight.dropped:
                    return

    def _packet_bytes(self, datagram: Datagram, packet: Any) -> int:
        if isinstance(packet, bytes):
            return len(packet)
        return FRAME_BYTES + len(msgspec.msgpack.encode(datagram))

    def _mangle(self, packet: Any) -> Mangled:
        check(isinstance(packet, bytes), "packets are corrupted only through wire")
        data = bytearray(packet)
        if self._draw() < 0.3:
            del data[self.random.randrange(0, len(data)) :]
        for _ in range(self.random.randrange(1, 4)):
            if data:
                data[self.random.randrange(0, len(data))] ^= self.random.randrange(1, 256)
        return Mangled(data)

    def _fire(self, name: str) -> None:
        self.fired[name] = self.fired.get(name, 0) + 1

    def _drop(self, reason: str, sender: str, receiver: str, cause: int) -> None:
        self.traffic.dropped += 1
        if self.trace is not None:
            self.trace.add(self.engine.now, receiver, What.DROP, sender, reason, cause)

    # Multicast

    def multicast(self, sender: Host, action: Callable[[Any], None], receiver: Host) -> None:
        """Run ``action(sender)`` when the sender's multicast reaches this receiver, if it does."""
        reason = self._objection(sender.key, receiver.key, Kind.MULTICAST) if self.rules else ""
        if reason:
            self._fire(reason)
            return
        delay = self._delay_of_leg()
        if self.impairments:
            flight = Flight(sender.key, receiver.key, self.engine.now, Kind.MULTICAST, lambda: 0)
            self._impair(flight)
            if flight.dropped:
                return
            delay += flight.delay
        self.engine.at(self.engine.now + delay, action, sender)

    # Calls

    def call(self, caller: Host, effect: Call, cause: int) -> None:
        """Carry a call to all of its addresses. The reply, or that there is none, is given to ``caller.take_reply``
        once."""
        self.traffic.calls += 1
        if self.trace is not None:
            peer = self._keys.get(effect.addresses[0], str(effect.addresses[0])) if effect.addresses else ""
            cause = self.trace.add(self.engine.now, caller.key, What.CALL, peer, effect.request, cause)
        exchange = Exchange(caller, effect, cause)
        for address in effect.addresses:
            target = self._listeners.get(address)
            # SYN, SYN-ACK, then the request: three legs, of which any may be cut
            if target is not None and self.hidden and not self.may_connect(caller, target):
                continue
            delay = self.legs(caller.key, target.key, 3) if target is not None else None
            if delay is None or target is None:
                continue
            if self.is_rejected(caller.key, target.key):
                self._fire(Rejected.__name__)
                self.engine.at(self.engine.now + delay, self._reject, (exchange, target))
            else:
                arrive = self._pass_on if effect.target else self._take_call
                self.engine.at(self.engine.now + delay, arrive, (exchange, target))
        self.engine.at(self.engine.now + effect.timeout, self._expire, exchange)

    def _take_call(self, arrival: tuple[Exchange, Host]) -> None:
        exchange, target = arrival
        if self.hidden and target.machine is not None:
            self.connections.note(exchange.relay or exchange.caller, target)
        target.take_call(exchange)

    def _pass_on(self, arrival: tuple[Exchange, Host]) -> None:
        """A call arrives at the relay that is to pass it on, which opens a connection to the target for it."""
        exchange, relay = arrival
        if exchange.relay is not None or relay.is_dark or relay.is_stopped:
            return
        if relay.machine is None:
            self.refuse(exchange, relay)
            return
        exchange.relay = relay
        if self.hidden:
            self.connections.note(exchange.caller, relay)
        route = relay.machine.relay_route(exchange.effect.target)
        for address in () if route is None else route.addresses:
            target = self._listeners.get(address)
            if target is not None and not self.may_connect(relay, target):
                continue
            delay = self.legs(relay.key, target.key, 3) if target is not None else None
            if delay is not None and target is not None and not self.is_rejected(relay.key, target.key):
                self.engine.at(self.engine.now + delay, self._take_call, (exchange, target))
                return
        self.reply(exchange, relay, CallFailed(Failure.UNREACHABLE, "the relay has no path"), exchange.cause)

    def _reject(self, arrival: tuple[Exchange, Host]) -> None:
        self.refuse(*arrival)

    def legs(self, sender: str, receiver: str, count: int) -> float | None:
        """How long so many legs of a connection take; None where they do not pass."""
        if self.rules:
            reason = self._objection(sender, receiver, Kind.TCP) or self._objection(receiver, sender, Kind.TCP)
            if reason:
                self._fire(reason)
                return None
        delay = 0.0
        for _ in range(count):
            delay += self._delay_of_leg()
            if self.impairments:
                flight = Flight(sender, receiver, self.engine.now, Kind.TCP, lambda: 0)
                self._impair(flight)
                delay += flight.delay
        return delay

    def reply(self, exchange: Exchange, replier: Host, reply: CallReply | CallFailed, cause: int) -> None:
        """Carry a reply, or the word that the connection broke, back to the caller."""
        if exchange.is_done:
            return
        delay: float | None = 0.0
        sender = replier.key
        for receiver in self._way_back(exchange, replier):
            leg = self.legs(sender, receiver, 1)
            delay = None if leg is None or delay is None else delay + leg
            sender = receiver
        if delay is not None:
            self.engine.at(self.engine.now + delay, self._arrive, (exchange, reply, replier.key, cause))

    def _way_back(self, exchange: Exchange, replier: Host) -> tuple[str, ...]:
        caller, relay = exchange.caller.key, exchange.relay
        return (caller,) if relay is None or relay is replier else (relay.key, caller)

    def refuse(self, exchange: Exchange, replier: Host) -> None:
        """Nobody listens at one of the addresses: the call is refused when all refuse."""
        if exchange.relay is not None:
            failed = CallFailed(Failure.UNREACHABLE, "the relay was refused")
            self.reply(exchange, exchange.relay, failed, exchange.cause)
            return
        exchange.refused += 1
        if exchange.refused == len(exchange.effect.addresses):
            self.reply(exchange, replier, CallFailed(Failure.REFUSED, "connection refused"), exchange.cause)

    def _arrive(self, arrival: tuple[Exchange, CallReply | CallFailed, str, int]) -> None:
        exchange, reply, peer, cause = arrival
        self._settle(exchange, reply, peer, cause)

    def _expire(self, exchange: Exchange) -> None:
        reason = f"no answer within {exchange.effect.timeout:g} s"
        self._settle(exchange, CallFailed(Failure.TIMEOUT, reason), "", exchange.cause)

    def _settle(self, exchange: Exchange, reply: CallReply | CallFailed, peer: str, cause: int) -> None:
        if exchange.is_done:
            return
        exchange.is_done = True
        if isinstance(reply, CallFailed):
            self.traffic.calls_failed += 1
        exchange.caller.take_reply(exchange, reply, peer, cause)
