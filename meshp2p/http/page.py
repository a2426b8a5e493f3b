"""The live page: one HTML file, which loads nothing but the API of the node that serves it.

The words for evidence are filled in from the table that events and the verdict use. The policy allows the style and the
script of the file by their hashes, and connections to the node itself.
"""

from __future__ import annotations

import base64
import functools
import hashlib

import msgspec

from meshp2p.http.framing import Headers
from meshp2p.http.request import Response
from meshp2p.http.routes import PAGE_TYPE
from meshp2p.wire.event_contract import EVIDENCE_TEXTS

__all__ = ["page_response"]


def page_response() -> Response:
    """Return the page."""
    body, headers = _load()
    return Response(200, body, headers)


@functools.cache
def _load() -> tuple[bytes, Headers]:
    from importlib import resources  # noqa: PLC0415  # only where it is used

    body = resources.files(__package__).joinpath("page.html").read_bytes()
    body = body.replace(b"const EVIDENCE = {}", b"const EVIDENCE = " + msgspec.json.encode(EVIDENCE_TEXTS))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{_hash_of(body, b'style')}'",
            f"script-src 'sha256-{_hash_of(body, b'script')}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return body, [
        (b"content-type", PAGE_TYPE.encode()),
        (b"content-security-policy", policy.encode()),
        (b"cache-control", b"no-cache"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"cross-origin-opener-policy", b"same-origin"),
    ]


def _hash_of(body: bytes, tag: bytes) -> str:
    """Return the hash of the only element of this kind, as a policy names it."""
    text = body.partition(b"<%b>" % tag)[2].partition(b"</%b>" % tag)[0]
    return base64.b64encode(hashlib.sha256(text).digest()).decode()
