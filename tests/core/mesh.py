"""Machines on a virtual network without faults but those that a test asks for: the smallest driver there can be."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram
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
from meshp2p.core.events import Event, LeadershipChanged, MapChanged
from meshp2p.core.machine import Machine
from meshp2p.core.requests import Request, SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import MeshError

EPOCH_MS = 1_700_000_000_000


class Mesh:
    """Nodes by id, one virtual clock, one seeded generator. ``delay`` is the one-way time of all that is sent."""

    def __init__(self, seed: int = 0, delay: float = 0.001, config: ProtocolConfig | None = None) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.delay = delay
        self.config = config or ProtocolConfig()
        self.nodes: dict[str, Machine] = {}
        self.events: dict[str, list[Event]] = {}
        self.changes: dict[str, list[MapChanged]] = {}
        self.resolved: dict[int, CallReply] = {}
        self.kept: dict[str, KeptState] = {}
        self.disks: dict[str, dict[tuple[Table, bytes], bytes]] = {}
        """What is kept of messages, by node id; a node that is not here has no disk."""
        self.full: dict[str, str] = {}
        """Why a node's disk takes nothing."""
        self.is_write_failing: Callable[[str, Store], bool] = lambda _key, _store: False
        """Whether a node's disk does not take these writes. Asked once for each."""
        self.storing: dict[str, int] = {}
        """How many writes of each node's messages are under way."""
        self._answering: dict[int, tuple[str, Call]] = {}
        self._tickets = 0
        self._calls = 0
        self.sent = 0
        self.log: list[tuple[float, str, Address, object]] = []
        """What was sent: when, by whom, to which address, and what. Replies are among it."""
        self.is_cut: Callable[[str, str], bool] = lambda _sender, _receiver: False
        """Whether nothing at all gets from one to the other."""
        self.is_dropped: Callable[[str, str, Datagram], bool] = lambda _sender, _receiver, _datagram: False
        """Whether this datagram is lost; calls are not."""
        self.is_call_lost: Callable[[str, str], bool] = lambda _caller, _called: False
        """Whether no call gets from one to the other; datagrams do."""
        self.loss = 0.0
        self.clock_ahead_ms: dict[str, int] = {}
        """By how much the wall clock of a node, by its id, is ahead."""
        self.clock_rates: dict[str, float] = {}
        """How fast the lease clock of a process runs, by its key: 1 if it is not here."""
        self._addresses: dict[Address, str] = {}
        self._address_of: dict[str, Address] = {}
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._wakes: dict[str, float] = {}

    # Nodes

    def add(
        self,
        node_id: str,
        *,
        join: str | None = None,
        capabilities: tuple[str, ...] = (),
        key: str = "",
        address: Address | None = None,
    ) -> Machine:
        """Start a node; ``join`` is a node whose address it is given. ``key`` tells two processes with one id apart."""
        key = key or node_id
        address = address or Address("10.0.0.1", 1000 + len(self._addresses))
        profile = Profile(node_id, f"{node_id}.example", address.port, capabilities)
        machine = Machine(
            profile,
            (address,),
            self.config,
            random.Random(self.random.random()),
            lambda: EPOCH_MS + int(self.now * 1000) + self.clock_ahead_ms.get(node_id, 0),
            self.kept.get(node_id),
            None
            if node_id not in self.disks
            else [(table, row, value) for (table, row), value in sorted(self.disks[node_id].items())],
            lease_clock=lambda: self.now * self.clock_rates.get(key, 1.0),
            age=self.now,
        )
        self.nodes[key] = machine
        self.events.setdefault(key, [])
        self._addresses[address] = key
        self._address_of[key] = address
        self._perform(key, machine.start(self.now))
        if join is not None:
            self.join(key, join)
        return machine

    def join(self, key: str, other: str) -> None:
        self._perform(key, self.nodes[key].offer("seed", (self.address(other),), None, self.now))

    def address(self, key: str) -> Address:
        return self._address_of[key]

    def key_at(self, address: Address) -> str:
        """Who is, or was, at this address; the address itself where nobody was."""
        return self._addresses.get(address, str(address))

    def move(self, key: str, address: Address, *, is_told: bool = True) -> None:
        """The node's host has another address; nobody is at the old one. ``is_told``: the node knows."""
        self._addresses.pop(self._address_of[key])
        self._addresses[address] = key
        self._address_of[key] = address
        if is_told:
            self._perform(key, self.nodes[key].readdress((address,), self.now))

    def kill(self, key: str) -> None:
        """The process is gone; its host answers that nobody listens."""
        del self.nodes[key]

    def pause(self, key: str) -> Machine:
        """The process is stopped: what is sent to it is lost, until it is resumed."""
        self._wakes.pop(key, None)
        return self.nodes.pop(key)

    def resume(self, key: str, machine: Machine) -> None:
        self.nodes[key] = machine
        self._perform(key, machine.handle_timeouts(self.now))

    def leave(self, key: str) -> None:
        self._perform(key, self.nodes[key].leave(self.now))

    def do(self, key: str, effects: list[Effect]) -> None:
        """Perform what a call of a test's own returned."""
        self._perform(key, effects)

    def ask(self, key: str, request: Request) -> int:
        """Ask a node for something; the ticket under which the answer will be in ``resolved``."""
        self._tickets += 1
        self._perform(key, self.nodes[key].request(self._tickets, request, self.now))
        return self._tickets

    def send(self, key: str, *requests: SendMessage) -> tuple[list[int], dict[int, MeshError]]:
        """Let a node accept messages together. Return the ticket of each, and the errors of those that are refused."""
        tickets = [self._tickets + count for count, _ in enumerate(requests, 1)]
        self._tickets += len(requests)
        refused, effects = self.nodes[key].send(dict(zip(tickets, requests, strict=True)), self.now)
        self._perform(key, effects)
        return tickets, refused

    def answer(self, key: str, request: Request, within: float = 10.0) -> CallReply:
        """Ask a node for something, and run until it is answered."""
        ticket = self.ask(key, request)
        self.run_until(lambda: ticket in self.resolved, within)
        return self.resolved[ticket]

    # Time

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, step = heapq.heappop(self._heap)
            step()
            self.after_step()
        self.now = end

    def run_until(self, condition: Callable[[], bool], within: float) -> float:
        """Run until the condition holds, which it must within so many virtual seconds; how long it took."""
        begin = self.now
        while not condition():
            if not self._heap or self._heap[0][0] > begin + within:
                raise AssertionError(f"not so within {within} s: {list(self.nodes.values())}")
            self.now, _, step = heapq.heappop(self._heap)
            step()
            self.after_step()
        return self.now - begin

    def after_step(self) -> None:
        """For laws that must hold at every moment."""

    def is_whole(self) -> bool:
        """All nodes agree on who is there and who leads."""
        machines = list(self.nodes.values())
        return (
            len({machine.view for machine in machines}) == 1
            and len({machine.leader_id for machine in machines}) == 1
            and machines[0].leader_id is not None
            and all(set(machine.records()) >= {other.id for other in machines} for machine in machines)
        )

    def leaders(self, key: str) -> list[str | None]:
        return [event.leader_id for event in self.events[key] if isinstance(event, LeadershipChanged)]

    # Effects

    def _at(self, when: float, step: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, step))

    def _perform(self, key: str, effects: list[Effect]) -> None:
        for effect in effects:
            perform(effect, _NodeEffects(self, key))
        machine = self.nodes.get(key)
        if machine is not None:
            self._wake(key, machine)

    def _persist(self, key: str, kept: KeptState) -> None:
        machine = self.nodes[key]

        def finish() -> None:
            if self.nodes.get(key) is not machine:
                return
            failure = self.full.get(key)
            if failure is None:
                self.kept[machine.id] = kept
            self._perform(key, machine.receive_persisted(failure, self.now))

        if key in self.disks:
            self._at(self.now + self.delay, finish)
        else:
            self.kept[machine.id] = kept

    def _store(self, key: str, store: Store) -> None:
        machine = self.nodes[key]

        def finish() -> None:
            if self.nodes.get(key) is not machine:
                return
            self.storing[key] -= 1
            failure = "it failed" if self.is_write_failing(key, store) else self.full.get(key)
            for write in () if failure else store.writes:
                if isinstance(write, Put):
                    self.disks[key][write.table, write.key] = write.value
                else:
                    self.disks[key].pop((write.table, write.key), None)
            self._perform(key, machine.receive_stored([store.number], failure, self.now))

        self.storing[key] = self.storing.get(key, 0) + 1
        self._at(self.now + self.delay, finish)

    def _wake(self, key: str, machine: Machine) -> None:
        deadline = machine.next_deadline()
        assert deadline >= self.now, f"{key}: a deadline in the past looks like a pause: {deadline} < {self.now}"
        if self._wakes.get(key) == deadline:
            return
        self._wakes[key] = deadline

        def step() -> None:
            if self._wakes.get(key) == deadline and self.nodes.get(key) is machine:
                self._wakes.pop(key)
                self._perform(key, machine.handle_timeouts(self.now))

        if deadline < float("inf"):
            self._at(max(self.now, deadline), step)

    def _passes(self, sender: str, receiver: str | None) -> bool:
        return receiver in self.nodes and not self.is_cut(sender, receiver or "")

    def _send(self, key: str, send: Send) -> None:
        target = self._addresses.get(send.address)
        if not self._passes(key, target) or (self.loss and self.random.random() < self.loss):
            return
        if self.is_dropped(key, target or "", send.datagram):
            return
        source = self.address(key)

        def arrive() -> None:
            if target in self.nodes:
                self._perform(target, self.nodes[target].receive(send.datagram, source, self.now))

        self._at(self.now + self.delay, arrive)

    def _call(self, key: str, call: Call) -> None:
        target = next((self._addresses[a] for a in call.addresses if self._addresses.get(a) in self.nodes), None)
        assert call.addresses, "a call to nowhere"
        if target is None:
            self._reply(key, call, CallFailed(Failure.REFUSED, "nobody listens"), self.now + self.delay)
        elif not self._passes(key, target) or self.is_call_lost(key, target):
            self._reply(key, call, CallFailed(Failure.TIMEOUT, "no answer"), self.now + call.timeout)
        else:

            def arrive() -> None:
                if target not in self.nodes:
                    self._reply(key, call, CallFailed(Failure.UNREACHABLE, "broken"), self.now + self.delay)
                    return
                if call.target:
                    self._pass_on(key, target, call)
                    return
                self._serve(key, target, call)

            self._at(self.now + self.delay, arrive)

    def _serve(self, key: str, target: str, call: Call) -> None:
        if target not in self.nodes:
            self._reply(key, call, CallFailed(Failure.UNREACHABLE, "broken"), self.now + self.delay)
            return
        self._calls -= 1  # agents' tickets count upwards
        ticket = self._calls
        self._answering[ticket] = (key, call)
        reply, effects = self.nodes[target].receive_call(call.request, self.now, ticket)
        self._perform(target, effects)

        def give_up() -> None:
            if self._answering.pop(ticket, None) is not None:
                self._reply(key, call, CallFailed(Failure.TIMEOUT, "no answer"), self.now)

        if reply is not None:
            del self._answering[ticket]
            self._reply(key, call, reply, self.now + self.delay, by=target)
        else:
            self._at(self.now + call.timeout, give_up)

    def _pass_on(self, key: str, relay: str, call: Call) -> None:
        """A relay opens a connection to the target of a call, and passes the call on."""
        route = self.nodes[relay].relay_route(call.target)
        addresses = () if route is None else route.addresses
        target = next((self._addresses[a] for a in addresses if self._addresses.get(a) in self.nodes), None)
        if target is None:
            self._reply(key, call, CallFailed(Failure.UNREACHABLE, "no path"), self.now + self.delay)
        elif not self._passes(relay, target) or self.is_call_lost(relay, target):
            self._reply(key, call, CallFailed(Failure.TIMEOUT, "no answer"), self.now + call.timeout)
        else:
            self._at(self.now + self.delay, lambda: self._serve(key, target, call))

    def _reply(self, key: str, call: Call, reply: CallReply | CallFailed, when: float, by: str = "") -> None:
        machine = self.nodes.get(key)

        def arrive() -> None:
            self.log.append((self.now, by or key, self.address(key), reply))
            if machine is not None and self.nodes.get(key) is machine:
                self._perform(key, machine.receive_reply(call.call_id, reply, self.now))

        self._at(when, arrive)


@dataclass(slots=True)
class _NodeEffects:
    """Performs the effects of one node of a mesh. Nobody watches."""

    mesh: Mesh
    key: str

    def perform_send(self, effect: Send) -> None:
        self.mesh.sent += 1
        self.mesh.log.append((self.mesh.now, self.key, effect.address, effect.datagram))
        self.mesh._send(self.key, effect)

    def perform_call(self, effect: Call) -> None:
        self.mesh.log.append((self.mesh.now, self.key, effect.addresses[0], effect.request))
        self.mesh._call(self.key, effect)

    def perform_emit(self, effect: Emit) -> None:
        event = effect.event
        if isinstance(event, MapChanged):
            self.mesh.changes.setdefault(self.key, []).append(event)
        else:
            self.mesh.events[self.key].append(event)

    def perform_resolve(self, effect: Resolve) -> None:
        mesh = self.mesh
        if effect.ticket in mesh._answering:
            caller, call = mesh._answering.pop(effect.ticket)
            mesh._reply(caller, call, effect.reply, mesh.now + mesh.delay, by=self.key)
        else:
            mesh.resolved[effect.ticket] = effect.reply

    def perform_store(self, effect: Store) -> None:
        self.mesh._store(self.key, effect)

    def perform_persist(self, effect: Persist) -> None:
        self.mesh._persist(self.key, KeptState(effect.incarnation, effect.epoch))

    def perform_watch(self, effect: Watch) -> None:
        pass

    def perform_unwatch(self, effect: Unwatch) -> None:
        pass
