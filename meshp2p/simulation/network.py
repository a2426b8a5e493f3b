"""The virtual network. It carries datagrams and calls between hosts, with delays and losses."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest
from meshp2p.core.datagrams import Datagram
from meshp2p.core.directory.tags import Tags
from meshp2p.core.effects import Call, CallFailed, Failure, Send
from meshp2p.errors import check
from meshp2p.simulation.endpoint import CallInProgress, Endpoint, Introducer
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.paths import NetworkPaths
from meshp2p.simulation.watches import WatchLines
from meshp2p.virtual.corruption import mangle
from meshp2p.virtual.faults import Kind, Rejected, SmallBuffer
from meshp2p.virtual.impairments import Flight
from meshp2p.virtual.links import LinkOptions
from meshp2p.virtual.trace import Trace, What

__all__ = ["MessageCodec", "Network", "Traffic"]

FRAME_BYTES = 12
"""The size that the frame adds to a body; :mod:`meshp2p.wire.frame` has the layout."""


class MessageCodec(Protocol):
    """The part of :class:`meshp2p.wire.codec.MessageCodec` that is used if messages are encoded."""

    def encode(self, message: Any) -> bytes: ...
    def decode_datagram_untrusted(self, data: bytes) -> Datagram: ...
    def decode_request_untrusted(self, data: bytes) -> CallRequest: ...
    def decode_reply_untrusted(self, data: bytes) -> CallReply: ...


class Traffic(msgspec.Struct):
    """The traffic since the start. ``packet_bytes`` (UDP payloads) is counted only if messages are encoded."""

    datagrams: int = 0
    packet_bytes: int = 0
    packet_bytes_max: int = 0
    dropped: int = 0
    refused: int = 0
    """Datagrams that the receiver's codec refused."""
    calls: int = 0
    calls_failed: int = 0


class Network(NetworkPaths):
    """Carries datagrams, multicast and calls along its paths."""

    def __init__(self, engine: Engine, link: LinkOptions, draw: random.Random) -> None:
        super().__init__(engine, link, draw)
        self.watches: WatchLines = WatchLines(self)
        self.traffic: Traffic = Traffic()
        self.tags: Tags = Tags()
        """Shared by all nodes."""
        self.late_until: float = 0.0
        """When the last datagram arrives of those that were sent under impairments."""
        self.codec: MessageCodec | None = None
        self.trace: Trace | None = None
        self.introducer: Introducer | None = None
        """In a secured mesh all datagrams are sealed, and connections begin with an introduction."""
        self.overhear: Callable[[bytes, Address], None] | None = None
        """An attacker that listens. It gets the bytes and the target of each datagram."""

    def __repr__(self) -> str:
        return f"<Network hosts={len(self._listeners)} rules={len(self.rules)} impairments={len(self.impairments)}>"

    # Datagrams

    def send(self, sender: Endpoint, effect: Send, cause: int) -> None:
        """Carry one datagram. ``cause`` is the trace entry that led to it."""
        target = self._listeners.get(effect.address)
        packet: Any = effect.datagram
        traffic = self.traffic
        traffic.datagrams += 1
        if self.introducer is not None:
            packet = sender.seal(effect)
            if packet is None:
                self._drop("its keys are not known", sender.key, "", cause)
                return
        elif self.codec is not None:
            packet = self.codec.encode(packet)
        if packet is not effect.datagram:
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
            engine.at(engine.now + self.links.draw_delay(), target.handle_datagram, (packet, sender.address, cause))

    def _send_impaired(self, sender: Endpoint, target: Endpoint, datagram: Datagram, packet: Any, cause: int) -> None:
        now = self.engine.now
        flight = Flight(sender.key, target.key, now, Kind.UDP, lambda: self._packet_bytes(datagram, packet))
        self.links.carry(flight)
        if flight.dropped:
            self._drop(flight.dropped, sender.key, target.key, cause)
            return
        if flight.is_corrupted:
            check(isinstance(packet, bytes), "packets are corrupted only through wire")
            packet = mangle(packet, self.links.random)
        when = now + self.links.draw_delay() + flight.delay
        self.late_until = max(self.late_until, when)
        for later in (0.0, *flight.copies):
            self.engine.at(when + later, target.handle_datagram, (packet, sender.address, cause))

    def inject(self, data: bytes, source: Address, target: Address) -> None:
        """Carry bytes of an attacker."""
        host = self._listeners.get(target)
        if host is not None:
            self.engine.at(self.engine.now + self.links.draw_delay(), host.handle_datagram, (data, source, 0))

    def _packet_bytes(self, datagram: Datagram, packet: Any) -> int:
        if isinstance(packet, bytes):
            return len(packet)
        return FRAME_BYTES + len(msgspec.msgpack.encode(datagram))

    def _drop(self, reason: str, sender: str, receiver: str, cause: int) -> None:
        self.traffic.dropped += 1
        if self.trace is not None:
            self.trace.add(self.engine.now, receiver, What.DROP, sender, reason, cause)

    def overflow(self, receiver: Endpoint, source: Address, cause: int, *, is_small: bool) -> None:
        """Note that a datagram was lost because the receive buffer was full: a small one, or one of the usual size."""
        if is_small:
            self.links.count(SmallBuffer.__name__)
        self._drop("the receive buffer is full", self.key_at(source), receiver.key, cause)

    # Multicast

    def multicast(self, sender: Endpoint, action: Callable[[Any], None], receiver: Endpoint) -> None:
        """Run ``action(sender)`` when the sender's multicast reaches this receiver, unless it is lost."""
        links, now = self.links, self.engine.now
        reason = links.objection(sender.key, receiver.key, Kind.MULTICAST, now) if self.rules else ""
        if reason:
            links.count(reason)
            return
        delay = links.draw_delay()
        if self.impairments:
            flight = Flight(sender.key, receiver.key, now, Kind.MULTICAST, lambda: 0)
            links.impair(flight)
            if flight.dropped:
                return
            delay += flight.delay
        self.engine.at(now + delay, action, sender)

    # Calls

    def call(self, caller: Endpoint, effect: Call, cause: int) -> None:
        """Carry a call to all of its addresses. ``caller.handle_reply`` gets the reply, or the failure, once."""
        self.traffic.calls += 1
        if self.trace is not None:
            peer = self._keys.get(effect.addresses[0], str(effect.addresses[0])) if effect.addresses else ""
            cause = self.trace.add(self.engine.now, caller.key, What.CALL, peer, effect.request, cause)
        exchange = CallInProgress(caller, effect, cause, self.engine.now)
        for address in effect.addresses:
            target = self._listeners.get(address)
            # SYN, SYN-ACK, then the request: three legs, of which any may be cut
            if target is not None and self.hidden and not self.may_connect(caller, target):
                continue
            delay = self.legs(caller.key, target.key, 3, effect.request) if target is not None else None
            if delay is None or target is None or self.loses_call(caller, target):
                continue
            if self.is_rejected(caller.key, target.key):
                self.links.count(Rejected.__name__)
                self.engine.at(self.engine.now + delay, self._reject, (exchange, target))
            else:
                arrive = self._pass_on if effect.target else self._deliver_call
                self.engine.at(self.engine.now + delay, arrive, (exchange, target))
        self.engine.at(self.engine.now + effect.timeout, self._expire, exchange)

    def _deliver_call(self, arrival: tuple[CallInProgress, Endpoint]) -> None:
        exchange, target = arrival
        if self._is_severed(exchange, target):
            return
        if self.hidden and target.machine is not None:
            self.connections.note(exchange.relay or exchange.caller, target)
        target.handle_call(exchange)

    def introduce(self, dialler: Endpoint, life: int, listener: Endpoint) -> str:
        """Connect two processes of a secured mesh. Return why that fails; empty if they are connected, and in an open
        mesh."""
        if self.introducer is None or dialler is listener:
            return ""
        return self.introducer.connect(dialler, listener) if dialler.life == life else "it has ended"

    def machine_of(self, host: Endpoint) -> bytes:
        """Return the fingerprint of a host's machine in a secured mesh; empty in an open one."""
        return b"" if self.introducer is None else self.introducer.machine_of(host)

    def _pass_on(self, arrival: tuple[CallInProgress, Endpoint]) -> None:
        """Carry a call to the relay, which opens a connection to the target for it."""
        exchange, relay = arrival
        if exchange.relay is not None or relay.is_dark or relay.is_stopped:
            return
        if relay.machine is None:
            self.refuse(exchange, relay)
            return
        exchange.relay = relay
        if why := self.introduce(exchange.caller, exchange.life, relay):
            self.reply(exchange, relay, CallFailed(Failure.UNREACHABLE, why), exchange.cause)
            return
        if self.hidden:
            self.connections.note(exchange.caller, relay)
        route = relay.machine.relay_route(exchange.effect.target)
        for address in () if route is None else route.addresses:
            target = self._listeners.get(address)
            if target is not None and not self.may_connect(relay, target):
                continue
            delay = self.legs(relay.key, target.key, 3) if target is not None else None
            if delay is not None and target is not None and not self.is_rejected(relay.key, target.key):
                self.engine.at(self.engine.now + delay, self._deliver_call, (exchange, target))
                return
        self.reply(exchange, relay, CallFailed(Failure.UNREACHABLE, "the relay has no path"), exchange.cause)

    def _is_severed(self, exchange: CallInProgress, other: Endpoint) -> bool:
        """Return whether the connection of this call was severed since it began."""
        ends = (exchange.caller, other) if exchange.relay is None else (exchange.caller, exchange.relay, other)
        severed_at = self.connections.severed_at
        return bool(self.connections.severed) and any(
            severed_at(one, two) >= exchange.opened_at for one, two in pairwise(ends)
        )

    def sever(self, nodes: tuple[str, ...]) -> None:
        """Break all TCP connections of these nodes, or of all if there are none; neither end notices."""
        hosts = [host for host in self._listeners.values() if not nodes or host.key in nodes]
        for host in hosts:
            self.connections.sever(host)
        self.watches.sever(hosts)

    def _reject(self, arrival: tuple[CallInProgress, Endpoint]) -> None:
        self.refuse(*arrival)

    def reply(self, exchange: CallInProgress, replier: Endpoint, reply: CallReply | CallFailed, cause: int) -> None:
        """Carry a reply, or the news that the connection broke, back to the caller."""
        if exchange.is_done or self._is_severed(exchange, replier):
            return
        delay: float | None = 0.0
        sender = replier.key
        for receiver in self._way_back(exchange, replier):
            leg = self.legs(sender, receiver, 1, reply)
            delay = None if leg is None or delay is None else delay + leg
            sender = receiver
        if delay is not None:
            self.engine.at(self.engine.now + delay, self._arrive, (exchange, reply, replier.key, cause))

    def _way_back(self, exchange: CallInProgress, replier: Endpoint) -> tuple[str, ...]:
        caller, relay = exchange.caller.key, exchange.relay
        return (caller,) if relay is None or relay is replier else (relay.key, caller)

    def refuse(self, exchange: CallInProgress, replier: Endpoint) -> None:
        """Note that nobody listens at one of the addresses. The call is refused if all refuse."""
        if exchange.relay is not None:
            failed = CallFailed(Failure.UNREACHABLE, "the relay was refused")
            self.reply(exchange, exchange.relay, failed, exchange.cause)
            return
        exchange.refused += 1
        if exchange.refused == len(exchange.effect.addresses):
            self.reply(exchange, replier, CallFailed(Failure.REFUSED, "connection refused"), exchange.cause)

    def _arrive(self, arrival: tuple[CallInProgress, CallReply | CallFailed, str, int]) -> None:
        exchange, reply, peer, cause = arrival
        self._settle(exchange, reply, peer, cause)

    def _expire(self, exchange: CallInProgress) -> None:
        reason = f"no answer within {exchange.effect.timeout:g} s"
        self._settle(exchange, CallFailed(Failure.TIMEOUT, reason), "", exchange.cause)

    def _settle(self, exchange: CallInProgress, reply: CallReply | CallFailed, peer: str, cause: int) -> None:
        if exchange.is_done:
            return
        exchange.is_done = True
        if isinstance(reply, CallFailed):
            self.traffic.calls_failed += 1
        exchange.caller.handle_reply(exchange, reply, peer, cause)
