"""How a route reads what it was sent and answers it."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.http.body import BadRequest, decode_json, encode_json

__all__ = ["BadRequest", "answer", "decode_body", "path_id"]

_T = TypeVar("_T")


def answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(encode_json(body), status, headers, media_type="application/json")


async def decode_body(request: Request, shape: type[_T], *, keep_raw: bool = False) -> _T:
    """The JSON body as a ``shape``, as :func:`~meshp2p.http.body.decode_json` reads it. Raises
    :class:`~meshp2p.http.body.BadRequest`."""
    return decode_json(await request.body(), shape, request.headers.get("content-type"), keep_raw=keep_raw)


def path_id(request: Request, name: str = "instance_id") -> str:
    """The id in the path. Paths are matched before they are decoded, so that an id may hold a slash.

    Raises :class:`~meshp2p.http.body.BadRequest` where it is not percent-encoded UTF-8, or too long to be an id.
    """
    raw = request.path_params[name]
    escapes = raw.split("%")[1:]
    if any(len(escape) < 2 or not all(digit in "0123456789abcdefABCDEF" for digit in escape[:2]) for escape in escapes):
        raise BadRequest(400, f"{name} {raw[:80]!r} in the path: '%' is not followed by two hexadecimal digits")
    try:
        decoded = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRequest(400, f"{name} {raw[:80]!r} in the path is not percent-encoded UTF-8") from None
    if len(decoded.encode()) > ID_BYTES_MAX:
        raise BadRequest(422, f"{name} of {len(decoded.encode())} bytes in the path: expected 1 to {ID_BYTES_MAX}")
    return decoded
