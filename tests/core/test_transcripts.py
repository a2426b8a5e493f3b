"""What nodes say to one another in each exchange of the protocol, as text to read.

A scenario sets a mesh up; its transcript stands in ``transcripts/<name>.txt``: who says what to whom, when (in
milliseconds since the scenario began; a packet or a request when it is sent, a reply when it arrives), and what the
nodes tell their agents. Nodes are ``a``, ``b``, ..., and where not said otherwise all takes 1 ms one way.

``MESHP2P_WRITE_TRANSCRIPTS=1 pytest tests/core/test_transcripts.py`` writes them anew: read the difference before it is
kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meshp2p.core.calls import (
    DeregisterReply,
    Done,
    ForwardDeregister,
    ForwardHeartbeat,
    HeartbeatReply,
    Pong,
    Probe,
    Push,
    SyncReply,
    SyncRequest,
)
from meshp2p.core.datagrams import Ack, Body, Datagram, Gossip, Nack, Ping, PingRequest, Unreached
from meshp2p.core.effects import CallFailed
from meshp2p.core.events import (
    ContactLost,
    ContactRestored,
    Event,
    IdConflictLost,
    InstanceEvent,
    LeadershipChanged,
    PeerReachable,
    PeersCannotCall,
    PeerUnreachable,
    StorageFailed,
    StorageRecovered,
)
from meshp2p.core.record import Item, Rumour, State, tag_of
from meshp2p.core.requests import Heartbeat
from meshp2p.core.swim.hosting import Profile
from tests.core.mesh import EPOCH_MS, Mesh

DIRECTORY = Path(__file__).parent / "transcripts"


class Scribe(Mesh):
    """A mesh that can be read. Incarnations are written as their distance from the first (``i0``, ``i1``, ...),
    epochs as the order in which they came up (1, 2, ...)."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(seed)
        self.lines: list[str] = []
        self.epochs: dict[int, int] = {0: 0}
        self.since = 0.0

    def begin(self) -> None:
        """Write from now on."""
        self.since = self.now
        self.log.clear()
        for epoch in sorted({machine.leader_epoch for machine in self.nodes.values()}):
            self._epoch(epoch)
        self.marks = {key: len(events) for key, events in self.events.items()}

    def note(self, text: str) -> None:
        """What the scenario does, in its own words."""
        self.flush()
        self.lines.append(f"-- {text}")

    def flush(self) -> None:
        for when, key, address, what in self.log:
            arrow = f"{key} has  " if isinstance(what, CallFailed) else f"{key} -> {self.key_at(address)}  "
            self.lines.append(f"{self._ms(when):>6}  {arrow}{self._say(what)}")
        self.log.clear()
        for key in sorted(self.events):
            for event in self.events[key][self.marks.get(key, 0) :]:
                self.lines.append(f"{'':>6}  {key} tells its agent: {self._event(event)}")
            self.marks[key] = len(self.events[key])

    # How things are written

    def _ms(self, when: float) -> str:
        return f"{(when - self.since) * 1000:.0f}"

    def _epoch(self, epoch: int) -> int:
        return self.epochs.setdefault(epoch, len(self.epochs))

    def _name(self, tag: int) -> str:
        names = {tag_of(machine.id): machine.id for machine in self.nodes.values()}
        names |= {tag_of(event_id): event_id for event_id in "abcdefx"}
        return names.get(tag, "?")

    def _say(self, what: object) -> str:
        match what:
            case Datagram(body=body, items=items):
                said = self._body(body)
                return said + (f" + {self._items(items)}" if items else "")
            case Probe(target=target):
                return f"TCP: are you {self._name(target)}?"
            case Pong(id=instance_id):
                return f"(the reply: I am {instance_id})"
            case SyncRequest(sender=sender):
                return "TCP: sync?" if sender is None else f"TCP: sync? I am {self._item(sender)}"
            case SyncReply(sender=sender, is_settled=is_settled, items=items, differing=differing):
                settled = "settled" if is_settled else "not settled"
                held = f"in {len(differing)} buckets: {self._items(items)}"
                return f"(the reply: I am {self._item(sender)}, {settled}; {held})"
            case Push(items=items):
                return f"TCP: take {self._items(items)}"
            case Done():
                return "(the reply: done)"
            case ForwardHeartbeat(id=instance_id, status=status):
                return f"TCP: heartbeat of {instance_id}, {status}"
            case HeartbeatReply(is_acknowledged=is_acknowledged, should_sync=should_sync):
                counted = "acknowledged" if is_acknowledged else "not acknowledged"
                return f"(the reply: {counted}{', look again' if should_sync else ''})"
            case ForwardDeregister(id=instance_id):
                return f"TCP: deregister {instance_id}"
            case DeregisterReply(was_found=was_found):
                return f"(the reply: {'deregistered' if was_found else 'nobody of that id'})"
            case CallFailed(failure=failure):
                return f"(no reply: {failure})"
            case _:
                raise AssertionError(what)

    def _body(self, body: Body) -> str:
        match body:
            case Ping(sequence=sequence, target=target):
                return f"ping {sequence}: {self._name(target)}, are you there?"
            case Ack(sequence=sequence, sender=sender):
                return f"ack {sequence} of {self._name(sender)}"
            case Nack(sequence=sequence):
                return f"nack {sequence}"
            case PingRequest(sequence=sequence, target=target):
                return f"ping_req {sequence}: ping {self._name(target)} for me"
            case Gossip():
                return "gossip"
            case Unreached():
                return "my calls do not reach you"

    def _items(self, items: tuple[Item, ...]) -> str:
        return "[" + ", ".join(self._item(item) for item in items) + "]"

    def _item(self, item: Item) -> str:
        incarnation = f"i{item.incarnation - EPOCH_MS}"
        if isinstance(item, Rumour):
            return f"{item.id} {incarnation} {item.state.name}{f' says {item.by}' if item.by else ''}"
        epoch = f" epoch {self._epoch(item.epoch)}" if item.epoch else ""
        home = "" if item.is_node else f" at {item.home}"
        suspect = " SUSPECT" if item.state is State.SUSPECT else ""
        status = f" {item.status}" if item.status else ""
        return f"{item.id} {incarnation}{home}{epoch}{status}{suspect}"

    def _event(self, event: Event) -> str:
        match event:
            case LeadershipChanged(leader_id=leader_id, epoch=epoch):
                return f"LeadershipChanged {leader_id} epoch {self._epoch(epoch)}"
            case IdConflictLost(id=instance_id):
                return f"IdConflictLost {instance_id}"
            case StorageFailed(reason=reason):
                return f"StorageFailed {reason}"
            case StorageRecovered():
                return "StorageRecovered"
            case PeerUnreachable() | PeerReachable() | PeersCannotCall():
                return f"{type(event).__name__} {event.id}"
            case ContactLost() | ContactRestored():
                return type(event).__name__
            case InstanceEvent(record=record):
                return f"{type(event).__name__} {record.id}"


def a_mesh(count: int) -> Scribe:
    """So many nodes, one mesh, at peace."""
    mesh = Scribe()
    for number in range(count):
        mesh.add("abcdef"[number], join="a" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    mesh.run(10)
    mesh.begin()
    return mesh


def probing(mesh: Scribe, key: str) -> None:
    """Let time pass until this node pinged, and no further."""

    def has_pinged() -> bool:
        return any(
            who == key and isinstance(what, Datagram) and isinstance(what.body, Ping) for _, who, _, what in mesh.log
        )

    while not has_pinged():
        mesh.begin()
        mesh.run(0.001)


def join() -> Scribe:
    mesh = a_mesh(2)
    mesh.note("c starts and is given the address of b")
    mesh.add("c", join="b")
    mesh.run(0.05)
    return mesh


def probe_and_ack() -> Scribe:
    mesh = a_mesh(2)
    probing(mesh, "a")
    mesh.lines.append("-- a's period begins")
    mesh.run(0.01)
    return mesh


def indirect_probe_with_nack() -> Scribe:
    mesh = a_mesh(4)
    mesh.lines.append("-- d is cut off, and is probed by who comes to it first")
    mesh.is_cut = lambda sender, receiver: "d" in (sender, receiver)
    while not any(getattr(getattr(what, "body", None), "target", 0) == tag_of("d") for _, _, _, what in mesh.log):
        mesh.begin()
        mesh.run(0.001)
    mesh.run(0.95)
    return mesh


def suspicion_and_refutation() -> Scribe:
    mesh = a_mesh(3)
    mesh.note("c cannot be reached, until a suspects it")
    mesh.is_cut = lambda sender, receiver: "c" in (sender, receiver)
    mesh.run_until(lambda: mesh.nodes["a"].records()["c"].state is State.SUSPECT, within=9)
    mesh.begin()
    mesh.note("now it can")
    mesh.is_cut = lambda _sender, _receiver: False
    mesh.run_until(lambda: all(each.records()["c"].state is State.ALIVE for each in mesh.nodes.values()), within=9)
    return mesh


def leave() -> Scribe:
    mesh = a_mesh(3)
    mesh.note("a, the leader, leaves")
    mesh.leave("a")
    mesh.run(0.01)
    return mesh


def sync_of_a_difference() -> Scribe:
    mesh = a_mesh(2)
    mesh.note("an agent registers as x at a, and all packets of it are lost")
    mesh.is_dropped = lambda _sender, _receiver, datagram: any(item.id == "x" for item in datagram.items)
    mesh.do("a", mesh.nodes["a"].register(Profile("x", "h", 1), mesh.now))
    mesh.run_until(lambda: "x" in mesh.nodes["b"].records(), within=9)
    mesh.run(0.01)
    return mesh


def forward_of_a_heartbeat() -> Scribe:
    mesh = a_mesh(3)
    mesh.do("a", mesh.nodes["a"].register(Profile("x", "h", 1), mesh.now))
    mesh.run(3)
    mesh.begin()
    mesh.note("the agent x, whose home is a, sends its heartbeat to c")
    mesh.do("c", mesh.nodes["c"].request(1, Heartbeat("x", "busy", ""), mesh.now))
    mesh.run(0.004)
    mesh.kill("a")
    mesh.note("a is killed, and x sends another heartbeat to c")
    mesh.do("c", mesh.nodes["c"].request(2, Heartbeat("x", "busy", ""), mesh.now))
    mesh.run(0.01)
    return mesh


def id_conflict() -> Scribe:
    mesh = a_mesh(2)
    mesh.note("another process starts under the id b and is given the address of a")
    mesh.add("b", key="b'", join="a")
    mesh.run(0.05)
    return mesh


SCENARIOS: list[Callable[[], Scribe]] = [
    join,
    probe_and_ack,
    indirect_probe_with_nack,
    suspicion_and_refutation,
    leave,
    sync_of_a_difference,
    forward_of_a_heartbeat,
    id_conflict,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_exchange_is_the_one_that_was_written_down(scenario: Callable[[], Scribe]) -> None:
    mesh = scenario()
    mesh.flush()
    text = "\n".join(mesh.lines) + "\n"
    path = DIRECTORY / f"{scenario.__name__}.txt"
    if os.environ.get("MESHP2P_WRITE_TRANSCRIPTS"):
        path.write_text(text)
    assert path.read_text() == text


def test_there_is_no_transcript_without_its_scenario() -> None:
    assert {path.stem for path in DIRECTORY.glob("*.txt")} == {scenario.__name__ for scenario in SCENARIOS}
