"""The output of a measured program: one JSON object per line, with the time of each event."""

from __future__ import annotations

import os
import time

import msgspec

__all__ = ["tell"]


def tell(event: str, subject: str = "", value: str = "") -> None:
    """Print an event with the current time. ``t`` is ``CLOCK_MONOTONIC`` in seconds, which all processes of a machine
    share."""
    line = msgspec.json.encode({"event": event, "id": subject, "value": value, "t": time.monotonic()})
    os.write(1, line + b"\n")
