"""Which ``Host`` and ``Origin`` reach the routes, and what the others get."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.http.guard import Guard, canonical_host, host_of
from meshp2p.http.request import Request, Response
from tests.http.clients import connected

HOSTS = ("Agent-7", "agent-7.local", "192.168.1.4", "fe80::1%eth0", "2001:DB8:0::5")
BOARD = "https://board.example:8443"


class Outcome(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def handler(request: Request) -> Response:
    return Response(200, b"reached", [(b"x-own", b"1")])


def asking(*headers: tuple[bytes, bytes], method: str = "GET") -> Request:
    """A request whose body nobody may read."""
    return Request(method, b"/", headers, cast("Any", None))


async def call(*headers: tuple[bytes, bytes], method: str = "GET", origins: tuple[str, ...] = ()) -> Outcome:
    response = await Guard(handler, lambda: HOSTS, origins)(asking(*headers, method=method))
    return Outcome(response.status, list(response.headers), b"".join(response.parts))


OWN_HOSTS = [
    *(b"localhost", b"LocalHost:7700", b"localhost.", b"127.0.0.1", b"127.0.0.1:1", b"[::1]", b"[::1]:7700"),
    *(b"agent-7", b"AGENT-7:80", b"agent-7.local.", b"192.168.1.4:7700", b"[fe80::1]:7700", b"[2001:db8::5]"),
    *(b"[2001:0db8:0:0:0:0:0:5]:9", b"localhost:", b"127.0.0.2", b"127.255.255.254:7700", b"[0:0:0:0:0:0:0:1]"),
    *(b"[::ffff:127.0.0.1]:7700", b"[::ffff:7f00:2]"),
]
FOREIGN_HOSTS = [
    *(b"evil.example", b"localhost.evil.example", b"evil-localhost", b"127.0.0.1.evil.example", b"agent-7.evil"),
    *(b"", b":7700", b"localhost:x", b"localhost:80:80", b"localhost@evil", b"user@localhost", b"localhost/", b"[::1"),
    *(b"::1", b"[::1]x", b"[localhost]", b"[]", b"[fe80::1%25eth0]", b"192.168.1.5", b"2130706433", b"0x7f.1"),
    *(b"128.0.0.1", b"127.1", b"127.0.0.256", b"[::2]", b"[::ffff:128.0.0.1]", b"[::127.0.0.1]", b"0.0.0.0"),
    *(b"localhost..", b"local\xffhost", b"a" * 10_000, b"localhost, evil"),
]


@pytest.mark.parametrize("host", OWN_HOSTS)
async def test_a_host_of_ours_reaches_the_routes(host: bytes) -> None:
    assert await call((b"host", host)) == (200, [(b"x-own", b"1")], b"reached")


@pytest.mark.parametrize("host", FOREIGN_HOSTS, ids=lambda host: host[:20].decode("latin-1"))
async def test_a_host_that_is_not_ours_is_a_421(host: bytes) -> None:
    outcome = await call((b"host", host))
    assert outcome.status == 421
    assert outcome.headers == [(b"content-type", b"application/json")]
    shown = host[:80].decode("latin-1")
    assert msgspec.json.decode(outcome.body)["error"] == f"Host {shown!r}: expected a name or address of this node"


async def test_no_host_is_a_421() -> None:
    outcome = await call()
    assert (outcome.status, outcome.body) == (421, b'{"error":"no Host: expected a name or address of this node"}')


async def test_the_names_are_asked_at_each_request() -> None:
    hosts = ["one"]
    guard = Guard(handler, lambda: hosts)
    assert (await guard(asking((b"host", b"two")))).status == 421
    hosts[0] = "two"
    assert (await guard(asking((b"host", b"two")))).status == 200


@pytest.mark.parametrize(
    "origin", [b"http://localhost", b"http://127.0.0.1:7700", b"HTTP://Agent-7:3000", b"http://[::1]:7700"]
)
async def test_an_origin_of_ours_reaches_the_routes_without_cors(origin: bytes) -> None:
    outcome = await call((b"host", b"localhost"), (b"origin", origin), origins=(BOARD,))
    assert outcome == (200, [(b"x-own", b"1")], b"reached")


@pytest.mark.parametrize(
    "origin",
    [
        *(b"null", b"", b"http://evil.example", b"https://localhost", b"localhost", b"http://", b"file://localhost"),
        *(b"http://localhost.evil.example", b"http://localhost@evil.example", b"http://localhost/evil"),
        *(b"https://board.example", b"http://board.example:8443", b"https://board.example:8443.evil"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_a_foreign_origin_is_a_403(origin: bytes, method: str) -> None:
    headers = ((b"host", b"localhost"), (b"origin", origin), (b"access-control-request-method", b"POST"))
    outcome = await call(*headers, method=method, origins=(BOARD,))
    assert (outcome.status, outcome.headers) == (403, [(b"content-type", b"application/json")])
    assert "is not allowed to call this node" in msgspec.json.decode(outcome.body)["error"]


async def test_two_origins_are_foreign() -> None:
    own = (b"origin", b"http://localhost")
    assert (await call((b"host", b"localhost"), own, own)).status == 403


async def test_an_allowed_origin_may_read_the_answer() -> None:
    outcome = await call((b"host", b"localhost"), (b"origin", BOARD.encode()), origins=(BOARD,))
    assert outcome == (
        200,
        [
            (b"x-own", b"1"),
            (b"access-control-allow-origin", BOARD.encode()),
            (b"vary", b"Origin"),
            (b"access-control-expose-headers", b"Retry-After, WWW-Authenticate"),
        ],
        b"reached",
    )


async def test_an_allowed_origin_does_not_excuse_a_foreign_host() -> None:
    assert (await call((b"host", b"evil"), (b"origin", BOARD.encode()), origins=(BOARD,))).status == 421


async def test_a_preflight_of_an_allowed_origin_is_answered_by_the_guard() -> None:
    headers = ((b"host", b"localhost"), (b"origin", BOARD.encode()), (b"access-control-request-method", b"DELETE"))
    outcome = await call(*headers, method="OPTIONS", origins=("HTTPS://Board.example:8443/",))
    assert (outcome.status, outcome.body) == (204, b"")
    answer = dict(outcome.headers)
    assert answer[b"access-control-allow-origin"] == BOARD.encode()
    assert b"DELETE" in answer[b"access-control-allow-methods"]
    assert b"Content-Type" in answer[b"access-control-allow-headers"]
    assert answer[b"vary"] == b"Origin"


async def test_options_without_a_preflight_reaches_the_routes() -> None:
    headers = ((b"host", b"localhost"), (b"origin", BOARD.encode()))
    assert (await call(*headers, method="OPTIONS", origins=(BOARD,))).body == b"reached"


async def test_an_absolute_target_cannot_bring_a_foreign_host_past_the_guard() -> None:
    async with connected(Guard(handler, lambda: HOSTS)) as (client, _):
        assert (await client.ask(b"GET http://evil/ HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 421
        assert (await client.ask(b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200


@given(st.one_of(st.binary(), st.text(alphabet="[]:.%@aA1fe-", max_size=20).map(str.encode)))
def test_any_authority_is_a_canonical_host_or_none(authority: bytes) -> None:
    host = host_of(authority)
    assert host is None or canonical_host(host) == host.removesuffix(".")
