"""Nodes of a secured mesh without a network: a machine behind its guard."""

from __future__ import annotations

import random

from meshp2p.core.address import Address
from meshp2p.core.calls import Push
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.machine import Machine
from meshp2p.core.record import Item, Record, Rumour, State, tag_of
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.codec import Codec
from tests.core.builders import run_until
from tests.net.secured import Computer

__all__ = ["Member", "meet"]

NOW_MS = 1_700_000_000_000
SOURCE = Address("10.0.0.1", 7700)


class Member:
    """One process of a node. ``refused`` are the reasons of its guard, ``strangers`` the ids of unknown machines'
    nodes."""

    def __init__(
        self, computer: Computer, node_id: str, *, started_ms: int = NOW_MS, is_announced: bool = True
    ) -> None:
        security = computer.start(node_id)
        self.computer = computer
        self.codec = Codec(security.mesh)
        self.signer = security.signer
        self.refused: list[Refusal] = []
        self.strangers: list[str] = []
        self.machine = Machine(
            Profile(node_id, f"host-of-{node_id}", 7700, ("summarize",)),
            (Address("10.0.0.1", 7700 + tag_of(node_id) % 1000),),
            ProtocolConfig(),
            random.Random(node_id),
            lambda: started_ms,
            lease_clock=lambda: 0.0,
            signer=security.signer,
        )
        self.machine.start(0.0)
        if is_announced:
            run_until(self.machine, self.machine.config.settle_timeout)
        self.guard = security.guard(
            self.machine, self.codec, lambda record: self.strangers.append(record.id), self.refused.append
        )

    @property
    def id(self) -> str:
        return self.machine.id

    @property
    def tag(self) -> int:
        return tag_of(self.id)

    @property
    def own(self) -> Record:
        return self.machine.own

    def take(self, *items: Item, now: float = 0.0, sender: bytes = b"") -> tuple[Item, ...]:
        """Get these claims by a call of a node on the machine ``sender``; those that got through to the machine."""
        request = self.guard.check_request(Push(0, items), sender, now)
        assert isinstance(request, Push)
        self.machine.receive_call(request, now)
        return request.items

    def seal(self, to: Member, *items: Item, body: Gossip | None = None) -> bytes:
        """The bytes of a datagram to another node."""
        sealed = self.guard.seal(Datagram(body or Gossip(self.tag), items), to.tag)
        assert sealed is not None
        return sealed

    def open(self, data: bytes, now: float = 0.0) -> Datagram | Refusal:
        """What a datagram says, or why it is refused."""
        try:
            return self.guard.open_untrusted(data, now)
        except RemoteProtocolError as error:
            return error.reason

    def says(self, about: Member | Record, state: State, by: str = "", incarnation: int = 0) -> Rumour:
        """A rumour that this node signed, in its own name or another's."""
        record = about.own if isinstance(about, Member) else about
        rumour = Rumour(record.id, incarnation or record.incarnation, state, by or self.id)
        return self.signer.sign_rumour(rumour)

    def lists(self, other: Member) -> bool:
        return self.machine.has_node(other.id)


def meet(*members: Member) -> None:
    """Let each list all others."""
    for one in members:
        for other in members:
            one.computer.credential.trust.merge_untrusted(other.computer.credential.trust.statements())
    for one in members:
        taken = one.take(*(other.own for other in members if other is not one))
        assert len(taken) == len(members) - 1, one.refused
