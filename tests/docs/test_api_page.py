"""The API reference names every public name."""

from __future__ import annotations

import re
from pathlib import Path

import meshp2p
from meshp2p import errors

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_every_public_name_is_on_the_page_and_no_other() -> None:
    listed = set(
        re.findall(r"^\.\. auto(?:class|function|exception):: meshp2p\.(\w+)$", PAGE.read_text(), re.MULTILINE)
    )
    on_other_pages = {"__version__", "NodeOptions", "ProtocolConfig", "HttpLimits"}
    in_errors = {
        name for name in meshp2p.__all__ if getattr(getattr(meshp2p, name), "__module__", "") == errors.__name__
    }
    assert listed == set(meshp2p.__all__) - on_other_pages - in_errors
