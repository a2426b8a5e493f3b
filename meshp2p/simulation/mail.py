"""Agents that exchange messages: they send at some node, read at their own, and acknowledge most messages."""

from __future__ import annotations

import random
from collections.abc import Callable

from meshp2p.core.calls import CallReply, Done, FetchReply, Refused, SendReply, StatusReply, Why
from meshp2p.core.message import IfAbsent, Message
from meshp2p.core.requests import Acknowledge, AskStatus, Fetch, Request, SendMessage
from meshp2p.errors import LimitExceeded, LocalProtocolError, MailboxFull, StoreFull
from meshp2p.simulation.agents import Agents
from meshp2p.simulation.host import Host
from meshp2p.simulation.letter import Letter, MailboxRead
from meshp2p.simulation.oracle import Oracle
from meshp2p.simulation.schedule import MailPlan
from meshp2p.simulation.watcher import Watcher

__all__ = ["FIRST_TICKET", "READ_EVERY", "READ_MAX", "SimulatedMail"]

FIRST_TICKET = 1 << 40
"""The first ticket, far above the tickets of registrations."""

READ_EVERY = 1.0
"""Seconds between two reads by one recipient. Chosen, not measured."""

READ_MAX = 50
ON_MAX = 8
"""After this many reads, a recipient that reads on begins again with the oldest message, to see those that it did not
acknowledge."""

ACKNOWLEDGED_SHARE = 0.8
"""The share of messages that an agent acknowledges. It must see the others again. Chosen, not measured."""


AGAIN_SHARE = 0.3
"""The share of acknowledgements that are sent twice. Chosen, not measured."""

ASKED_BEHIND = 5
"""After each accepted message, the agent asks for the status of the message that was accepted so many before it."""

_NAMES = {Why.STORE_FULL: StoreFull.__name__, Why.MAILBOX_FULL: MailboxFull.__name__}


class SimulatedMail:
    """All messages of a run."""

    def __init__(
        self,
        plans: tuple[MailPlan, ...],
        reads_on: tuple[str, ...],
        oracle: Oracle,
        agents: Agents,
        seed: int,
        watcher: Watcher[Host],
    ) -> None:
        self._oracle = oracle
        self._agents = agents
        self._watcher = watcher
        self._draw = random.Random(f"{seed}/mail")
        self._again_draw = random.Random(f"{seed}/acknowledged again")
        self._accepted: dict[tuple[str, int], list[Letter]] = {}
        """What each process accepted."""
        self._size_draw = random.Random(f"{seed}/payloads")
        self._tickets: dict[int, Callable[[CallReply], None]] = {}
        self._count = FIRST_TICKET
        self._sent = 0
        self._readings = 0
        self._reads_on = dict.fromkeys(reads_on, ("", 0))
        """The last message that each reads-on recipient read, and how many times it read."""
        engine = oracle.engine
        for plan in plans:
            engine.at(plan.at, self._send, plan)
        if plans:
            recipients = [*oracle.hosts, *agents.agents]
            for recipient in recipients:
                engine.at(self._draw.random() * READ_EVERY, self._read, recipient)

    def _ask(self, host: Host, request: Request, answered: Callable[[CallReply], None]) -> LocalProtocolError | None:
        """Why it was refused at once; None where it was not."""
        self._count += 1
        self._tickets[self._count] = answered
        refusal = host.ask(self._count, request)
        if refusal is not None:
            self._tickets.pop(self._count, None)
        return refusal

    def resolved(self, ticket: int, reply: CallReply) -> None:
        """A node answered."""
        answered = self._tickets.pop(ticket, None)
        if answered is not None:
            answered(reply)

    # Sending

    def _send(self, plan: MailPlan) -> None:
        engine = self._oracle.engine
        if engine.now >= plan.until:
            return
        engine.at(engine.now + plan.every, self._send, plan)
        for key in plan.nodes:
            host = self._oracle.hosts[key]
            if host.machine is not None and host.machine.is_announced and not host.is_leaving:
                self._send_at(host, plan)
                return

    def _send_at(self, host: Host, plan: MailPlan) -> None:
        self._sent += 1
        payload = self._payload(plan)
        life = host.life

        def answered(reply: CallReply) -> None:
            if isinstance(reply, SendReply):
                letter = Letter(
                    reply.message_id, plan.source, host.key, life, self._oracle.engine.now, payload, reply.delivered_to
                )
                self._oracle.letters[letter.id] = letter
                self._watcher.accepted(host, letter)
                self._ask_status(host, life, letter)
            elif isinstance(reply, Refused):
                self._watcher.refused(host, plan.target, len(payload), _NAMES.get(reply.why, ""))

        if_absent: IfAbsent = "queue" if plan.waits else "refuse"
        message = SendMessage(plan.source, plan.target or None, "Notification", "", payload, if_absent=if_absent)
        refusal = self._ask(host, message, answered)
        if isinstance(refusal, MailboxFull | LimitExceeded):
            self._watcher.refused(host, plan.target, len(payload), type(refusal).__name__)

    def _ask_status(self, host: Host, life: int, letter: Letter) -> None:
        """Ask the node that accepted this message about one that it accepted before."""
        accepted = self._accepted.setdefault((host.key, life), [])
        accepted.append(letter)
        if len(accepted) <= ASKED_BEHIND:
            return
        earlier = accepted[-1 - ASKED_BEHIND]

        def answered(reply: CallReply) -> None:
            if isinstance(reply, StatusReply):
                self._watcher.status_shown(host, earlier, reply.receipts)

        self._ask(host, AskStatus(earlier.id), answered)

    def _payload(self, plan: MailPlan) -> bytes:
        """Return a unique payload, with a size whose logarithm is evenly distributed."""
        text = str(self._sent)
        size = int(plan.bytes_max ** self._size_draw.random()) if plan.bytes_max else 0
        return f'"{text}{"." * (size - len(text) - 2)}"'.encode() if size > len(text) + 2 else text.encode()

    # Reading

    def _read(self, recipient: str) -> None:
        engine = self._oracle.engine
        engine.at(engine.now + READ_EVERY, self._read, recipient)
        host = self._host_of(recipient)
        if host is None or host.machine is None or host.is_leaving:
            return
        asked_at = engine.now
        wait = 5.0 if self._draw.random() < 0.1 else 0.0

        after = self._place_of(recipient)
        self._readings += 1
        reading = MailboxRead(self._readings, recipient, host.key, host.life, asked_at, after, wait)

        def answered(reply: CallReply) -> None:
            if not isinstance(reply, FetchReply):
                return
            self._watcher.was_answered(host, reading, reply.messages)
            if reply.messages:
                if recipient in self._reads_on:
                    self._reads_on[recipient] = (reply.messages[-1].id, self._reads_on[recipient][1])
                self._watcher.was_read(recipient, reply.messages, asked_at)
                self._acknowledge(recipient, host, reply.messages)

        self._watcher.reads(host, reading)
        self._ask(host, Fetch(recipient, READ_MAX, after, wait), answered)

    def _place_of(self, recipient: str) -> str:
        """Return the message after which the recipient reads now."""
        if recipient not in self._reads_on:
            return ""
        place, times = self._reads_on[recipient]
        self._reads_on[recipient] = (place, times + 1)
        return place if times % ON_MAX else ""

    def _acknowledge(self, recipient: str, host: Host, messages: tuple[Message, ...]) -> None:
        chosen = tuple(message.id for message in messages if self._draw.random() < ACKNOWLEDGED_SHARE)
        if not chosen:
            return
        if recipient not in self._oracle.hosts and self._draw.random() < 0.2:
            host = self._draw.choice(self._oracle.live or [host])

        def answered(reply: CallReply) -> None:
            self._watcher.was_acknowledged(recipient, chosen, reply)
            if isinstance(reply, Done):
                for message_id in chosen:
                    self._oracle.acknowledged.setdefault((recipient, message_id), self._oracle.engine.now)

        for _ in range(1 + (self._again_draw.random() < AGAIN_SHARE)):
            self._watcher.acknowledges(recipient, chosen)
            if self._ask(host, Acknowledge(recipient, chosen), answered) is not None:
                self._watcher.was_acknowledged(recipient, chosen, None)

    def _host_of(self, recipient: str) -> Host | None:
        """Return the host where the recipient reads: its own node, or the one that it uses now."""
        agent = self._agents.agents.get(recipient)
        if agent is None:
            return self._oracle.hosts.get(recipient)
        if agent.has_ended or not agent.is_registered:
            return None
        return self._oracle.hosts.get(agent.plan.nodes[agent.turn % len(agent.plan.nodes)])
