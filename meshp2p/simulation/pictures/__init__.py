"""Pictures of a run: a page for a browser, and text for a terminal. Both are made from a
:class:`~meshp2p.virtual.trace.Trace`."""

from meshp2p.simulation.pictures.html import render_html, write_html
from meshp2p.simulation.pictures.timeline import timeline

__all__ = ["render_html", "timeline", "write_html"]
