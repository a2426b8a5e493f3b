"""The bytes of HTTP/1.1: what is taken for a head or a body is the same as what h11 takes for it."""

from __future__ import annotations

import re

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshp2p.http import framing
from meshp2p.http.framing import Chunks, Head, parse_head, response_head
from meshp2p.http.limits import HttpLimits
from meshp2p.http.state import RequestRejected

LIMITS = HttpLimits()
CRLF = b"\r\n"

names = st.sampled_from(
    [b"Host", b"host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"X-Y", b"Accept", b"Upgrade"]
)
values = st.one_of(
    st.sampled_from([b"a", b"a:1", b"3", b"03", b"+3", b"3, 3", b"chunked", b"CHUNKED", b"gzip, chunked", b"close"]),
    st.sampled_from([b"keep-alive, Close", b"100-continue", b"", b" \t", b"\xe9", b"a b", b"a\x0bb", b"a\rb", b"\x7f"]),
    st.binary(max_size=8),
)
ends = st.sampled_from([CRLF] * 9 + [b"\n"])
fields = st.tuples(names, st.sampled_from([b":", b": ", b":\t ", b" :"]), values, st.sampled_from([b"", b" "]), ends)
request_lines = st.tuples(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"get", b"G(T", b""]),
    st.just(b" "),
    st.sampled_from([b"/", b"/a?b=%20", b"*", b"http://a/b", b"/\xe9", b"/ b", b""]),
    st.sampled_from([b" HTTP/1.1"] * 5 + [b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0", b" http/1.1", b""]),
    ends,
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A head, often with a mistake in it."""
    lines = [draw(request_lines), (b"Host: a", CRLF), *draw(st.lists(fields, max_size=5))]
    data = b"".join(map(b"".join, lines)) + draw(ends)
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + draw(st.integers(0, 2)) :]
    return data


def reference(data: bytes) -> h11.Request | None:
    """What h11 reads; None if the head is not complete. Raises ``h11.RemoteProtocolError``."""
    protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMITS.header_bytes_max)
    protocol.receive_data(data)
    event = protocol.next_event()
    assert isinstance(event, h11.Request) or event is h11.NEED_DATA
    return event if isinstance(event, h11.Request) else None


@given(heads(), st.binary(max_size=20))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n b: c\r\n\r\n", b"")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", b"")
@example(b"GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\nHost: b\r\n\r\n", b"")
def test_what_is_accepted_is_what_h11_reads(data: bytes, more: bytes) -> None:
    try:
        head, rest = parse_head(data + more, LIMITS)
    except RequestRejected:
        return
    event = reference((data + more).lstrip(CRLF))
    if head is None:
        assert event is None
        return
    assert event is not None
    assert (head.method.encode(), head.target, list(head.headers)) == (event.method, event.target, list(event.headers))
    assert (data + more).endswith(rest)
    assert head.is_http_1_0 == (event.http_version == b"1.0")
    said = dict(event.headers)
    assert head.content_length == int(said.get(b"content-length", 0))
    assert head.is_chunked == (b"transfer-encoding" in said)


@given(
    st.sampled_from(["GET", "POST", "DELETE", "HEAD"]),
    st.text(st.sampled_from("abc/?=&%20~"), max_size=30),
    st.dictionaries(
        st.sampled_from(["accept", "user-agent", "x-a"]), st.text(st.characters(max_codepoint=255), max_size=9)
    ),
    st.integers(0, 10**9) | st.none(),
    st.booleans(),
)
def test_what_clients_write_is_accepted(
    method: str, target: str, headers: dict[str, str], length: int | None, is_last: bool
) -> None:
    given_headers = [
        (b"Host", b"a:1"),
        *((name.encode(), value.strip().encode("latin-1")) for name, value in headers.items()),
    ]
    given_headers += [] if length is None else [(b"Content-Length", b"%d" % length)]
    given_headers += [(b"Connection", b"close")] if is_last else []
    try:
        request = h11.Request(method=method, target=f"/{target}", headers=given_headers)
        data = h11.Connection(h11.CLIENT).send(request)
    except h11.LocalProtocolError:
        return
    assert data is not None
    if any(byte < 0x20 or byte == 0x7F for value in headers.values() for byte in value.strip().encode("latin-1")):
        return  # h11 sends control characters
    head, rest = parse_head(data + b"rest", LIMITS)
    assert head is not None
    assert (head.method, head.target.decode(), rest) == (method, f"/{target}", b"rest")
    assert (head.content_length, head.ends_connection) == (length or 0, is_last)


@given(heads(), st.data())
def test_a_head_in_pieces_is_read_as_in_one(data: bytes, draws: st.DataObject) -> None:
    def read(pieces: list[bytes]) -> tuple[str, bytes, object, bytes] | None:
        buffer, head = b"", None
        for number, piece in enumerate(pieces):
            try:
                head, buffer = parse_head(buffer + piece, LIMITS)
            except RequestRejected:
                return None
            if head is not None:
                return head.method, head.target, head.headers, buffer + b"".join(pieces[number + 1 :])
        return None

    at = draws.draw(st.integers(0, len(data)))
    assert read([data]) == read([data[:at], data[at:]])


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3, 3",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked\x0b",
        b"Transfer-Encoding : chunked",
        b" Transfer-Encoding: chunked",
        b"X: a\r\n Transfer-Encoding: chunked",
        b"X: a\rTransfer-Encoding: chunked",
        b"Content-Length: 0x3",
        b"Content-Length: 3 3",
        b"Content-Length: \xb2",
        b"Host: b",
        b"X",
    ],
)
def test_two_readings_of_a_request_are_refused(lines: bytes) -> None:
    with pytest.raises(RequestRejected) as refused:
        parse_head(b"POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % lines, LIMITS)
    assert refused.value.status in (400, 501)


def test_a_refusal_shows_the_line_that_is_wrong() -> None:
    with pytest.raises(RequestRejected, match=r"^malformed request: header line 'X y: z'$"):
        parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\nA: b\r\n\r\n", LIMITS)
    with pytest.raises(RequestRejected, match=r"^malformed request: request line 'GET /  HTTP/1.1'$"):
        parse_head(b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", LIMITS)


@given(heads(), st.integers(1, 4000))
def test_a_head_costs_no_more_than_its_length(data: bytes, count: int) -> None:
    """A pattern that tries a part of a head again and again would not end in time."""
    for part in (b" ", b"\t", b"a", b":", b"\r", b"\xff", b"a:b"):
        try:
            parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nX: %s%s" % (part * count, data), LIMITS)
        except RequestRejected:
            pass


CHUNKS = [b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"1;x=y\r\nd\r\n", b"00a\r\n0123456789\r\n", b"A \r\n"]
CHUNKS += [
    b"\r\n",
    b"\n",
    b"abc",
    b"-1\r\n",
    b"0x1\r\na\r\n",
    b"0\r\n",
    b"ffffffffffffffffffff\r\n",
    b"1 ; \x00\r\n",
    b"+1\r\n",
]


def take_all(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    """The body and the bytes behind it, None if it has no end. Raises :class:`RequestRejected`."""
    chunks, body, data = Chunks(LIMITS), b"", CRLF
    for number, piece in enumerate(pieces):
        data += piece
        while True:
            part, data = chunks.take(data)
            if part is None:
                return body, data + b"".join(pieces[number + 1 :])
            if not part:
                break
            body += part
    return None


@given(st.lists(st.sampled_from(CHUNKS) | st.binary(max_size=3), max_size=6).map(b"".join), st.data())
@example(b"3\r\nabc\r\n0\r\n\r\nGET", None)
@example(b"3\r\nabcX\r\n0\r\n\r\n", None)
def test_a_chunked_body_is_what_h11_reads(data: bytes, draws: st.DataObject | None) -> None:
    protocol = h11.Connection(h11.SERVER)
    protocol.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    protocol.next_event()
    body = b""
    expected: tuple[bytes, bytes] | None = None
    is_refused = False
    try:
        while not isinstance(event := protocol.next_event(), h11.EndOfMessage) and event is not h11.NEED_DATA:
            assert isinstance(event, h11.Data)
            body += event.data
        if isinstance(event, h11.EndOfMessage):
            expected = body, protocol.trailing_data[0]
    except h11.RemoteProtocolError:
        is_refused = True
    cuts = sorted(draws.draw(st.lists(st.integers(0, len(data)), max_size=4))) if draws is not None else []
    pieces = [data[one:other] for one, other in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    try:
        found = take_all(pieces)
    except RequestRejected:
        return
    assert found is None or (found == expected and not is_refused)


@pytest.mark.parametrize(
    "data",
    [b"zz\r\n", b"1\r\nab\r\n", b"\r\n1\r\n", b"1\n", b"0\r\nA b: c\r\n\r\n", b"1;\x00\r\n", b"g", b"1" * 20_000],
)
def test_a_malformed_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(RequestRejected):
        take_all([data + b"\r\n"])


@pytest.mark.parametrize("data", [b"1;" + b"a" * 2000 + b"\r\nb\r\n0\r\n\r\n", b"0\r\nA: " + b"a" * 2000 + b"\r\n\r\n"])
def test_chunks_that_come_byte_by_byte_are_matched_once_they_are_whole(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matching again after each byte would take a time that grows with the square of the length."""
    matched: list[bytes] = []

    class Counting:
        def __init__(self, pattern: re.Pattern[bytes]) -> None:
            self._pattern = pattern

        def match(self, text: bytes) -> re.Match[bytes] | None:
            matched.append(text)
            return self._pattern.match(text)

    for name in ("_CHUNK", "_TRAILERS"):
        monkeypatch.setattr(framing, name, Counting(getattr(framing, name)))
    assert take_all([data[at : at + 1] for at in range(len(data))]) == (b"b" if data[:1] == b"1" else b"", b"")
    assert len(matched) <= 3


def test_a_header_of_a_response_that_would_be_read_as_two_is_refused() -> None:
    assert response_head(200, [(b"a", b"b")], b"c: d\r\n").endswith(b"\r\nc: d\r\n\r\n")
    for header in (
        (b"a", b"b\r\nc: d"),
        (b"a\r\nc", b"d"),
        (b"a", b"b\nc"),
        (b"a", b"\x00"),
        (b"", b"a"),
        (b"a b", b"c"),
    ):
        with pytest.raises(ValueError, match="expected a name and printable text"):
            response_head(200, [header], b"")


def test_the_head_of_a_request_says_how_it_is_framed() -> None:
    head, rest = parse_head(
        b"\r\n\nPOST /x HTTP/1.1\r\nHOST:a \r\nexpect: 100-Continue\r\ncontent-length:3\r\n\r\nabc", LIMITS
    )
    assert isinstance(head, Head)
    assert (head.method, head.target, head.content_length, rest) == ("POST", b"/x", 3, b"abc")
    assert head.headers == [(b"host", b"a"), (b"expect", b"100-Continue"), (b"content-length", b"3")]
    assert (head.awaits_continue, head.is_chunked, head.ends_connection) == (True, False, False)
