"""The W3C Trace Context of a message as one text: ``traceparent``, and after a space ``tracestate`` if there is one."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["join_trace", "split_trace_untrusted"]

_TRACEPARENT: Final = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE: Final = re.compile("[ -~]{1,512}")


def join_trace(traceparent: str, tracestate: str) -> str | None:
    """Return the text of these headers. An invalid ``tracestate`` is left out, and without a valid ``traceparent`` the
    result is None."""
    if _TRACEPARENT.fullmatch(traceparent) is None:
        return None
    return f"{traceparent} {tracestate}" if _TRACESTATE.fullmatch(tracestate) else traceparent


def split_trace_untrusted(text: str | None) -> dict[str, str]:
    """Return the headers of a text, those that are valid. Never raises."""
    traceparent, _, tracestate = (text or "").partition(" ")
    if _TRACEPARENT.fullmatch(traceparent) is None:
        return {}
    headers = {"traceparent": traceparent}
    return headers | {"tracestate": tracestate} if _TRACESTATE.fullmatch(tracestate) else headers
