"""Write the frontier as a table, as JSON, and as the measured part of ``docs/frontier.md``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from simulations.command_line import write_json_file
from simulations.frontier import DEFAULTS, LOSSES, PAUSE, SWIM, Frontier, Goals, Row, Setting
from simulations.frontier_picture import picture

__all__ = ["table_lines", "verdict_lines", "write_docs", "write_frontier"]

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

HEADINGS = (
    "probe interval",
    "multiplier",
    "confirmed multiplier",
    "known to all: median",
    "p99",
    f"false deaths per run at loss {', '.join(f'{loss:.0%}' for loss in LOSSES)}",
    "a tenth starved",
    f"a pause of {PAUSE:g} s kills",
    "bytes per node and second",
    "misses",
)


def table_lines(frontier: Frontier, goals: Goals) -> Iterator[str]:
    """Yield a Markdown table: first the named rows, then the grid in its order."""
    yield "| | " + " | ".join(HEADINGS) + " |"
    yield "|---" * (len(HEADINGS) + 1) + "|"
    swim = frontier.named(SWIM)
    for row in frontier.rows:
        yield _line(row, goals, swim)


def _line(row: Row, goals: Goals, swim: Row | None) -> str:
    config = row.setting.config
    cells = (
        row.setting.name,
        f"{config.probe_interval:g} s",
        f"{config.suspicion_multiplier:g}",
        f"{config.suspicion_confirmed_multiplier:g}" if config.confirmers else "none",
        f"{row.share(0.5):.1f} s",
        f"{row.share(0.99):.1f} s" + (f" ({row.unknown} unknown)" if row.unknown else ""),
        ", ".join(f"{deaths:.2g}" for deaths in row.lossy),
        f"{row.starved:.2f}",
        f"{row.paused:.0%}",
        f"{row.idle_bytes:.0f}",
        "" if row is swim else "; ".join(row.misses(goals, swim)),
    )
    return "| " + " | ".join(cells) + " |"


def _values(setting: Setting) -> str:
    config = setting.config
    return (
        f"a probe every {config.probe_interval:g} s, multiplier {config.suspicion_multiplier:g},"
        f" confirmed multiplier {config.suspicion_confirmed_multiplier:g}"
    )


def verdict_lines(frontier: Frontier, goals: Goals) -> Iterator[str]:
    """Yield the conclusions from the table, one sentence each."""
    reaching = frontier.reaching(goals)
    yield f"{len(reaching)} of {len(frontier.rows)} rows meet all goals."
    swim = frontier.named(SWIM)
    for row in frontier.rows:
        if row.setting.name == DEFAULTS:
            misses = row.misses(goals, swim)
            yield f"The defaults {'miss: ' + '; '.join(misses) if misses else 'meet all goals'}."
    for larger in frontier.larger:
        yield (
            f"Among {larger.nodes} nodes, {larger.setting.name or _values(larger.setting)}: known to all in"
            f" {larger.share(0.5):.1f} s (median), {larger.share(0.99):.1f} s (p99) of"
            f" {len(larger.known) + larger.unknown} deaths."
        )
    proposed = frontier.proposed(goals)
    if proposed is None:
        yield "No row meets all goals in the larger mesh as well."
    else:
        yield f"Proposed: {_values(proposed.setting)}."


def write_frontier(frontier: Frontier, path: Path) -> None:
    """Write all figures as JSON."""
    write_json_file(path, frontier)


def write_docs(frontier: Frontier, goals: Goals, docs: Path = DOCS) -> None:
    """Write ``frontier.svg`` and update the measured part of ``frontier.md``."""
    (docs / "frontier.svg").write_text(picture(frontier, goals))
    page = docs / "frontier.md"
    before, rest = page.read_text().split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    deaths = len(frontier.rows[0].known) + frontier.rows[0].unknown
    conditions = f"{frontier.nodes} nodes, {frontier.seeds} seeds for each figure, {deaths} silent deaths per row."
    sentences = [f"- {sentence}" for sentence in verdict_lines(frontier, goals)]
    measured = [BEGIN, conditions, "", *sentences, "", *table_lines(frontier, goals), "", END]
    page.write_text(before + "\n".join(measured) + after)
