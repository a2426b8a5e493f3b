"""What ``import meshp2p`` loads."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["asyncio", "cryptography", "httpx", "spake2", "zeroconf"])
def test_importing_meshp2p_does_not_load_what_only_some_programs_use(module: str) -> None:
    program = f"import sys, meshp2p; sys.exit({module!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
