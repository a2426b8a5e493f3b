"""The pieces of SVG that pictures here are made of."""

from __future__ import annotations

from xml.sax.saxutils import escape

__all__ = ["GREY", "INK", "document", "line", "text"]

INK, GREY = "#222222", "#dddddd"


def document(width: int, height: float, about: str, lines: list[str]) -> str:
    """Return a whole document on white. ``about`` describes it for those who cannot see it."""
    named = f' role="img" aria-label="{escape(about)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}"{named}>',
            "<style>text { font-family: sans-serif; font-size: 12px }</style>",
            f'<rect width="{width}" height="{height:g}" fill="#ffffff"/>',
            *lines,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, what: str, anchor: str = "middle", ink: str = INK, *, is_bold: bool = False) -> str:
    weight = ' font-weight="bold"' if is_bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{ink}"{weight}>{escape(what)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, ink: str = INK, width: float = 1.0) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{ink}" stroke-width="{width:g}"/>'
