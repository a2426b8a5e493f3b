"""Random faults for a swarm: first their kinds, then their number, then the strength of each.

The values are those that a mesh may meet. Under worse ones the checkers could judge nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import get_args

from msgspec.structs import replace

from meshp2p.virtual import faults
from meshp2p.virtual.faults import ALL_KINDS, Fault, Kind, OpenFault

__all__ = ["draw_faults", "draw_harsh_faults", "draw_scarce_faults"]

HARSH_SHARE = 0.4
"""The share of the meshes with faults that :func:`draw_harsh_faults` adds. Chosen, not measured."""

SCARCE_SHARE = 0.15
"""The share of the meshes with faults that :func:`draw_scarce_faults` adds. Chosen, not measured."""

_KINDS: tuple[type[Fault], ...] = get_args(OpenFault)

_CUT_KINDS: tuple[tuple[Kind, ...], ...] = (ALL_KINDS, ALL_KINDS, ALL_KINDS, (Kind.UDP,), (Kind.TCP,))
_LOST_KINDS: tuple[tuple[Kind, ...], ...] = ((Kind.UDP,), (Kind.UDP, Kind.TCP))


def _draw_groups(draw: random.Random, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    shuffled = draw.sample(names, len(names))
    if len(names) > 3 and draw.random() < 0.2:
        shuffled = shuffled[1:]  # who is in no group is a bridge
    if draw.random() < 0.3:
        return ((shuffled[0],), tuple(sorted(shuffled[1:])))
    ways = 2 if draw.random() < 0.7 else draw.randrange(2, min(5, len(shuffled)) + 1)
    cuts = sorted(draw.sample(range(1, len(shuffled)), ways - 1))
    return tuple(tuple(sorted(shuffled[a:b])) for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True))


def draw_faults(draw: random.Random, names: tuple[str, ...], duration: float) -> tuple[Fault, ...]:
    """Return some faults of a few kinds, within these virtual seconds."""
    kinds = draw.sample(_KINDS, draw.randrange(1, 7))
    count = draw.randrange(1, 4 + len(names) // 4)
    return tuple(fault for _ in range(count) for fault in _draw_together(draw, draw.choice(kinds), names, duration))


def draw_harsh_faults(draw: random.Random, names: tuple[str, ...], duration: float) -> tuple[Fault, ...]:
    """Return some more faults, for a share of the meshes: narrow paths, severed connections, machines that notice that
    their address changed, and crashes of several nodes at once, which may come back at each other's addresses."""
    if draw.random() >= HARSH_SHARE:
        return ()
    found: list[Fault] = []
    for _ in range(draw.randrange(1, 4)):
        begin = round(draw.random() * duration * 0.9, 3)
        end = round(begin + draw.choice((0.5, 3.0, 10.0, 30.0, 60.0)) * (0.5 + draw.random()), 3)
        some = draw.sample(names, draw.randrange(2, max(2, len(names) // 2) + 1))
        match draw.randrange(0, 4):
            case 0:
                groups = _draw_groups(draw, names)
                found.append(
                    faults.Narrow(
                        begin=begin,
                        end=end,
                        senders=groups[0],
                        receivers=groups[1],
                        seconds=draw.choice((0.0, 0.02, 0.08, 0.3)),
                        bytes_per_second=draw.choice((0.0, 5_000.0, 100_000.0)),
                        bytes_max=draw.choice((0, 0, 512, 1200)),
                    )
                )
            case 1:
                found.append(faults.Severed(begin=begin, end=begin, nodes=tuple(some) if draw.random() < 0.7 else ()))
            case 2:
                is_silent, swaps = draw.random() < 0.5, draw.random() < 0.5
                takes = [*some[1:], some[0]] if swaps else [""] * len(some)
                crash = faults.Crash(begin=begin, end=end, node="", is_silent=is_silent)
                found += [replace(crash, node=node, takes=other) for node, other in zip(some, takes, strict=True)]
            case _:
                found.append(faults.Moved(begin=begin, end=begin, node=some[0], notices=draw.choice((0.1, 1.0, 2.0))))
    return tuple(found)


def draw_scarce_faults(draw: random.Random, names: tuple[str, ...], duration: float) -> tuple[Fault, ...]:
    """Return some more faults, for a share of the meshes: small receive buffers of processes that are busy, nodes that
    accept few connections, and dead addresses of machines that have two."""
    if draw.random() >= SCARCE_SHARE:
        return ()
    found: list[Fault] = []
    for node in draw.sample(names, draw.randrange(1, max(1, len(names) // 3) + 1)):
        begin = 0.0 if draw.random() < 0.3 else round(draw.random() * duration * 0.9, 3)
        end = round(begin + draw.choice((3.0, 10.0, 30.0, 60.0)) * (0.5 + draw.random()), 3)
        match draw.randrange(0, 3):
            case 0:
                found.append(faults.SmallBuffer(begin=begin, end=end, node=node, datagrams=draw.choice((1, 4, 16))))
                if draw.random() < 0.5:
                    found.append(faults.Slow(begin=begin, end=end, node=node, seconds=draw.choice((0.001, 0.01))))
                else:
                    found.append(faults.Stalls(begin=begin, end=end, node=node, seconds=draw.choice((0.5, 1.5))))
            case 1:
                found.append(faults.Crowded(begin=begin, end=end, nodes=(node,), connections=draw.choice((0, 1, 3))))
            case _:
                found.append(faults.DeadAddress(begin=begin, end=end, node=node, number=draw.randrange(0, 2)))
    return tuple(found)


def _draw_together(draw: random.Random, kind: type[Fault], names: tuple[str, ...], duration: float) -> Iterator[Fault]:
    """Return a fault, and other faults that make it matter."""
    fault = _draw_fault(draw, kind, names, duration)
    yield fault
    if isinstance(fault, faults.DiskTorn):  # nobody notices before the next start
        end = round(fault.begin + draw.uniform(0.1, 20.0), 3)
        yield faults.Crash(
            begin=max(0.0, round(fault.begin - 0.1, 3)), end=end, node=fault.node, is_silent=draw.random() < 0.5
        )
    elif isinstance(fault, faults.Twin) and fault.beside:
        begin = max(0.0, round(fault.begin - draw.choice((1.0, 10.0, 40.0)), 3))
        end = round(fault.begin + draw.choice((1.0, 10.0, 40.0)), 3)
        yield faults.Partition(begin=begin, end=end, groups=_split(draw, names, fault.node, fault.beside))


def _split(draw: random.Random, names: tuple[str, ...], one: str, other: str) -> tuple[tuple[str, ...], ...]:
    """Return two groups, each with one of these two nodes."""
    sides = ([one], [other])
    for name in names:
        if name not in (one, other):
            sides[draw.randrange(0, 2)].append(name)
    return tuple(tuple(sorted(side)) for side in sides)


def _draw_fault(draw: random.Random, kind: type[Fault], names: tuple[str, ...], duration: float) -> Fault:
    begin = round(draw.random() * duration * 0.9, 3)
    end = round(begin + draw.choice((0.5, 3.0, 10.0, 30.0, 60.0)) * (0.5 + draw.random()), 3)
    node = draw.choice(names)
    some = tuple(sorted(draw.sample(names, draw.randrange(1, len(names))))) if draw.random() < 0.3 else ()
    if kind is faults.Partition:
        begin = 0.0 if draw.random() < 0.15 else begin
        kinds = draw.choice(_CUT_KINDS)
        period = round(draw.uniform(0.2, 10.0), 2) if draw.random() < 0.2 else 0.0
        return faults.Partition(begin=begin, end=end, groups=_draw_groups(draw, names), kinds=kinds, period=period)
    if kind in (faults.OneWay, faults.Rejected, faults.Hidden):
        groups = _draw_groups(draw, names)
        if kind is faults.Hidden:
            return faults.Hidden(begin=begin, end=end, nodes=groups[0])
        either = faults.OneWay if kind is faults.OneWay else faults.Rejected
        return either(begin=begin, end=end, senders=groups[0], receivers=groups[1])
    if kind is faults.Blocked:
        return faults.Blocked(begin=begin, end=end, nodes=some, kinds=(draw.choice(ALL_KINDS),))
    if kind is faults.Lossy:
        kinds = draw.choice(_LOST_KINDS)
        return faults.Lossy(
            begin=begin, end=end, nodes=some, probability=draw.choice((0.01, 0.05, 0.1, 0.3)), kinds=kinds
        )
    if kind is faults.Bursts:
        return faults.Bursts(begin=begin, end=end, nodes=some, bad=draw.choice((0.2, 1.0, 5.0)))
    if kind is faults.Duplicated:
        return faults.Duplicated(begin=begin, end=end, nodes=some, probability=draw.choice((0.05, 0.5)))
    if kind is faults.Reordered:
        return faults.Reordered(begin=begin, end=end, nodes=some, probability=draw.choice((0.05, 0.5)))
    if kind is faults.Delayed:
        seconds = draw.choice((0.01, 0.05, 0.2, 1.0))
        return faults.Delayed(
            begin=begin, end=end, nodes=some, seconds=seconds, jitter=seconds, spikes=draw.choice((0, 0.02))
        )
    if kind is faults.Oversized:
        return faults.Oversized(begin=begin, end=end, nodes=some, bytes_max=draw.choice((512, 1200)))
    if kind is faults.Corrupted:
        return faults.Corrupted(begin=begin, end=end, nodes=some, probability=draw.choice((0.05, 0.3)))
    if kind is faults.Forged:
        what = draw.choice((faults.Forgery.GARBAGE, faults.Forgery.OTHER_MESH, faults.Forgery.REPLAY))
        return faults.Forged(begin=begin, end=end, nodes=some, what=what, rate=draw.choice((5.0, 50.0)))
    if kind is faults.Twin:
        beside = draw.choice([name for name in names if name != node]) if draw.random() < 0.5 else ""
        return faults.Twin(begin=begin, end=end, node=node, beside=beside)
    if kind in (faults.DiskForgets, faults.DiskFull, faults.DiskFails, faults.DiskSlow, faults.DiskTorn):
        return _draw_disk_fault(draw, kind, node, begin, end)
    return _draw_host_fault(draw, kind, node, begin, end)


def _draw_host_fault(draw: random.Random, kind: type[Fault], node: str, begin: float, end: float) -> Fault:
    if kind is faults.Crash:
        return faults.Crash(
            begin=begin,
            end=end if draw.random() < 0.7 else None,
            node=node,
            is_silent=draw.random() < 0.5,
            keeps_state=draw.random() < 0.7,
            moves=draw.random() < 0.2,
        )
    if kind is faults.Leave:
        return faults.Leave(begin=begin, end=end if draw.random() < 0.7 else None, node=node)
    if kind is faults.Pause:
        return faults.Pause(begin=begin, end=end, node=node)
    if kind is faults.Sleep:
        return faults.Sleep(begin=begin, end=end, node=node, clock_stops=draw.random() < 0.5)
    if kind is faults.Slow:
        return faults.Slow(begin=begin, end=end, node=node, seconds=draw.choice((0.01, 0.1, 0.5)))
    if kind is faults.Stalls:
        return faults.Stalls(begin=begin, end=end, node=node, every=5.0, seconds=draw.choice((0.5, 1.5, 4.0)))
    if kind is faults.ClockStep:
        seconds = draw.choice((1.0, 5.0, 50.0, 3600.0)) * draw.choice((-1, 1))
        return faults.ClockStep(begin=begin, end=end, node=node, seconds=seconds)
    if kind is faults.ClockRate:
        return faults.ClockRate(begin=begin, end=end, node=node, rate=draw.choice((0.95, 0.99, 1.01, 1.05)))
    return faults.Moved(begin=begin, end=begin, node=node)


def _draw_disk_fault(draw: random.Random, kind: type[Fault], node: str, begin: float, end: float) -> Fault:
    if kind is faults.DiskFull:
        return faults.DiskFull(begin=begin, end=end, node=node)
    if kind is faults.DiskFails:
        return faults.DiskFails(begin=begin, end=end, node=node)
    if kind is faults.DiskSlow:
        return faults.DiskSlow(begin=begin, end=end, node=node, seconds=draw.choice((0.05, 0.5, 3.0)))
    if kind is faults.DiskTorn:
        return faults.DiskTorn(begin=begin, end=begin, node=node)
    return faults.DiskForgets(begin=begin, end=end, node=node)
