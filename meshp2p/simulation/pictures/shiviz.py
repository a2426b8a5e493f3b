"""A run as a log for ShiViz, which draws it as a graph of causes: https://bestchai.bitbucket.io/shiviz/"""

from __future__ import annotations

import json
import re

from meshp2p.virtual.describe import printable
from meshp2p.virtual.trace import Trace, TraceEntry, What

__all__ = ["FAULTS", "NETWORK", "PARSER", "shiviz"]

PARSER = r"(?<at>[0-9.]+) (?<event>.*)\n(?<host>\S*) (?<clock>{.*})"
"""The expression with which ShiViz reads the log: an entry is two lines."""

NETWORK = "(network)"
"""The host of the packets that were dropped."""

FAULTS = "(faults)"
"""The host of the faults. It is another, for no fault comes of a packet."""

_LEFT_OUT = frozenset({What.TIMER, What.PERSIST})


def shiviz(trace: Trace) -> str:
    """The whole run: the parser's expression in the first line, an empty second (one execution), then the entries.

    Clocks are vectors, computed from the causes. Timers and writes to disk are left out; causes reach through them.
    ShiViz is made for small runs: some thousand entries.
    """
    lines = [PARSER, ""]
    hosts = {NETWORK: NETWORK, FAULTS: FAULTS}
    clocks: dict[str, dict[str, int]] = {}
    sent: dict[int, dict[str, int]] = {}
    crossed = _crossed(trace)
    for entry in trace:
        key = _host_of(entry)
        clock = clocks.setdefault(key, {})
        if entry.cause in crossed and entry.cause in sent:
            for host, count in sent[entry.cause].items():
                clock[host] = max(clock.get(host, 0), count)
        if entry.what not in _LEFT_OUT:
            name = hosts.get(key) or _add_name(key, hosts)
            clock[name] = clock.get(name, 0) + 1
            text = json.dumps(clock, separators=(",", ":"))
            lines += [f"{entry.at:.6f} {_words(entry)}", f"{name} {text}"]
        if entry.number in crossed:
            sent[entry.number] = dict(clock)
    return "\n".join(lines) + "\n"


def _host_of(entry: TraceEntry) -> str:
    """Where ShiViz shows it. A node's key ends with a NUL, so that no id is taken for one of the other two."""
    if entry.what is What.DROP:
        return NETWORK
    return f"{entry.node}\0" if entry.node or entry.what is What.VIOLATION else FAULTS


def _crossed(trace: Trace) -> set[int]:
    """The entries that led to something elsewhere."""
    return {entry.cause for entry in trace if entry.cause and _host_of(trace[entry.cause]) != _host_of(entry)}


def _add_name(key: str, hosts: dict[str, str]) -> str:
    """A host's name as ShiViz can read it, each its own."""
    name = re.sub(r"[^\w.:~-]", lambda match: f"%{ord(match[0]):02x}", key.removesuffix("\0"), flags=re.ASCII)
    name = name or "(run)"
    while name in hosts.values():
        name += "'"
    hosts[key] = name
    return name


def _words(entry: TraceEntry) -> str:
    detail = entry.detail
    what = type(getattr(detail, "body", detail)).__name__ if detail is not None else ""
    if isinstance(detail, str):
        what = detail
    about = getattr(detail, "id", "") if entry.what is What.EVENT else ""
    if entry.what is What.VIOLATION:
        about = str(detail)
    words = (str(entry.what), what, str(about), f"({entry.peer})" if entry.peer else "")
    return printable(" ".join(word for word in words if word))
