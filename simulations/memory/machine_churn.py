"""One machine under churn.

Instances come, are accused, die and are forgotten under ever new ids; agents register and expire; messages are sent,
delivered and acknowledged; a shared map is written.
"""

from __future__ import annotations

import collections
import random
import tracemalloc
from typing import Final

from meshp2p.core.address import Address
from meshp2p.core.calls import Deliver, FetchReply, Parcel
from meshp2p.core.datagrams import Datagram, Gossip, Ping
from meshp2p.core.effects import Call, CallFailed, Effect, Failure, Resolve, Watch
from meshp2p.core.machine import Machine
from meshp2p.core.mail.uuid7 import uuid7
from meshp2p.core.message import Message
from meshp2p.core.record import Record, Rumour, State, tag_of
from meshp2p.core.requests import Acknowledge, Fetch, SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import LocalProtocolError
from simulations.memory.minutes import SMALL, Minute, look

__all__ = ["Churn", "measure_machine"]

_START_MS: Final = 1_700_000_000_000


class Churn:
    """One machine, and the events that it is given."""

    def __init__(self, seed: int = 0) -> None:
        self._draw = random.Random(seed)
        self.now = 0.0
        self._count = 0
        self._tickets = 0
        self._nodes: collections.deque[Record] = collections.deque()
        self.machine = Machine(
            Profile("me", "h", 1),
            (Address("10.0.0.7", 7),),
            SMALL,
            random.Random(seed),
            lambda: _START_MS + int(self.now * 1000),
            lease_clock=lambda: self.now,
        )
        self._take(self.machine.start(0.0))
        self._take(self.machine.open_map("m", None, 0.0)[1])

    def run(self, seconds: float) -> None:
        """Let virtual time pass, with ten events in each second."""
        until = self.now + seconds
        while self.now < until:
            step = self.now + 0.1
            while (due := self.machine.next_deadline()) <= step:
                self.now = max(self.now, due)
                self._take(self.machine.handle_timeouts(self.now))
            self.now = step
            try:
                self._happen()
            except LocalProtocolError:
                pass

    def _happen(self) -> None:
        self._count += 1
        machine, now, number = self.machine, self.now, self._count
        match number % 8:
            case 0:
                self._join(f"n{number}")
            case 1:
                self._lose()
            case 2:
                self._take(machine.register(Profile(f"agent{number}", "h", 1), now))
            case 3:
                self._deliver(f"agent{number - 1}")
            case 4:
                self._read(f"agent{number - 2}")
            case 5:
                target = self._nodes[-1].id if self._nodes else "me"
                self._ask(SendMessage("me", target, "Query", "", b"1"))
            case 6:
                self._take(machine.write_map("m", f"k{number % 100}", b"" if number % 3 else b"1", now))
            case _:
                source = Address("10.1.1.1", 1 + number % 60_000)
                self._hear(Gossip(number), (Rumour(f"x{number}", 1, State.DEAD),), source)

    def _join(self, node_id: str) -> None:
        address = Address(f"10.0.{len(self._nodes) % 200}.{1 + self._count % 200}", 1 + self._count % 60_000)
        record = Record(node_id, 5, State.ALIVE, node_id, 6, (address,), "h", 1, (), (), 1)
        self._nodes.append(record)
        self._hear(Ping(1, tag_of(node_id), tag_of("me"), 0), (record,), address)

    def _lose(self) -> None:
        if len(self._nodes) > 8:
            gone = self._nodes.popleft()
            state = self._draw.choice((State.SUSPECT, State.DEAD, State.LEFT))
            self._hear(Gossip(7), (Rumour(gone.id, 5, state, self._nodes[0].id),), gone.addresses[0])

    def _deliver(self, recipient: str) -> None:
        message_id = uuid7(_START_MS + self._count, self._count)
        message = Message(message_id, "a", recipient, "Query", "", b"1", None, _START_MS)
        self._tickets += 1
        holder = self._nodes[-1].id if self._nodes else "gone"
        deliver = Deliver(holder, (Parcel(message, (recipient,), 60.0),))
        self._take(self.machine.receive_call(deliver, self.now, self._tickets)[1])

    def _read(self, recipient: str) -> None:
        replies = self._ask(Fetch(recipient, 10, "", 0.0))
        for reply in replies:
            if isinstance(reply, FetchReply) and reply.messages:
                self._ask(Acknowledge(recipient, tuple(message.id for message in reply.messages)))

    def _ask(self, request: Fetch | Acknowledge | SendMessage) -> list[object]:
        self._tickets += 1
        effects = self.machine.request(self._tickets, request, self.now)
        self._take(effects)
        return [effect.reply for effect in effects if isinstance(effect, Resolve)]

    def _hear(self, body: Gossip | Ping, items: tuple[Record | Rumour, ...], source: Address) -> None:
        self._take(self.machine.receive(Datagram(body, items), source, self.now))

    def _take(self, effects: list[Effect]) -> None:
        """Fail every call and watch at once."""
        waiting = collections.deque(effects)
        while waiting:
            effect = waiting.popleft()
            failed = CallFailed(self._draw.choice(tuple(Failure)), "")
            if isinstance(effect, Call):
                waiting += self.machine.receive_reply(effect.call_id, failed, self.now)
            elif isinstance(effect, Watch):
                waiting += self.machine.receive_watch(effect.watch_id, failed, self.now)


def measure_machine(minutes: int, seed: int = 0) -> list[Minute]:
    """Churn for this many virtual minutes, and count after each."""
    churn = Churn(seed)
    found: list[Minute] = []
    tracemalloc.start()
    try:
        for minute in range(1, minutes + 1):
            churn.run(60.0)
            found.append(look(minute))
    finally:
        tracemalloc.stop()
    return found
