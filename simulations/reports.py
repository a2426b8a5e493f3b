"""Reports of a sweep as text, JSON and JUnit XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from simulations.command_line import write_json_file
from simulations.sweep import Seed, Sweep

__all__ = ["failure_line", "share", "summary_lines", "write_json", "write_junit"]


def share(ordered: list[float], part: float) -> float | None:
    """Return the value below which this share of the sorted values lies; None if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else None


def _times(ordered: list[float]) -> str:
    if not ordered:
        return "none"
    p50, p99 = share(ordered, 0.5), share(ordered, 0.99)
    return f"{len(ordered)}, median {p50:.2f} s, p99 {p99:.2f} s, worst {ordered[-1]:.2f} s"


def failure_line(failure: Seed) -> str:
    return f"FAILED seed {failure.seed}: {failure.violations[0]}"


def summary_lines(sweep: Sweep, replays: list[Path]) -> Iterator[str]:
    """Yield the summary of a sweep; the last lines are one command for each failure."""
    seeds = len(sweep.seeds)
    rate = seeds / sweep.wall_seconds if sweep.wall_seconds else 0.0
    fired = ", ".join(f"{name} {count:,}" for name, count in sweep.fired().items())
    yield (
        f"{sweep.scenario}: {seeds} seeds from {sweep.first}, {len(sweep.failures)} failed;"
        f" {sweep.virtual_seconds():,.0f} virtual seconds in {sweep.wall_seconds:.1f} s, {rate:.1f} seeds/s"
    )
    yield f"  fired: {fired or 'nothing'}"
    yield f"  whole again: {_times(sweep.recoveries())}"
    yield f"  crashes known to all: {_times(sweep.detections())}; false deaths: {sweep.false_deaths()}"
    for failure in sweep.failures:
        yield failure_line(failure)
    for path in replays:
        yield f"python -m simulations replay {path}"


def write_json(sweep: Sweep, path: Path) -> None:
    """Write the sweep with its distributions, and each failed seed in full."""
    recoveries, detections = sweep.recoveries(), sweep.detections()
    report = {
        "scenario": sweep.scenario,
        "first": sweep.first,
        "seeds": len(sweep.seeds),
        "failed": [seed.seed for seed in sweep.failures],
        "virtual_seconds": sweep.virtual_seconds(),
        "wall_seconds": sweep.wall_seconds,
        "faults": sweep.fired(),
        "false_deaths": sweep.false_deaths(),
        "recovered_after": {"p50": share(recoveries, 0.5), "p99": share(recoveries, 0.99), "max": share(recoveries, 1)},
        "detected_after": {"p50": share(detections, 0.5), "p99": share(detections, 0.99), "max": share(detections, 1)},
        "failures": sweep.failures,
    }
    write_json_file(path, report)


def write_junit(sweep: Sweep, path: Path) -> None:
    """Write one test case per seed, in the format of CI systems."""
    suite = ET.Element(
        "testsuite",
        name=f"simulations.{sweep.scenario}",
        tests=str(len(sweep.seeds)),
        failures=str(len(sweep.failures)),
        errors="0",
        time=f"{sweep.wall_seconds:.3f}",
    )
    for seed in sweep.seeds:
        seconds = seed.result.wall_seconds if seed.result is not None else 0.0
        case = ET.SubElement(
            suite,
            "testcase",
            classname=f"simulations.{sweep.scenario}",
            name=f"seed {seed.seed}",
            time=f"{seconds:.3f}",
        )
        if seed.has_failed:
            failure = ET.SubElement(case, "failure", message=str(seed.violations[0]))
            failure.text = "\n".join(str(violation) for violation in seed.violations)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
