"""Runs of the fuzzer: lives under fire of machines, connections and relays, one after another, each repeated by its
seed."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from simulations.fuzz.connections import Connection
from simulations.fuzz.mutation import Mutator
from simulations.fuzz.queries import feed_query
from simulations.fuzz.relays import RelayedCalls
from simulations.fuzz.target import Kind, Target, golden_bodies

__all__ = ["Finding", "fuzz", "run_life"]

LIFE_INPUTS: Final = 300
"""How many inputs one machine gets."""

CHECK_EVERY: Final = 10
"""How many inputs come between two checks of the machine's tables."""


class Finding(msgspec.Struct, frozen=True):
    """A broken invariant: in the life with this seed, at this input."""

    seed: int
    input: int
    error: str


def run_life(seed: int) -> tuple[int, Finding | None]:
    """Run one life. Return how many inputs it had, and the finding."""
    draw = random.Random(seed)
    mutator = Mutator(draw)
    inputs = 0
    try:
        for step in _steps(draw, mutator):
            inputs += 1
            step()
    except Exception:  # noqa: BLE001  # whatever escaped is what is looked for
        return inputs, Finding(seed, inputs, traceback.format_exc())
    return inputs, None


def _steps(draw: random.Random, mutator: Mutator) -> Iterator[Callable[[], None]]:
    target = Target(draw)
    connection = Connection(draw)
    relayed = RelayedCalls(draw)
    kinds = (Kind.DATAGRAM, Kind.DATAGRAM, Kind.REQUEST, Kind.REQUEST, Kind.REPLY)
    for number in range(LIFE_INPUTS):
        kind = draw.random()
        if kind < 0.25:
            yield target.happen
        elif kind < 0.33:
            yield connection.feed
        elif kind < 0.43:
            yield relayed.step
        elif kind < 0.45:
            yield lambda: feed_query(draw, mutator)
        else:
            way = draw.choice(kinds)
            bodies = target.sent[way] if target.sent[way] and draw.random() < 0.4 else golden_bodies()[way]
            body = mutator.mutate(draw.choice(bodies))
            yield lambda way=way, body=body: target.feed(way, body)  # type: ignore[misc]
        if number % CHECK_EVERY == 0 or number == LIFE_INPUTS - 1:
            target.check()
    yield relayed.end


def fuzz(first: int, *, seconds: float, findings_max: int = 10) -> tuple[int, list[Finding]]:
    """Run lives from this seed on for so many seconds. Return how many inputs ran, and the findings."""
    inputs = 0
    found: list[Finding] = []
    until = time.monotonic() + seconds
    seed = first
    while time.monotonic() < until and len(found) < findings_max:
        count, finding = run_life(seed)
        inputs += count
        if finding is not None:
            found.append(finding)
        seed += 1
    return inputs, found
