"""An option of the protocol that nobody varies is a constant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.presets import PRESETS

ROOT = Path(__file__).parents[2]
IN_PRESETS = {choice.key.removeprefix("protocol.") for preset in PRESETS for choice in preset.choices}
SOURCES = [path.read_text() for folder in ("tests", "simulations") for path in (ROOT / folder).rglob("*.py")]
LIMITS = (ROOT / "docs" / "http.md").read_text()


@pytest.mark.parametrize("name", ProtocolConfig.__struct_fields__)
def test_each_option_is_varied_or_is_a_limit_that_users_are_told(name: str) -> None:
    varied = re.compile(rf'\b{name}=|"{name}": |protocol_{name}|protocol\.{name}')
    is_varied = name in IN_PRESETS or any(varied.search(source) for source in SOURCES)
    assert is_varied or f"| `{name}` |" in LIMITS, "make it a constant"
