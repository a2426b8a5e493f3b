"""How a call stands in HTTP: where it is posted, and as what."""

from __future__ import annotations

from typing import Final

__all__ = ["CALL_PATH", "CONTENT_TYPE", "WATCH_PATH"]

CALL_PATH: Final = "/mesh/call"
WATCH_PATH: Final = "/mesh/watch"
CONTENT_TYPE: Final = "application/vnd.meshp2p"
