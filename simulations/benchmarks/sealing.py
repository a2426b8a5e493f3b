"""The cost of protecting the datagrams and claims of a secured mesh, in microseconds of processor time.

Each figure is the best of a few rounds, without what the same step takes in an open mesh.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import Push
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Ping
from meshp2p.core.machine import Machine
from meshp2p.core.record import Rumour, SignedRecord, State, tag_of, unsigned
from meshp2p.core.swim.hosting import Profile
from meshp2p.guard.node_guard import NodeGuard
from meshp2p.trust.credential import MachineCredential, found_mesh
from meshp2p.trust.datagram_keys import DatagramKeys
from meshp2p.trust.known_agents import KnownAgents
from meshp2p.trust.signatures import ClaimSigner, ClaimVerifier
from meshp2p.wire.codec import Codec
from simulations.benchmarks.command_line import add_benchmark, positive

__all__ = ["Cost", "add_command", "measure"]

ROUNDS: Final = 7
GOAL_US: Final = 10.0
"""Of sealing and opening together."""


class Cost(msgspec.Struct, frozen=True):
    """One step, and what it costs."""

    name: str
    value: float
    unit: str = "us"


class _Node:
    def __init__(self, credential: MachineCredential, node_id: str) -> None:
        self.credential = credential
        self.keys = DatagramKeys()
        self.signer = ClaimSigner(credential.key, credential.mesh_id, self.keys.public_keys, lambda _: True)
        self.codec = Codec(credential.announced_name)
        self.machine = Machine(
            Profile(node_id, "host.example", 7700, ("summarize",)),
            (Address("192.0.2.1", 7700),),
            ProtocolConfig(),
            random.Random(1),
            lambda: time.time_ns() // 1_000_000,
            lease_clock=time.monotonic,
            signer=self.signer,
        )
        self.machine.start(0.0)
        self.guard = self.new_guard()

    def new_guard(self) -> NodeGuard:
        return NodeGuard(
            self.credential.trust,
            KnownAgents({}),
            self.keys,
            self.codec,
            self.machine,
            lambda _record: None,
            lambda _reason: None,
        )

    def learn(self, other: _Node) -> None:
        self.machine.receive_call(self.guard.check_request(Push(0, (other.machine.own,)), b"", 0.0), 0.0)


def measure(count: int) -> list[Cost]:
    """Do each step so often in each round."""
    _, credential = found_mesh("benchmark", "benchmark")
    one, two = _Node(credential, "agent-one"), _Node(credential, "agent-two")
    one.learn(two)
    two.learn(one)
    ages = tuple(word for name in ("a", "b", "c") for word in (tag_of(name), 50))
    ping = Datagram(Ping(70_000, tag_of("agent-one"), tag_of("agent-two"), 1 << 63), (), ages)
    to = tag_of("agent-two")
    plain = one.codec.encode(ping)
    sealed: list[bytes] = []

    def seal() -> None:
        sealed[:] = [one.guard.seal(ping, to) or b"" for _ in range(count)]

    def open_all() -> None:
        for data in sealed:
            two.guard.open_untrusted(data, 0.0)

    sealing = _best(seal, count) - _best(lambda: [one.codec.encode(ping) for _ in range(count)], count)
    opening = _best(open_all, count, before=seal) - _best(
        lambda: [two.codec.decode_datagram_untrusted(plain) for _ in range(count)], count
    )
    few = max(1, count // 20)
    record, rumour = two.machine.own, Rumour("agent-one", 1, State.DEAD, "agent-two")
    assert isinstance(record, SignedRecord)
    verifier = ClaimVerifier(credential.trust)

    def verify_anew() -> None:
        for _ in range(few):
            ClaimVerifier(credential.trust).verify_record(record)

    def verify_again() -> None:
        for _ in range(few):
            verifier.verify_record(record)

    encode = msgspec.msgpack.encode
    return [
        Cost("seal a ping", sealing),
        Cost("open a ping", opening),
        Cost("seal and open", sealing + opening),
        Cost("derive the keys of a pair", _best(lambda: [one.new_guard().seal(ping, to) for _ in range(few)], few)),
        Cost("sign a record", _best(lambda: [two.signer.sign_record(record) for _ in range(few)], few)),
        Cost("verify a record", _best(verify_anew, few)),
        Cost("look up a verified record", _best(verify_again, few)),
        Cost("a ping, plain", len(plain), "bytes"),
        Cost("a ping, sealed", len(sealed[0]), "bytes"),
        Cost("a record, plain", len(encode(unsigned(record))), "bytes"),
        Cost("a record, signed", len(encode(record)), "bytes"),
        Cost("a rumour, plain", len(encode(rumour)), "bytes"),
        Cost("a rumour, signed", len(encode(two.signer.sign_rumour(rumour))), "bytes"),
    ]


def _best(step: Callable[[], object], count: int, *, before: Callable[[], object] = lambda: None) -> float:
    """Microseconds of processor time for one of ``count``."""
    times = []
    for _ in range(ROUNDS):
        before()
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return min(times) / count * 1e6


def add_command(commands: Any) -> None:
    parser = add_benchmark(commands, "sealing", "what it costs to seal datagrams and to sign claims", __doc__)
    parser.add_argument("--count", type=positive, default=5000, help="datagrams in a round (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    costs = measure(options.count)
    if options.json:
        print(json.dumps(msgspec.to_builtins(costs)))
    else:
        for cost in costs:
            print(f"{cost.name:28} {cost.value:8.1f} {cost.unit}")
        together = next(cost.value for cost in costs if cost.name == "seal and open")
        print(f"sealing and opening: at most {GOAL_US:g} us are to be reached, and {together:.1f} us were")
    return 0
