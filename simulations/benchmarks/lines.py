"""What a program under measurement says: a JSON object a line, with the time at which it happened."""

from __future__ import annotations

import os
import time

import msgspec

__all__ = ["tell"]


def tell(event: str, subject: str = "", value: str = "") -> None:
    """Say it now. ``t`` is ``CLOCK_MONOTONIC`` in seconds, which all processes of a machine share."""
    line = msgspec.json.encode({"event": event, "id": subject, "value": value, "t": time.monotonic()})
    os.write(1, line + b"\n")
