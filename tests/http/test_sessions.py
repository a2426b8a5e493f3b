"""Links and cookies of browsers: how long they last, and from which requests a cookie counts."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio.testing

from meshp2p.http.request import Request
from meshp2p.http.sessions import LINK_SECONDS, SESSION_SECONDS, SESSIONS_MAX, Sessions

HOST = (b"host", b"127.0.0.1:7700")


def request(method: str = "GET", *headers: tuple[bytes, bytes], host: tuple[bytes, bytes] = HOST) -> Request:
    return Request(method, b"/", (host, *headers), cast("Any", None))


def open_session(sessions: Sessions, token: str = "secret") -> bytes:
    """Open a link, and return what the browser sends from then on."""
    code = sessions.make_link(token).removeprefix("/session/")
    cookie = sessions.open(code, request(), is_encrypted=False)
    assert cookie is not None
    return cookie.split(b";")[0]


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


async def test_a_link_opens_one_session_within_a_minute(
    sessions: Sessions, autojump_clock: trio.testing.MockClock
) -> None:
    links = [sessions.make_link("secret").removeprefix("/session/") for _ in range(2)]
    assert sessions.open(links[0], request(), is_encrypted=False) is not None
    assert sessions.open(links[0], request(), is_encrypted=False) is None
    await trio.sleep(LINK_SECONDS + 1)
    assert sessions.open(links[1], request(), is_encrypted=False) is None
    assert sessions.open("", request(), is_encrypted=False) is None


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_scripts_and_other_sites_do_not_get_the_cookie(sessions: Sessions, is_encrypted: bool) -> None:
    code = sessions.make_link("secret").removeprefix("/session/")
    cookie = sessions.open(code, request(), is_encrypted=is_encrypted) or b""
    name, *attributes = cookie.decode().split("; ")
    assert name.startswith("meshp2p-7700=")
    assert "secret" not in cookie.decode()
    assert "secret" not in code
    wanted = {"Path=/", f"Max-Age={SESSION_SECONDS}", "HttpOnly", "SameSite=Strict"}
    assert set(attributes) == wanted | ({"Secure"} if is_encrypted else set())


async def test_a_session_ends_after_its_time(sessions: Sessions, autojump_clock: trio.testing.MockClock) -> None:
    cookie = (b"cookie", b"other=1; " + open_session(sessions) + b"; last=")
    assert sessions.token_of(request("GET", cookie)) == "secret"
    await trio.sleep(SESSION_SECONDS + 1)
    assert sessions.token_of(request("GET", cookie)) is None


async def test_the_oldest_of_too_many_sessions_ends(sessions: Sessions) -> None:
    cookies = [open_session(sessions, f"token-{number}") for number in range(SESSIONS_MAX + 1)]
    found = [sessions.token_of(request("GET", (b"cookie", cookie))) for cookie in cookies]
    assert found == [None, *(f"token-{number}" for number in range(1, SESSIONS_MAX + 1))]


async def test_nobody_ends_the_sessions_of_others_by_opening_many(sessions: Sessions) -> None:
    cookie = open_session(sessions, "other")
    link = sessions.make_link("other").removeprefix("/session/")
    for _ in range(2 * SESSIONS_MAX):
        open_session(sessions, "flood")
        sessions.make_link("flood")
    assert sessions.token_of(request("GET", (b"cookie", cookie))) == "other"
    assert sessions.open(link, request(), is_encrypted=False) is not None


@pytest.mark.parametrize(
    ("method", "headers", "counts"),
    [
        ("GET", {}, True),
        ("GET", {"sec-fetch-site": "none"}, True),
        ("GET", {"sec-fetch-site": "same-origin"}, True),
        ("GET", {"sec-fetch-site": "same-site"}, False),  # a page of another port
        ("GET", {"sec-fetch-site": "cross-site"}, False),
        ("GET", {"origin": "http://127.0.0.1:9999"}, False),
        ("POST", {}, False),
        ("POST", {"sec-fetch-site": "same-origin"}, False),
        ("DELETE", {}, False),
        ("POST", {"origin": "http://127.0.0.1:7700"}, True),
        ("DELETE", {"origin": "http://127.0.0.1:7700", "sec-fetch-site": "same-origin"}, True),
        ("POST", {"origin": "http://127.0.0.1:7700", "sec-fetch-site": "same-site"}, False),
        ("POST", {"origin": "http://127.0.0.1:9999"}, False),
        ("POST", {"origin": "null"}, False),
    ],
)
async def test_a_cookie_counts_only_in_requests_of_the_own_page(
    sessions: Sessions, method: str, headers: dict[str, str], counts: bool
) -> None:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    found = sessions.token_of(request(method, (b"cookie", open_session(sessions)), *encoded))
    assert (found == "secret") == counts


@pytest.mark.parametrize("host", [b"127.0.0.1:7701", b"127.0.0.1", b"[::1]:7701", b"[::1]"])
async def test_a_cookie_of_one_node_is_none_of_another_port(sessions: Sessions, host: bytes) -> None:
    cookie = (b"cookie", open_session(sessions))
    assert sessions.token_of(request("GET", cookie, host=(b"host", host))) is None
