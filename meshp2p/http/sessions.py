"""Sessions of browsers: a one-time link gives a browser a cookie that stands for a token.

The link and the cookie are random. The token itself stays in the node, because a browser sends a cookie to all ports of
a host, and so to other programs there. The key of an admin is random too, but the page sends it, never a cookie.
"""

from __future__ import annotations

import secrets
from typing import Final

import trio

from meshp2p.http.request import Request

__all__ = ["LINK_SECONDS", "SESSION_SECONDS", "Sessions"]

LINK_SECONDS: Final = 60
"""How long a link can be opened. Chosen, not measured."""

SESSION_SECONDS: Final = 12 * 3600
"""How long a session lasts, unless its token expires earlier. Chosen, not measured."""

ADMIN_SECONDS: Final = 3600
"""How long the key of an admin is valid. Chosen, not measured."""

SESSIONS_MAX: Final = 256
"""How many sessions, links and keys of admins a node keeps, of each kind. One more ends the oldest of its token, or
else the oldest of all. Chosen, not measured."""

_SAFE_METHODS: Final = ("GET", "HEAD")


class _Tokens:
    """Tokens by random names, for so many seconds each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tokens: dict[str, tuple[float, str]] = {}

    def add(self, token: str) -> str:
        if len(self._tokens) >= SESSIONS_MAX:
            own = (name for name, (_, one) in self._tokens.items() if one == token)
            del self._tokens[next(own, next(iter(self._tokens)))]
        name = secrets.token_urlsafe(32)
        self._tokens[name] = (trio.current_time() + self._seconds, token)
        return name

    def find(self, name: str) -> str | None:
        expires_at, token = self._tokens.get(name, (0.0, ""))
        if not token or expires_at > trio.current_time():
            return token or None
        del self._tokens[name]
        return None

    def remove(self, name: str) -> None:
        self._tokens.pop(name, None)


class Sessions:
    """The sessions of one node. They end with it."""

    def __init__(self) -> None:
        self._links = _Tokens(LINK_SECONDS)
        self._sessions = _Tokens(SESSION_SECONDS)
        self._admin_keys = _Tokens(ADMIN_SECONDS)

    def make_link(self, token: str) -> str:
        """Return the path that gives a browser the rights of a token, once."""
        return f"/session/{self._links.add(token)}"

    def make_admin_key(self) -> str:
        """Return a key that counts as a token of an admin of this machine."""
        return self._admin_keys.add("admin")

    def is_admin_key(self, text: str) -> bool:
        return self._admin_keys.find(text) is not None

    def open(self, code: str, request: Request, *, is_encrypted: bool) -> bytes | None:
        """Open the session of a link. Return the header ``Set-Cookie``, or None if there is no such link any more."""
        token = self._links.find(code)
        if token is None:
            return None
        self._links.remove(code)
        cookie = f"{_cookie_name(request)}={self._sessions.add(token)}"
        secure = "; Secure" if is_encrypted else ""
        return f"{cookie}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Strict{secure}".encode()

    def token_of(self, request: Request) -> str | None:
        """Return the token that the cookie of a request stands for; None if there is none.

        Pages of other ports of this host are of the same site, so their requests have the cookie too. Browsers say
        where a request comes from, and a request that changes something must say so.
        """
        cookies = "; ".join(value.decode("latin-1") for key, value in request.headers if key == b"cookie")
        if not cookies:
            return None
        origin, site = request.header(b"origin"), request.header(b"sec-fetch-site")
        is_own = origin is not None and origin.partition("://")[2] == request.header(b"host")
        is_safe = origin is None and request.method in _SAFE_METHODS
        if site not in (None, "none", "same-origin") or not (is_own or is_safe):
            return None
        name = _cookie_name(request)
        for cookie in cookies.split(";"):
            key, _, value = cookie.strip().partition("=")
            if key == name and (token := self._sessions.find(value)) is not None:
                return token
        return None


def _cookie_name(request: Request) -> str:
    """Cookies of a host are those of all its ports, and a machine may have several nodes."""
    port = (request.header(b"host") or "").rpartition("]")[2].rpartition(":")[2]
    return f"meshp2p-{port if port.isdigit() else ''}"
