"""Drives a machine with real time, real packets and real calls.

One task receives packets and runs timers. Other tasks of the same trio thread call the machine and pass its effects to
:meth:`Driver.perform`. Effects are performed in order. The driver never waits for the disk: the machine is told when
something was stored, or could not be. Stores that wait are written together.
"""

from __future__ import annotations

import collections
import functools
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import trio

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest, DeliverReply, Probe
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.directory.relay_selector import CallRoute
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
from meshp2p.core.events import Event, MapChanged
from meshp2p.core.machine import Machine
from meshp2p.core.record import Record, tag_of
from meshp2p.core.requests import Request, SendMessage
from meshp2p.errors import InternalError, Refusal, RemoteProtocolError, StoreError
from meshp2p.net.datagram_reader import DatagramReader
from meshp2p.net.driver_parts import Caller, Datagrams, DriverStats, PendingAnswer
from meshp2p.net.security import MachineGuard, Security, renew_keys
from meshp2p.net.store_writer import StoreWriter, WriteBatches
from meshp2p.wire.codec import Codec

__all__ = ["Driver"]

EARLY: Final = 0.1
SLACK: Final = 1.0
"""By how many seconds a sleep with slack may be shorter or longer. Chosen, not measured."""

_log = logging.getLogger("meshp2p.net")


class Driver:
    """Owns the machine of one node.

    ``emit`` gets each event, ``persist`` stores the node's own numbers, and ``store`` makes all writes of a batch or
    none. If they raise :class:`~meshp2p.errors.StoreError`, the machine is told. Without them the machine must have no
    ``kept_messages``.
    """

    def __init__(
        self,
        machine: Machine,
        codec: Codec,
        datagrams: Datagrams,
        caller: Caller,
        emit: Callable[[Event | MapChanged], None],
        persist: Callable[[KeptState], Awaitable[None]] | None,
        store: WriteBatches | None = None,
        security: Security | None = None,
    ) -> None:
        self.machine = machine
        self.stats: DriverStats = DriverStats()
        self.count_refused: Callable[[Refusal], None] = self.stats.count_refused
        self.call: Callable[[Call], Awaitable[CallReply | CallFailed]] = caller.call
        self.relay_route: Callable[[str], CallRoute | None] = machine.relay_route
        self._codec = codec
        self._datagrams = datagrams
        self._caller = caller
        self._emit = emit
        self._persist = persist
        self._stores = None if store is None else StoreWriter(store, self._conclude_stores, self._send)
        self._guard: MachineGuard | None = None
        if security is not None:
            self._guard = security.guard(machine, codec, self._note_stranger, self.stats.count_refused)
        self.reader: DatagramReader = DatagramReader(datagrams, codec, self._guard, self.stats, self._receive)
        self._nursery: trio.Nursery | None = None
        self._sleep = trio.CancelScope()
        self._backlog: collections.deque[Effect] = collections.deque()
        self._is_performing = False
        self._tickets = self._resolved = 0
        self._conditions: dict[trio.Event, Callable[[], bool]] = {}
        self._sleepers: dict[trio.Event, float] = {}
        self._watches: dict[int, trio.CancelScope] = {}
        self._waiting: dict[int, PendingAnswer] = {}
        self._sending: dict[int, SendMessage] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the machine and drive it until cancelled. What is to be stored by then is still written, for at most
        ``STORE_SECONDS_MAX``."""
        async with trio.open_nursery() as self._nursery:
            if self._stores is not None:
                self._nursery.start_soon(self._stores.run)
            if self._guard is not None:
                self._nursery.start_soon(renew_keys, self._guard, self.renew_keys)
            try:
                self.perform(self.machine.start(trio.current_time()))
                task_status.started()
                await self._drive()
            finally:
                self._nursery = None  # a node that leaves after a failure still sends packets, but makes no calls
                if self._stores is not None:
                    self._stores.end()

    async def _drive(self) -> None:
        while True:
            await self.reader.rest()
            asleep_at = trio.current_time()
            with trio.CancelScope(deadline=self.machine.next_deadline()) as self._sleep:
                await self._datagrams.wait_readable()
            self.reader.read_waiting()
            now, due = trio.current_time(), self.machine.next_deadline()
            for event, wakes_at in self._sleepers.items():
                if now >= wakes_at:
                    event.set()
            if now >= due and self.reader.has_read_until(due):
                self.stats.count_delay(now - max(due, asleep_at))
                self.perform(self.machine.handle_timeouts(now))

    def perform(self, effects: list[Effect]) -> None:
        """Perform these effects, in their order, and then those that come up meanwhile."""
        self._backlog += effects
        if self._is_performing:
            return
        self._is_performing = True
        try:
            while self._backlog:
                perform(self._backlog.popleft(), self)
        finally:
            self._is_performing = False
        if (deadline := self.machine.next_deadline()) < self._sleep.deadline:
            self._sleep.deadline = deadline
        for event, holds in self._conditions.items():
            if holds():
                event.set()

    def _receive(self, datagram: Datagram, source: Address, now: float) -> None:
        self.perform(self.machine.receive(datagram, source, now))

    async def catch_up(self) -> None:
        """Process datagrams that have arrived and were not read yet, up to a limit.

        Another node sends its gossip before it answers its caller, who then finds here the effect of that call.
        """
        if not self.reader.read_waiting():  # the limit may be due to a moment in which this process did not run
            await self.reader.rest()
            self.reader.read_waiting()

    async def request(self, request: Request) -> CallReply:
        """Make a request that another node may have to answer. Raises the errors of the machine. Cancel-safe: then it
        is unknown whether the request took effect."""
        answer = self._expect_answer()
        try:
            if isinstance(request, SendMessage) and self._stores is not None and self._stores.schedule():
                self._sending[answer.ticket] = request  # until the next transaction
            else:
                self.perform(self.machine.request(answer.ticket, request, trio.current_time()))
            return await answer.wait()
        finally:
            self._give_back(answer)

    def _send(self) -> None:
        """Let the machine accept the messages that wait, so that they are written together."""
        if self._sending:
            sending, self._sending = self._sending, {}
            refused, effects = self.machine.send(sending, trio.current_time())
            for ticket, error in refused.items():
                self._waiting[ticket].refuse(error)
            self.perform(effects)

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Return when ``holds()`` is true. It is called after each step of the machine."""
        while not holds():
            event = trio.Event()
            self._conditions[event] = holds
            try:
                await event.wait()
            finally:
                del self._conditions[event]

    async def sleep_with_slack(self, seconds: float) -> None:
        """Sleep for about this long, and wake up together with the driver if it does then. Waking an idle process
        costs more than most periodic tasks."""
        event, now = trio.Event(), trio.current_time()
        self._sleepers[event] = now + seconds - EARLY
        try:
            with trio.move_on_at(now + seconds + SLACK):
                await event.wait()
        finally:
            del self._sleepers[event]

    def answer_call(self, body: bytes, sender: bytes = b"") -> tuple[bytes | Awaitable[bytes], bool]:
        """Return the frame that answers another node's call, or an awaitable of it if the machine does not know it yet,
        and whether the call answered a request of the agent. In a secured mesh ``sender`` is the machine at the other
        end of the connection.

        Raises :class:`RemoteProtocolError` if it is no call of this mesh. Cancel-safe: a late answer is dropped.
        """
        return self._answer_request(self._read_request(body, sender))

    def _read_request(self, body: bytes, sender: bytes) -> CallRequest:
        try:
            request = self._codec.decode_request_untrusted(body)
            return request if self._guard is None else self._guard.check_request(request, sender, trio.current_time())
        except RemoteProtocolError as error:
            self.stats.count_refused(error.reason)
            raise

    def _answer_request(self, request: CallRequest) -> tuple[bytes | Awaitable[bytes], bool]:
        before, answer = self._resolved, self._expect_answer()
        reply, effects = self.machine.receive_call(request, trio.current_time(), answer.ticket)
        self.perform(effects)
        has_woken_agent = self._resolved - before > (answer.reply is not None)
        reply = answer.reply or reply
        if reply is None:
            return self._await_answer(answer), has_woken_agent
        self._give_back(answer)
        self.stats.calls_answered += 1
        return self._codec.encode(reply), has_woken_agent

    async def _await_answer(self, answer: PendingAnswer) -> bytes:
        try:
            reply = await answer.wait()
        finally:
            self._give_back(answer)
        self.stats.calls_answered += 1
        return self._codec.encode(reply)

    async def answer_watch(self, body: bytes) -> bytes:
        """Return the frame that opens a watch connection. Raises :class:`RemoteProtocolError` if the request is
        another."""
        request = self._read_request(body, b"")
        if not isinstance(request, Probe):
            raise RemoteProtocolError(Refusal.BAD_VALUE, "a watch begins with a Probe")
        reply, _ = self._answer_request(request)
        return reply if isinstance(reply, bytes) else await reply

    async def wait_until_left(self) -> None:
        """Return when this node has left the mesh."""
        await self.wait_until(lambda: self.machine.has_left)

    def routes(self, node_id: str) -> list[CallRoute]:
        """Return the routes to a node, the preferred one first; empty if it is not listed."""
        return self.machine.routes(node_id, trio.current_time())

    def first_route(self, node_id: str) -> CallRoute | None:
        """Return the first of :meth:`routes`; None if the node is not listed."""
        return self.machine.first_route(node_id, trio.current_time())

    def note_route(self, node_id: str, via: str, failure: str) -> None:
        """Note that a query was answered on this route; with a ``failure``, that all routes failed."""
        self.perform(self.machine.note_route(node_id, via, failure, trio.current_time()))

    def knock(self, address: Address, node_id: str) -> None:
        """Send a node a datagram without content, so that it can see whether datagrams arrive."""
        self.perform([Send(address, Datagram(Gossip(tag_of(self.machine.id))), tag_of(node_id))])

    def check_reply(self, reply: CallReply, replier: str) -> CallReply:
        """See :class:`~meshp2p.net.call_server.PeerService`."""
        return reply if self._guard is None else self._guard.check_reply(reply, replier, trio.current_time())

    def is_usurper(self, node_id: str, machine: bytes) -> bool:
        """See :class:`~meshp2p.net.call_server.PeerService`."""
        return self._guard is not None and self._guard.is_usurper(node_id, machine)

    def renew_keys(self) -> None:
        """Use a new key for datagrams from now on, in a secured mesh."""
        if self._guard is not None:
            self._guard.renew_keys()
            self.perform(self.machine.republish(trio.current_time()))

    def _note_stranger(self, record: Record) -> None:
        """Dial a node whose machine is not known here. It shows its certificates then."""
        self.perform(self.machine.offer("record", record.addresses, record.id, trio.current_time()))

    def expel(self, agents: Collection[tuple[bytes, str]]) -> None:
        """Treat these instances, each a machine and an id, and what they host, as departed for ever. Remove what
        callers registered here whose machines were revoked."""
        if self._guard is not None:
            gone = {*agents, *self._guard.revoked_agents()}
            self.perform(self.machine.expel(gone, trio.current_time(), self._guard.is_trusted_caller))

    def _expect_answer(self) -> PendingAnswer:
        """Return an answer that will come, with a new ticket."""
        self._tickets += 1
        answer = self._waiting[self._tickets] = PendingAnswer(self._tickets)
        return answer

    def _give_back(self, answer: PendingAnswer) -> None:
        """Give back a ticket. If it has no answer yet, tell the machine that none is awaited any more."""
        self._sending.pop(answer.ticket, None)
        if self._waiting.pop(answer.ticket).reply is None:
            self.machine.abandon(answer.ticket)

    def perform_send(self, effect: Send) -> None:
        if self._guard is None:
            data = self._codec.encode(effect.datagram)
        elif (sealed := self._guard.seal(effect.datagram, effect.to)) is not None:
            data = sealed
        else:
            self.stats.datagrams_unsealed += 1
            return
        self.stats.datagrams_sent += 1
        self.stats.bytes_sent += len(data)
        self._datagrams.send_nowait(data, effect.address)

    def perform_call(self, effect: Call) -> None:
        if self._nursery is not None:
            self.stats.calls_made += 1
            if not self._caller.begin(effect, functools.partial(self._conclude_call, effect.call_id)):
                self._nursery.start_soon(self._call, effect.call_id, effect)

    def perform_watch(self, effect: Watch) -> None:
        scope = self._watches[effect.watch_id] = trio.CancelScope()
        self._start(self._watch, effect, scope)

    def perform_unwatch(self, effect: Unwatch) -> None:
        self._watches.pop(effect.watch_id, trio.CancelScope()).cancel()

    def perform_persist(self, effect: Persist) -> None:
        if self._persist is not None:
            self._start(self._keep, self._persist, KeptState(effect.incarnation, effect.epoch))

    def perform_store(self, effect: Store) -> None:
        if self._stores is None:
            raise InternalError("the machine stores messages, and there is no disk")
        self._stores.put(effect)

    def perform_emit(self, effect: Emit) -> None:
        self._emit(effect.event)

    def perform_resolve(self, effect: Resolve) -> None:
        waiting = self._waiting.get(effect.ticket)
        if waiting is not None:
            self._resolved += 1
            waiting.set(effect.reply)

    def _start(self, function: Callable[..., Awaitable[None]], *arguments: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(function, *arguments)

    def _conclude_call(self, call_id: int, outcome: CallReply | CallFailed | Call) -> None:
        if isinstance(outcome, Call | CallFailed | DeliverReply):  # more messages may come until the next delivery
            self._start(self._call, call_id, outcome)
        elif self._nursery is not None:
            self._receive_reply(call_id, outcome)

    async def _call(self, call_id: int, outcome: CallReply | CallFailed | Call) -> None:
        if isinstance(outcome, Call):
            outcome = await self._caller.call(outcome)
        if isinstance(outcome, CallFailed):
            self.stats.failures[outcome.failure] += 1
            _log.debug("a call failed: %s", outcome.reason)
            await self.reader.read_all()  # a node that left said so before it refused the call
        self._receive_reply(call_id, outcome)

    def _receive_reply(self, call_id: int, reply: CallReply | CallFailed) -> None:
        self.stats.calls_succeeded += not isinstance(reply, CallFailed)
        self.perform(self.machine.receive_reply(call_id, reply, trio.current_time()))

    async def _watch(self, watch: Watch, scope: trio.CancelScope) -> None:
        def tell(outcome: WatchOpened | CallFailed) -> None:
            if not scope.cancel_called:
                self.perform(self.machine.receive_watch(watch.watch_id, outcome, trio.current_time()))

        with scope:
            failed = await self._caller.watch(watch, tell)
            self._watches.pop(watch.watch_id, None)
            await self.reader.read_all()  # a node that left said so before it closed its connections
            tell(failed)

    async def _keep(self, persist: Callable[[KeptState], Awaitable[None]], kept: KeptState) -> None:
        failure: str | None = None
        try:
            await persist(kept)
        except StoreError as error:
            failure = str(error)
        self.perform(self.machine.receive_persisted(failure, trio.current_time()))

    def _conclude_stores(self, stores: list[Store], failure: str | None) -> None:
        """Tell the machine, for each of these stores, that it was written in one transaction, or why it was not."""
        self.stats.stores_failed += failure is not None
        self.stats.transactions += failure is None
        self.stats.stores += len(stores)
        self.perform(self.machine.receive_stored(tuple(store.number for store in stores), failure, trio.current_time()))
