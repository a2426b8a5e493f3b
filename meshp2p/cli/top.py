"""``meshp2p top``: whether anything is wrong in the mesh, and its agents, those in trouble first."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

import trio

from meshp2p.cli.ask import open_client, read_status
from meshp2p.cli.output import is_terminal, printable, table_lines, to_json_line, write, write_line
from meshp2p.errors import Unreachable
from meshp2p.node.verdict import count_of, duration
from meshp2p.wire.status_contract import AgentStatus, Severity, StatusResponse

__all__ = ["lines_of", "top"]

_FINDINGS_MAX: Final = 5
_SMALLEST: Final = (20, 4)  # columns and rows that are drawn, whatever the terminal has: chosen, not measured
_COLORS: Final[dict[Severity, str]] = {"ok": "32", "notice": "36", "warning": "33", "error": "31;1"}
_TITLES: Final = (
    "  AGENT",
    "STATE",
    "TROUBLE",
    "STATUS",
    "CAPABILITIES",
    "HOME",
    "SEEN",
    "ROUND TRIP",
    "UNREAD",
    "OLDEST",
)
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[?25l\x1b[H", "\x1b[K", "\x1b[J"  # the cursor is hidden
_SHOW_CURSOR: Final = "\x1b[?25h"


async def top(options: argparse.Namespace) -> int:
    if options.once or not (options.json or is_terminal(sys.stdout)):
        async with open_client(options) as client:
            status = await read_status(client)
        for line in [to_json_line(status)] if options.json else lines_of(status):
            write_line(line)
        return 1 if options.once and status.verdict.severity in ("warning", "error") else 0
    try:
        while True:
            try:
                async with open_client(options) as client:  # another one, if that node is gone
                    while True:
                        _show(options, await read_status(client))
                        await trio.sleep(options.interval)
            except Unreachable as error:
                if options.json:
                    raise
                _draw([printable(f"error: {error}"), "  -> it is tried again; Ctrl-C ends"], [], "error")
                await trio.sleep(options.interval)
    finally:
        if not options.json:
            write(_SHOW_CURSOR)


def _show(options: argparse.Namespace, status: StatusResponse) -> None:
    if options.json:
        write_line(to_json_line(status))
    else:
        _draw(list(_head_of(status)), list(_table_of(status)), status.verdict.severity)


def _draw(head: Sequence[str], table: Sequence[str], severity: Severity) -> None:
    """Draw the screen anew: as much as fits, with the first line in the color of the severity."""
    columns, rows = map(max, shutil.get_terminal_size(), _SMALLEST)
    wrapped = [part for line in head for part in textwrap.wrap(line, columns - 1, subsequent_indent="    ") or [""]]
    lines = [*wrapped, *(line[: columns - 1] for line in table)]
    if len(lines) > rows - 1:
        lines = [*lines[: rows - 2], f"{len(lines) - rows + 2} more lines: --once prints all"[: columns - 1]]
    if not os.environ.get("NO_COLOR"):
        lines[0] = f"\x1b[{_COLORS[severity]}m{lines[0]}\x1b[0m"
    write(_HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW)


def lines_of(status: StatusResponse) -> list[str]:
    """The verdict with its remedy, what else was found, and the agents, as text for a terminal."""
    return [*_head_of(status), *_table_of(status)]


def _head_of(status: StatusResponse) -> Iterator[str]:
    verdict, work = status.verdict, status.work
    yield printable(f"{verdict.severity}: {verdict.text}")
    if verdict.remedy is not None:
        yield printable(f"  -> {verdict.remedy}")
    others = [one for one in status.findings if not verdict.text.startswith(one.text)]
    for finding in others[:_FINDINGS_MAX]:
        yield printable(f"{finding.severity}: {finding.text}")
        yield printable(f"  -> {finding.remedy}")
    if len(others) > _FINDINGS_MAX:
        yield f"and {len(others) - _FINDINGS_MAX} more findings: --json shows all"
    yield ""
    yield printable(
        f"{'secured' if status.is_secured else 'open'} mesh {status.mesh!r} as {status.node_id} sees it at {status.at}:"
        f" {count_of(status.reports, 'node')} reported; {len(work.queries)} queries and {len(work.tasks)} tasks wait,"
        f" {sum(handler.running for handler in work.handlers)} handlers run"
    )
    yield ""


def _table_of(status: StatusResponse) -> Iterator[str]:
    yield from table_lines(_TITLES, map(_row_of, status.agents))
    if status.agents_total > len(status.agents):
        yield f"and {status.agents_total - len(status.agents)} more agents, without more trouble"


def _row_of(agent: AgentStatus) -> tuple[str, ...]:
    return (
        f"{'*' if agent.is_leader else ' '} {agent.id}",
        agent.state,
        ", ".join(agent.findings).replace("_", " "),
        agent.status or "",
        ", ".join(agent.capabilities),
        agent.home if agent.home != agent.id else "itself",
        duration(agent.silent_seconds),
        "" if agent.round_trip is None else f"{agent.round_trip * 1000:.1f} ms",
        "" if agent.pending is None else str(agent.pending),
        "" if agent.oldest_unread is None else duration(agent.oldest_unread),
    )
