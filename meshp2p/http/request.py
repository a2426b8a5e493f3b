"""A request and its response, as routes see them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar
from urllib.parse import unquote_to_bytes

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.http.body import BadRequest, decode_in_steps, encode_json
from meshp2p.http.framing import Headers
from meshp2p.http.incoming import RequestBody
from meshp2p.http.route import Route
from meshp2p.trust.grants import Grant

__all__ = ["Handler", "Request", "Response", "Write", "json_response", "query_flag"]

Write: TypeAlias = Callable[[bytes], Awaitable[None]]
Handler: TypeAlias = Callable[["Request"], Awaitable["Response"]]

_T = TypeVar("_T")

_SHOWN_MAX: Final = 80  # characters of a refused value in an error message: chosen, not measured
_PAIRS_MAX: Final = 64  # chosen, not measured
_BAD_ESCAPE: Final = re.compile("%(?![0-9a-fA-F]{2})")
_JSON_TYPE: Final = (b"content-type", b"application/json")


class Request:
    """One request. ``path`` and ``query`` are as they were sent, ``client`` is the host it came from, if it has one.

    ``route`` is set when it is known. Then ``params`` are the parts of the path that the route names, still
    percent-encoded, so that an id may hold a slash. ``grant`` says what the caller may do in a secured mesh; it is None
    in an open one. A handler that waited calls ``check_access`` again, which raises
    :class:`~meshp2p.http.body.BadRequest`.
    """

    __slots__ = (
        "check_access",
        "client",
        "grant",
        "headers",
        "home",
        "incoming",
        "method",
        "params",
        "path",
        "query",
        "route",
    )

    def __init__(
        self, method: str, target: bytes, headers: Headers, incoming: RequestBody, client: str | None = None
    ) -> None:
        path, _, query = target.partition(b"?")
        self.method: str = method
        self.path: str = path.decode("latin-1")
        self.query: str = query.decode("latin-1")
        self.headers: Headers = headers
        self.incoming: RequestBody = incoming
        self.client: str | None = client
        self.params: dict[str, str] = {}
        self.grant: Grant | None = None
        self.home: Grant | None = None
        """The grant of the machine of the node in a secured mesh, None in an open one."""
        self.check_access: Callable[[], None] = _allow
        self.route: Route | None = None

    def header(self, name: bytes) -> str | None:
        """Return the first header with this lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    async def read_json(self, shape: type[_T]) -> _T:
        """Return the JSON body as a ``shape``, as :func:`~meshp2p.http.body.decode_in_steps` reads it, up to the limit
        of the route.

        Raises :class:`~meshp2p.http.body.BadRequest`, and what :meth:`RequestBody.read` raises.
        """
        encoding = self.header(b"content-encoding")
        if encoding is not None and encoding.strip().lower() != "identity":
            raise BadRequest(415, f"Content-Encoding {encoding[:_SHOWN_MAX]!r}: expected none")
        bytes_max = None if self.route is None else getattr(self.incoming.limits, self.route.body_limit)
        body = await self.incoming.read(bytes_max)
        decoded = await self.incoming.run_steps(decode_in_steps(body, shape, self.header(b"content-type")))
        if self.incoming.has_waited:
            self.check_access()  # the caller may have been revoked while it sent the body
        return decoded

    def path_id(self, name: str = "instance_id") -> str:
        """Return the id in the path that the route calls ``name``. Raises :class:`~meshp2p.http.body.BadRequest`: 400
        if it is not percent-encoded UTF-8, 422 if it is too long for an id."""
        quoted = self.params[name]
        if len(quoted) <= 3 * ID_BYTES_MAX:  # a longer one is not worth decoding
            text = _unquote(quoted, f"{name} {quoted[:_SHOWN_MAX]!r} in the path")
            if len(text.encode()) <= ID_BYTES_MAX:
                return text
        raise BadRequest(422, f"{name} of more than {ID_BYTES_MAX} bytes in the path: expected 1 to {ID_BYTES_MAX}")

    def query_values(self) -> dict[str, list[str]]:
        """Return the values of each key in the query, in their order. Raises :class:`~meshp2p.http.body.BadRequest`
        (400) if one is not percent-encoded UTF-8, or if there are more than 64."""
        values: dict[str, list[str]] = {}
        pairs = self.query.split("&", _PAIRS_MAX)
        if len(pairs) > _PAIRS_MAX:
            raise BadRequest(400, f"more than {_PAIRS_MAX} values in the query")
        for pair in pairs:
            if pair:
                where = f"{pair[:_SHOWN_MAX]!r} in the query"
                key, _, value = pair.replace("+", " ").partition("=")
                values.setdefault(_unquote(key, where), []).append(_unquote(value, where))
        return values


def _allow() -> None:
    """Check access in an open mesh: everybody may do everything."""


class Response:
    """The answer of a route. The body is the ``parts`` in their order; several responses may share a part.

    ``stream`` writes more after them until it returns; if the client goes, it is cancelled. It gets a function that
    sends bytes.
    """

    __slots__ = ("headers", "parts", "status", "stream")

    def __init__(
        self,
        status: int = 200,
        body: bytes | tuple[bytes, ...] = b"",
        headers: Headers = (),
        stream: Callable[[Write], Awaitable[None]] | None = None,
    ) -> None:
        self.status: int = status
        self.parts: tuple[bytes, ...] = (body,) if isinstance(body, bytes) else body
        self.headers: Headers = headers
        self.stream: Callable[[Write], Awaitable[None]] | None = stream

    @property
    def size(self) -> int:
        """The length of the body."""
        return sum(map(len, self.parts))


def json_response(body: object, status: int = 200, headers: Headers = ()) -> Response:
    """Return a JSON response. A tuple holds parts of JSON that is already encoded."""
    return Response(status, body if isinstance(body, tuple) else encode_json(body), (_JSON_TYPE, *headers))


def query_flag(query: Mapping[str, Sequence[str]], key: str) -> bool:
    """Return whether the query has ``key=true``. Raises :class:`~meshp2p.http.body.BadRequest` (422) for another
    value."""
    text = query[key][-1] if key in query else "false"
    if text not in ("true", "false"):
        raise BadRequest(422, f"{key}={text[:_SHOWN_MAX]!r} in the query: expected true or false")
    return text == "true"


def _unquote(text: str, where: str) -> str:
    """Decode percent-encoded UTF-8. Raises :class:`~meshp2p.http.body.BadRequest`."""
    if "%" not in text and text.isascii():
        return text
    if _BAD_ESCAPE.search(text):
        raise BadRequest(400, f"{where}: '%' is not followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise BadRequest(400, f"{where} is not percent-encoded UTF-8") from None
