"""What several tests are made of: records, claims, machines, and the strategies that draw them."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import strategies as st

from meshp2p.core.address import Address
from meshp2p.core.calls import CallRequest
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Ack, Datagram, Gossip, Ping
from meshp2p.core.directory.keeping import KeptState
from meshp2p.core.effects import Call, Effect, Emit, Send
from meshp2p.core.events import Event, MapChanged
from meshp2p.core.machine import Machine
from meshp2p.core.record import Item, Record, Rumour, State, tag_of
from meshp2p.core.swim.hosting import Profile

HERE = Address("10.0.0.9", 9)
ELSEWHERE = Address("10.0.0.8", 8)
NOW_MS = 1_700_000_000_000


def a_record(
    instance_id: str = "a",
    incarnation: int = 1,
    *,
    state: State = State.ALIVE,
    home: str = "",
    boot: int = 1,
    epoch: int = 0,
    status: str = "",
    metrics: str = "",
    addresses: tuple[Address, ...] | None = None,
) -> Record:
    """A node's record, or where ``home`` is given that of an instance which it hosts."""
    if addresses is None:
        addresses = () if home else (Address("10.0.0.1", 1 + tag_of(instance_id) % 60_000),)
    return Record(
        id=instance_id,
        incarnation=incarnation,
        state=state,
        home=home or instance_id,
        boot=boot,
        addresses=addresses,
        hostname=f"{instance_id}.example",
        port=1,
        capabilities=(),
        profiles=(),
        created_at=0,
        epoch=epoch,
        status=status,
        metrics=metrics,
    )


def a_machine(
    node_id: str = "me",
    config: ProtocolConfig | None = None,
    kept: KeptState | None = None,
    *,
    addresses: tuple[Address, ...] = (HERE,),
    is_announced: bool = True,
) -> Machine:
    """A machine that has been started at time 0 and, where it is to be announced, has looked around in vain."""
    machine = Machine(
        Profile(node_id, "here.example", 9),
        addresses,
        config or ProtocolConfig(),
        random.Random(1),
        lambda: NOW_MS,
        kept,
        lease_clock=lambda: 0.0,
    )
    machine.start(0.0)
    if is_announced:
        run_until(machine, machine.config.settle_timeout)
    return machine


def run_until(machine: Machine, now: float) -> list[Effect]:
    """Let time pass for one machine that hears nobody."""
    effects: list[Effect] = []
    while machine.next_deadline() <= now:
        effects += machine.handle_timeouts(machine.next_deadline())
    return effects


def hear(machine: Machine, items: Iterable[Item], now: float = 1.0, *, sender: str = "stranger") -> list[Effect]:
    """Let a machine hear these claims in one packet."""
    return machine.receive(Datagram(Gossip(tag_of(sender)), tuple(items)), ELSEWHERE, now)


def a_ping(sender: str, target: str, view: int = 0, sequence: int = 7) -> Datagram:
    return Datagram(Ping(sequence, tag_of(sender), tag_of(target), view))


def checks_of(effects: Iterable[Effect]) -> dict[Address, int]:
    """The numbers of the pings among these effects that find out where a node is, by the address that they go to."""
    pings = [(send.address, send.datagram.body) for send in sends(effects)]
    return {address: body.sequence for address, body in pings if isinstance(body, Ping) and body.sequence >= 1 << 32}


def answer_from(machine: Machine, node_id: str, source: Address, now: float) -> list[Effect]:
    """Let a machine hear a listed node from an address, and let the node answer there, and nowhere else."""
    effects = machine.receive(Datagram(Gossip(tag_of(node_id))), source, now)
    number = checks_of(effects)[source]
    return effects + machine.receive(Datagram(Ack(number, tag_of(node_id), machine.view)), source, now)


def sends(effects: Iterable[Effect]) -> list[Send]:
    return [effect for effect in effects if isinstance(effect, Send)]


def calls(effects: Iterable[Effect], kind: type[CallRequest]) -> list[Call]:
    return [effect for effect in effects if isinstance(effect, Call) and isinstance(effect.request, kind)]


def emitted(effects: Iterable[Effect]) -> list[Event]:
    events = [effect.event for effect in effects if isinstance(effect, Emit)]
    return [event for event in events if not isinstance(event, MapChanged)]


def told(effects: Iterable[Effect]) -> list[Item]:
    """All gossip in the datagrams among these effects."""
    return [item for send in sends(effects) for item in send.datagram.items]


# What Hypothesis draws

IDS = ("a", "b", "c", "d")
HOSTED = "d"
"""The one of these ids that is not a node's: it is hosted by ``a``."""

incarnations = st.integers(min_value=1, max_value=4)


def published(instance_id: str, incarnation: int, state: State = State.ALIVE) -> Record:
    """The record of this incarnation: an owner publishes each but once, so that they determine the content."""
    home = "a" if instance_id == HOSTED else ""
    return a_record(instance_id, incarnation, state=state, home=home, status=f"{instance_id}{incarnation}")


records = st.builds(published, st.sampled_from(IDS), incarnations, st.sampled_from([State.ALIVE, State.SUSPECT]))
rumours = st.builds(
    Rumour,
    st.sampled_from(IDS),
    incarnations,
    st.sampled_from([State.SUSPECT, State.DEAD, State.LEFT]),
    st.sampled_from(["", *IDS]),
)
claims: st.SearchStrategy[Item] = st.one_of(records, rumours)
