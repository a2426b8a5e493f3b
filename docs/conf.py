"""How Sphinx builds these pages: `make docs`, with warnings as errors."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))
from docs.generated import describe_http, write_llms
from meshp2p import blocking

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
    "exclude-members": "add_note, with_traceback",  # of every exception of Python
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


for _name in blocking.__all__:  # by another name, autodoc takes a class for an alias and leaves out its methods
    if isinstance(_class := getattr(blocking, _name), type):
        _class.__name__ = _name


def setup(app: Sphinx) -> None:
    def fill(app: Sphinx, name: str, content: list[str]) -> None:
        if name == "openapi":
            content[0] += describe_http()

    def add_llms(app: Sphinx, error: Exception | None) -> None:
        if error is None:
            (Path(app.outdir) / "llms.txt").write_text(write_llms())

    app.connect("source-read", fill)
    app.connect("build-finished", add_llms)
