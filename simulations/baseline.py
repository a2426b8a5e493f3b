"""Compare figures of fixed runs with recorded ones.

A protocol that has become slower, chattier or quicker to declare nodes dead fails, even if each run is within the
bounds of the checkers. The runs have fixed seeds, so their figures are the same on each machine. A change of the
protocol changes what the seeds draw. So each figure summarizes many runs, and may differ by its tolerance.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.errors import ConfigError
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import Schedule, SecurityPlan
from meshp2p.simulation.simulation import Result, run
from meshp2p.virtual.faults import Bursts, Crash, Fault, Lossy, Partition, ShutOut, Sleep, Stalls
from simulations.ablations.safeguards import ablation
from simulations.jobs import map_in_processes

__all__ = ["CASES", "Figure", "compare", "measure", "read_baseline", "write_baseline"]

FILE = Path(__file__).with_name("baseline.toml")

NODES = 16
"""The number of nodes in most cases: enough to exercise gossip, few enough to be fast."""

FIRST_SEED = 9000


class Case(msgspec.Struct, frozen=True):
    """Several runs of one kind: a description, the number of seeds, and the schedule of each."""

    about: str
    seeds: int
    schedule: Callable[[int], Schedule]


class Figure(msgspec.Struct, frozen=True):
    """One figure of one case."""

    case: str
    name: str
    value: float


class Tolerance(msgspec.Struct, frozen=True):
    """By what share, and by how much in addition, a figure may differ. ``is_rate``: whether a decrease is wrong as
    well."""

    share: float
    more: float
    is_rate: bool = False


TOLERANCES: dict[str, Tolerance] = {
    "datagrams a node and second": Tolerance(0.1, 0.02, is_rate=True),
    "bytes a node and second": Tolerance(0.1, 2.0, is_rate=True),
    "calls a node and second": Tolerance(0.2, 0.01, is_rate=True),
    "seconds until a crash is known, median": Tolerance(0.2, 0.05),
    "seconds until a crash is known, worst": Tolerance(0.4, 0.2),
    "seconds until a revocation is known, median": Tolerance(0.4, 0.3),
    "seconds until a revocation is known, worst": Tolerance(0.4, 0.3),
    "seconds until whole again, median": Tolerance(0.4, 0.2),
    "seconds until whole again, worst": Tolerance(0.6, 0.5),
    "false deaths": Tolerance(0.5, 1.0),
}
"""Chosen so that a quarter more datagrams fail, and doubled times."""


def _calm(seed: int, *faults: Fault, nodes: int = NODES, seconds: float = 30.0, wire: bool = True) -> Schedule:
    options = Options(seed=seed, nodes=nodes, duration=seconds, through_wire=wire)
    return msgspec.structs.replace(build_schedule("calm", options), faults=faults)


def _secured(seed: int, *faults: Fault, key_seconds: float = 86_400.0) -> Schedule:
    plan = SecurityPlan(key_seconds=key_seconds, retired_seconds=key_seconds / 4)
    return msgspec.structs.replace(_calm(seed, seconds=40.0, wire=False), faults=faults, security=plan)


def _halves() -> tuple[tuple[str, ...], ...]:
    names = tuple(f"n{number:02}" for number in range(NODES))
    return names[::2], names[1::2]


def _scenario(name: str, nodes: int) -> Callable[[int], Schedule]:
    return lambda seed: build_schedule(name, Options(seed=seed, nodes=nodes))


CASES: dict[str, Case] = {
    "calm": Case("nothing happens for three minutes", 1, lambda seed: _calm(seed, seconds=180.0)),
    "start": Case("32 nodes start at once", 4, lambda seed: _calm(seed, nodes=32, seconds=5.0)),
    "silent": Case(
        "a machine is gone",
        24,
        lambda seed: _calm(seed, Crash(begin=15 + seed % 10 / 10, node="n05", is_silent=True), wire=False),
    ),
    "killed": Case(
        "a process dies, and its machine lives",
        12,
        lambda seed: _calm(seed, Crash(begin=15 + seed % 10 / 10, node="n05"), wire=False),
    ),
    "dying": Case(
        "a process dies, and for a moment its kernel accepts connections and breaks them",
        6,
        lambda seed: _calm(seed, Crash(begin=15 + seed % 10 / 10, node="n05", lingers=0.02), wire=False),
    ),
    "cut": Case(
        "two halves are cut from one another for half a minute",
        12,
        lambda seed: _calm(seed, Partition(begin=15.0, end=45.0, groups=_halves()), seconds=45.0),
    ),
    "lossy": Case(
        "a tenth of all datagrams is lost",
        4,
        lambda seed: _calm(seed, Lossy(probability=0.1), seconds=60.0),
    ),
    "bursts": Case(
        "links lose most packets for short times",
        4,
        lambda seed: _calm(seed, Bursts(begin=10.0), seconds=60.0, wire=False),
    ),
    "starved": Case(
        "two nodes stand still for most of the time, and 5 % of the datagrams are lost",
        4,
        lambda seed: _calm(
            seed,
            Lossy(probability=0.05),
            *(Stalls(begin=40.0, node=node, every=5.0, seconds=4.0) for node in ("n03", "n07")),
            seconds=80.0,
            wire=False,
        ),
    ),
    "hiccup": Case("processes stand still for two to three seconds", 4, _scenario("hiccup", NODES)),
    "mail": Case("agents write to one another through faults", 3, _scenario("mail", 5)),
    "revoked": Case(
        "a machine of a secured mesh is revoked",
        4,
        lambda seed: _secured(seed, ShutOut(begin=15 + seed % 10 / 10, node="n05", by="n00")),
    ),
    "sleeper": Case(
        "a machine of a secured mesh sleeps for 20 s while all change their keys every 8 s",
        4,
        lambda seed: _secured(seed, Sleep(begin=15.0, end=35.0, node="n05"), key_seconds=8.0),
    ),
    "maps": Case("a shared map is written on both sides of a cut", 3, _scenario("maps", 5)),
}


def measure(
    cases: Sequence[str] = tuple(CASES), *, jobs: int = 1, config: ProtocolConfig | None = None
) -> list[Figure]:
    """Run the cases and return their figures. ``config`` replaces that of the cases, to compare another one.

    Raises :class:`~meshp2p.errors.ConfigError` if a run has a violation, which makes its figures meaningless.
    """
    work = [(case, FIRST_SEED + number, config) for case in cases for number in range(CASES[case].seeds)]
    results: dict[str, list[Result]] = {}
    for (case, seed, _), result in zip(work, map_in_processes(_run, work, jobs), strict=True):
        if result.violations:
            raise ConfigError(f"baseline: case {case!r}, seed {seed}: {result.violations[0]}")
        results.setdefault(case, []).append(result)
    return [figure for case, found in results.items() for figure in _figures(case, found)]


Work = tuple[str, int, ProtocolConfig | None]


def _run(work: Work) -> Result:
    case, seed, config = work
    schedule = CASES[case].schedule(seed)
    if config is not None:
        schedule = msgspec.structs.replace(schedule, config=config)
    return run(schedule, ablate=ablation)


def _figures(case: str, results: list[Result]) -> Iterator[Figure]:
    """Return the figures of a case, in a fixed order."""
    node_seconds = sum(result.nodes * result.virtual_seconds for result in results)
    sent = {
        "datagrams a node and second": sum(result.traffic.datagrams for result in results),
        "bytes a node and second": sum(result.traffic.packet_bytes for result in results),
        "calls a node and second": sum(result.traffic.calls for result in results),
    }
    for name, count in sent.items():
        if count:
            yield Figure(case, name, round(count / node_seconds, 4))
    detections = [seconds for result in results for seconds in result.detections]
    if case in ("silent", "killed", "dying"):
        yield Figure(case, "seconds until a crash is known, median", round(statistics.median(detections), 3))
        yield Figure(case, "seconds until a crash is known, worst", round(max(detections), 3))
    if case == "revoked":
        revocations = [seconds for result in results for seconds in result.revocations]
        yield Figure(case, "seconds until a revocation is known, median", round(statistics.median(revocations), 3))
        yield Figure(case, "seconds until a revocation is known, worst", round(max(revocations), 3))
    if case in ("cut", "sleeper"):
        recoveries = [result.recovered_after or 0.0 for result in results]
        yield Figure(case, "seconds until whole again, median", round(statistics.median(recoveries), 3))
        yield Figure(case, "seconds until whole again, worst", round(max(recoveries), 3))
    yield Figure(case, "false deaths", float(sum(result.false_deaths for result in results)))


def compare(found: Sequence[Figure], recorded: Sequence[Figure]) -> Iterator[str]:
    """Return a sentence for each figure that differs from the recorded one by more than its tolerance."""
    known = {(figure.case, figure.name): figure.value for figure in recorded}
    for figure in found:
        was = known.pop((figure.case, figure.name), None)
        about = CASES[figure.case].about
        if was is None:
            yield f"{figure.case} ({about}): {figure.name} is {figure.value:g}, and was not recorded"
            continue
        tolerance = TOLERANCES[figure.name]
        margin = was * tolerance.share + tolerance.more
        if figure.value > was + margin or (tolerance.is_rate and figure.value < was - margin):
            percent = f" ({(figure.value - was) / was:+.0%})" if was else ""
            yield (
                f"{figure.case} ({about}): {figure.name} went from {was:g} to {figure.value:g}{percent},"
                f" by {margin:.3g} it may"
            )
    for case, name in known:
        if any(figure.case == case for figure in found) or case not in CASES:
            yield f"{case}: {name} was recorded, and is no figure any more"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    figure: tuple[Figure, ...] = ()


def read_baseline(path: Path = FILE) -> tuple[Figure, ...]:
    """Return the recorded figures. Raises :class:`~meshp2p.errors.ConfigError` if the file cannot be read."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_File).figure
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"baseline {path}: {error}; write it with `python -m simulations baseline --record`"
        ) from None


def write_baseline(figures: Sequence[Figure], path: Path = FILE) -> None:
    lines = [
        "# Figures of fixed runs of the simulator, with which ./check compares what it finds. Where a change of the",
        "# protocol is meant to change them: `python -m simulations baseline --record`, and say why in the commit.",
    ]
    for case in dict.fromkeys(figure.case for figure in figures):
        lines += ["", f"# {case}: {CASES[case].about}"]
        for figure in figures:
            if figure.case == case:
                lines += ["[[figure]]", f'case = "{case}"', f'name = "{figure.name}"', f"value = {figure.value}"]
    path.write_text("\n".join(lines) + "\n")
