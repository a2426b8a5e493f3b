"""HTTP/1.1 in bytes: the head of a request, the chunks of a body, and the head of a response (RFC 9112).

A request that another program could read in another way is refused, so that no request can be hidden in another one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final, TypeAlias

from meshp2p.http.limits import HttpLimits, HttpRefusal
from meshp2p.http.state import RequestRejected

__all__ = ["LAST_CHUNK", "Chunks", "Head", "Headers", "as_chunk", "malformed", "parse_head", "response_head"]

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

LAST_CHUNK: Final = b"0\r\n\r\n"
_LINES_MAX: Final = 128  # chosen, not measured
_CRLF: Final = b"\r\n"
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELD: Final = rb"(%s):([\t\x20-\x7e\x80-\xff]*)\r?\n" % _TOKEN
_EMPTY_LINES: Final = re.compile(rb"(?:\r?\n)+")
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_REQUEST_LINE: Final = re.compile(rb"(%s) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])\r?\n" % _TOKEN)
_find_fields: Final = re.compile(_FIELD).findall
_FIELDS: Final = re.compile(rb"(?:%s)*" % _FIELD)
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_FRAMING: Final = frozenset((b"connection", b"content-length", b"expect", b"host", b"transfer-encoding"))
_CHUNK: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILERS: Final = re.compile(rb"(?:%s)*\r?\n" % _FIELD)
_AROUND_TARGET_MAX: Final = 80  # the method and the version in a request line: chosen, not measured
_SHOWN_MAX: Final = 80
_PHRASES: Final = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}


class Head:
    """The head of a request. The names of the headers are in lower case. ``ends_connection`` says that no request may
    follow."""

    def __init__(self, method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], *, is_http_1_0: bool) -> None:
        self.method: str = method.decode("ascii")
        self.target: bytes = target
        self.headers: Headers = headers
        self.content_length: int = 0
        self.is_chunked: bool = False
        self.awaits_continue: bool = False
        self.is_http_1_0: bool = is_http_1_0
        self.ends_connection: bool = is_http_1_0
        seen: set[bytes] = set()
        for name, value in headers:
            if name not in _FRAMING:
                continue
            if name in seen and name in (b"host", b"content-length", b"transfer-encoding"):
                raise malformed(f"several headers {name.decode('ascii').title()}")
            seen.add(name)
            if name == b"connection":
                self.ends_connection |= any(one.strip() == b"close" for one in value.lower().split(b","))
            elif name == b"content-length":
                if _LENGTH.fullmatch(value) is None:
                    raise malformed(f"Content-Length {_show(value)}")
                self.content_length = int(value)
            elif name == b"expect":
                self.awaits_continue = value.lower() == b"100-continue" and not is_http_1_0
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    message = f"Transfer-Encoding {_show(value)}: expected chunked"
                    raise RequestRejected(501, HttpRefusal.NOT_IMPLEMENTED, message)
                self.is_chunked = True
        if b"host" not in seen and not is_http_1_0:
            raise malformed("no Host")
        if self.is_chunked and (b"content-length" in seen or is_http_1_0):
            # RFC 9112 §6.1: a proxy could see another request than we do.
            raise malformed("Transfer-Encoding beside Content-Length or in HTTP/1.0")


def parse_head(data: bytes, limits: HttpLimits) -> tuple[Head | None, bytes]:
    """Return the first head in the bytes from a client, None if it is not complete, and the bytes behind it. Empty
    lines before it are skipped (RFC 9112 §2.2). Raises :class:`RequestRejected`."""
    if data[:1] in b"\r\n" and (empty := _EMPTY_LINES.match(data)) is not None:
        data = data[empty.end() :]
    end = _HEAD_END.search(data)
    size = len(data) if end is None else end.start() + 1
    if size > limits.header_bytes_max:
        if data.find(b"\n", 0, min(limits.target_bytes_max + _AROUND_TARGET_MAX, size)) < 0:
            raise _target_too_long(limits)
        raise _head_too_large(limits)
    if data.count(b"\n", 0, size) > _LINES_MAX:
        raise RequestRejected(431, HttpRefusal.HEAD_TOO_LARGE, f"the request head has more than {_LINES_MAX} lines")
    if end is None:
        if data[:1] < b"!" and data not in (b"", b"\r"):
            raise malformed(f"request line {_show(data)}")
        return None, data
    line = _REQUEST_LINE.match(data, 0, size)
    if line is None:
        raise malformed(f"request line {_show(data)}")
    method, target, version = line.groups()
    if version not in (b"1.1", b"1.0"):
        raise RequestRejected(400, HttpRefusal.BAD_REQUEST, f"HTTP/{version.decode('ascii')}: expected HTTP/1.1")
    if len(target) > limits.target_bytes_max:
        raise _target_too_long(limits)
    if _FIELDS.fullmatch(data, line.end(), size) is None:
        raise malformed(f"header line {_show(_FIELDS.sub(b'', data[line.end() : size], 1))}")
    headers = [(name.lower(), value.strip(b" \t")) for name, value in _find_fields(data, line.end(), size)]
    return Head(method, target, headers, is_http_1_0=version == b"1.0"), data[end.end() :]


class Chunks:
    """The framing of a chunked body (RFC 9112 §7.1). Extensions and trailers are skipped."""

    def __init__(self, limits: HttpLimits) -> None:
        self.count: int = 0
        """How many chunks have begun."""
        self._limits = limits
        self._left = 0  # bytes of the present chunk
        self._is_in_trailers = False

    def take(self, data: bytes) -> tuple[bytes | None, bytes]:
        """Take the next part of the body from received bytes. The first must be ``\\r\\n``, which also
        stands before each later chunk.

        Return the part, empty if more bytes must arrive, None at the end of the body, and the bytes that were not used.
        Raises :class:`RequestRejected`.
        """
        if not self._left and not self._is_in_trailers:
            if not _CRLF.startswith(data[:2]):
                raise malformed(f"chunk header {_show(data)}")
            if data.find(b"\n", 2) < 0:
                if len(data) > self._limits.header_bytes_max:
                    raise malformed("a chunk header that is too long")
                return b"", data
            chunk = _CHUNK.match(data)
            if chunk is None:
                raise malformed(f"chunk header {_show(data[2:])}")
            data = data[chunk.end() :]
            self._left = int(chunk[1], 16)
            self._is_in_trailers = not self._left
            self.count += not self._is_in_trailers
        if self._is_in_trailers:
            if data.startswith((b"\n", _CRLF)) or _HEAD_END.search(data) is not None:
                trailers = _TRAILERS.match(data)
                if trailers is None:
                    raise malformed(f"trailer {_show(data)}")
                return None, data[trailers.end() :]
            if len(data) > self._limits.header_bytes_max or data.count(b"\n") > _LINES_MAX:
                raise _head_too_large(self._limits)
            return b"", data
        part = data[: self._left]
        self._left -= len(part)
        return part, data[len(part) :]


def response_head(status: int, headers: Headers, more: bytes) -> bytes:
    """Return the head of a response with these headers, the ``Date``, and then the lines ``more``. Raises
    ``ValueError`` for a header that would not be read as such."""
    return b"%s%s%s\r\n" % (_fixed_lines(status, tuple(headers)), _date_line(), more)


@lru_cache(maxsize=64)
def _fixed_lines(status: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    if lines.count(b"\n") != len(headers) or _FIELDS.fullmatch(lines) is None:
        raise ValueError(f"headers {headers!r:.500} of a response: expected a name and printable text")
    return b"HTTP/1.1 %d %s\r\n%s" % (status, _PHRASES.get(status, b""), lines)


def as_chunk(data: bytes) -> bytes:
    """Return a chunk of a body. ``data`` must not be empty."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class _DateLine:
    """Returns the line ``Date``, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            from email.utils import formatdate  # noqa: PLC0415  # only where it is used

            self._second = second
            self._line = b"date: %s\r\n" % formatdate(second, usegmt=True).encode("ascii")
        return self._line


_date_line: Final = _DateLine()


def malformed(what: str) -> RequestRejected:
    return RequestRejected(400, HttpRefusal.BAD_REQUEST, f"malformed request: {what}")


def _head_too_large(limits: HttpLimits) -> RequestRejected:
    message = f"the request head is larger than {limits.header_bytes_max} bytes"
    return RequestRejected(431, HttpRefusal.HEAD_TOO_LARGE, message)


def _target_too_long(limits: HttpLimits) -> RequestRejected:
    message = f"the path and query are longer than {limits.target_bytes_max} bytes"
    return RequestRejected(414, HttpRefusal.TARGET_TOO_LONG, message)


def _show(value: bytes) -> str:
    """Show the first line."""
    return repr(value.partition(b"\n")[0].removesuffix(b"\r")[:_SHOWN_MAX].decode("latin-1"))
