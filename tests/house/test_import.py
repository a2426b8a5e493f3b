"""What ``import meshp2p`` loads."""

from __future__ import annotations

import subprocess
import sys

OF_SOME_PROGRAMS = {"asyncio", "cryptography", "httpx", "spake2", "zeroconf"}


def test_importing_meshp2p_does_not_load_what_only_some_programs_use() -> None:
    program = "import sys, meshp2p; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert "meshp2p" in loaded.stdout.split()
    assert OF_SOME_PROGRAMS.isdisjoint(loaded.stdout.split())
