"""How Sphinx builds these pages: `make docs`, with warnings as errors."""

from __future__ import annotations

import re
from pathlib import Path

_source = (Path(__file__).parents[1] / "meshp2p" / "version.py").read_text()
_version = re.search(r'^__version__ = "(.+)"$', _source, re.MULTILINE)
if _version is None:
    raise ValueError("meshp2p/version.py: expected a line __version__ = ...")

project = "meshp2p"
author = "meshp2p contributors"
copyright = "meshp2p contributors"
version = release = _version[1]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
autodoc_default_options = {
    "members": True,
    "inherited-members": "Exception, Struct, int, str, tuple",
    "member-order": "bysource",
}
autodoc_typehints = "description"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
# Annotations name private types and those of other libraries, which have no page. Public ones must have one.
nitpick_ignore_regex = [("py:class|py:mod", r"(?!meshp2p\.(errors\.)?[A-Z]\w*$).*")]
exclude_patterns = ["adr/template.md", "changes"]

html_theme = "furo"
html_title = f"meshp2p {version}"
html_copy_source = False
