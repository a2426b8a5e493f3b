"""Draws the pictures of the docs: ``python docs/pictures.py`` writes them into ``docs/pictures``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Final

__all__ = ["DIRECTORY", "draw_pictures"]

DIRECTORY: Final = Path(__file__).parent / "pictures"
_LANE: Final = 165
_STEP: Final = 34
_TOP: Final = 64
_STYLE: Final = (
    "<style>text{font:13px system-ui,sans-serif;fill:#1d2733;paint-order:stroke;stroke:#fff;stroke-width:4px}"
    ".box+text,.agent+text{stroke:none}.small{font-size:11px;fill:#52606d}"
    ".box{fill:#eef3fa;stroke:#5b7ca6}.agent{fill:#f7efe2;stroke:#b08642}.line{stroke:#8a99a8;stroke-dasharray:3 4}"
    ".arrow{stroke:#2f5d8f;stroke-width:1.5;fill:none}.head{fill:#2f5d8f}</style>"
)
_HEAD: Final = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="head" d="M0 0 8 4 0 8Z"/></marker></defs>'
)


def draw_pictures() -> Mapping[str, str]:
    """Return each picture as SVG, by the name of its file."""
    return {"mesh.svg": _mesh(), "messages.svg": _messages(), "leader.svg": _leader()}


def _svg(width: int, height: int, title: str, parts: Iterator[str]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
        f"<title>{escape(title)}</title>",
        _STYLE,
        _HEAD,
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _box(x: float, y: float, width: float, text: str, kind: str = "box", height: float = 30) -> str:
    shape = f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>'
    return shape + _text(x + width / 2, y + height / 2 + 5, text)


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="arrow" d="M{x1:g} {y1:g}L{x2:g} {y2:g}" marker-end="url(#head)"/>'


def _sequence(title: str, lanes: list[str], steps: list[tuple[int, int, str]]) -> str:
    """Draw who sends what to whom, from top to bottom. A step from a lane to itself is a note."""

    def parts() -> Iterator[str]:
        bottom = _TOP + _STEP * len(steps)
        for number, lane in enumerate(lanes):
            x = _LANE * (number + 0.5)
            yield _box(x - 66, 16, 132, lane)
            yield f'<path class="line" d="M{x:g} 46V{bottom:g}"/>'
        for number, (start, end, text) in enumerate(steps):
            y = _TOP + _STEP * (number + 0.6)
            middle = _LANE * ((start + end) / 2 + 0.5)
            if start == end:
                yield _text(middle, y, text, "small")
                continue
            yield _text(middle, y - 7, text)
            yield _arrow(_LANE * (start + 0.5), y, _LANE * (end + 0.5), y)

    return _svg(_LANE * len(lanes), _TOP + _STEP * len(steps) + 16, title, parts())


def _messages() -> str:
    lanes = ["sender's node", "recipient's node", "recipient"]
    steps = [
        (0, 0, "query: one call"),
        (0, 1, "question"),
        (1, 2, "handler runs"),
        (2, 1, "return value"),
        (1, 0, "answer"),
        (0, 0, "message: stored"),
        (0, 0, "kept in the outbox"),
        (0, 1, "message"),
        (1, 1, "kept in the mailbox"),
        (1, 2, "read, again and again"),
        (2, 1, "acknowledge"),
        (1, 0, "acknowledged: forget it"),
    ]
    return _sequence("A query and a message", lanes, steps)


def _leader() -> str:
    lanes = ["painter-1", "painter-2", "painter-3"]
    steps = [
        (0, 1, "leads: epoch 7"),
        (1, 2, "gossip"),
        (0, 0, "process is killed"),
        (1, 0, "connection broke, refused"),
        (2, 1, "refused here too"),
        (1, 1, "lowest live id: leads"),
        (1, 2, "leads: epoch 8"),
    ]
    return _sequence("The leader is killed, and the next lowest id leads", lanes, steps)


def _mesh() -> str:
    def parts() -> Iterator[str]:
        nodes = [("painter-1", 30), ("critic-1", 250), ("writer-1", 470)]
        for name, x in nodes:
            yield _box(x, 20, 150, f"agent {name}", "agent")
            yield _box(x, 50, 150, "node")
        for (_, left), (_, right) in itertools.pairwise(nodes):
            yield _arrow(left + 150, 60, right, 60)
            yield _arrow(right, 72, left + 150, 72)
            yield _text((left + 150 + right) / 2, 46, "UDP, TCP", "small")
        yield _box(250, 140, 150, "agent translator-1", "agent")
        yield _arrow(325, 140, 325, 82)
        yield _text(333, 116, "HTTP, to any node", "small", "start")
        yield _text(30, 112, "discovery: mDNS,", "small", "start")
        yield _text(30, 128, "beacon or seeds", "small", "start")

    return _svg(650, 190, "Agents that embed a node, and one that calls a node over HTTP", parts())


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for name, svg in draw_pictures().items():
        (DIRECTORY / name).write_text(svg)
