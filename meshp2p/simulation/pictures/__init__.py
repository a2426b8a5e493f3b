"""What a run looks like: a page for a browser, lines for a terminal, a log for ShiViz. All are made from a
:class:`~meshp2p.virtual.trace.Trace`."""

from meshp2p.simulation.pictures.html import render_html, write_html
from meshp2p.simulation.pictures.shiviz import shiviz
from meshp2p.simulation.pictures.timeline import timeline

__all__ = ["render_html", "shiviz", "timeline", "write_html"]
