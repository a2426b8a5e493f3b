"""Authorization in a secured mesh: identifies the caller of a request and checks it against the scope of the route.

A node of an open mesh has no :class:`Access`, and every caller may do everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from meshp2p.errors import RemoteProtocolError
from meshp2p.http.body import BadRequest
from meshp2p.http.request import Request
from meshp2p.http.route import Route
from meshp2p.http.sessions import Sessions
from meshp2p.trust.grants import CallerAccess, Grant

__all__ = ["Access", "check_acts_as", "check_may_host"]

_FORWARDED: Final = frozenset((b"forwarded", b"via", b"x-real-ip"))
_INSTANCES: Final = frozenset(("instance_id", "source_instance"))
_SHOWN_MAX: Final = 200
_HOW: Final = "make a token with meshp2p token"


class Access:
    """Checks requests. With ``requires_token``, programs on this machine need a token or a certificate too."""

    def __init__(self, callers: CallerAccess, wall_ms: Callable[[], int], *, requires_token: bool = False) -> None:
        self._callers = callers
        self._wall_ms = wall_ms
        self._requires_token = requires_token
        self._sessions = Sessions()

    def check(self, request: Request, route: Route) -> None:
        """Identify the caller, unless any caller may use the route, and check that it may use the route. Raises
        :class:`BadRequest`: 401 if the caller cannot be identified, 403 if it may not use the route.

        The handler of a route whose body names the instance calls :func:`check_acts_as`.
        """
        if route.scope is None:
            return
        grant = request.grant = self._identify(request)
        request.home = self._callers.local
        if route.scope == "read" and not grant.may_read:
            raise _forbidden("this caller may not read", "read")
        may_local = route.scope == "local" and grant is self._callers.local
        if route.scope in ("admin", "local") and not (grant.is_admin or may_local):
            raise _forbidden("this caller is no admin", "admin")
        if route.scope == "owner" and not self.may_administer(request):
            why = "only an admin with the certificate of the node's machine may: run `meshp2p open --admin` there, or"
            raise _forbidden(f"{why} `meshp2p invite` or `meshp2p revoke ID` on a machine that may", "admin")
        if route.scope == "agent":
            if not grant.ids:
                raise _forbidden("this caller may act as no instance", "agent:ID")
            for name in _INSTANCES.intersection(request.params):
                check_acts_as(request, request.path_id(name))

    def may_administer(self, request: Request) -> bool:
        """Return whether the caller is an admin that showed the certificate of this node's machine, or has an admin key
        that such a caller made. Who holds that certificate can sign invitations and revocations without a node.

        Tokens do not count, and neither do sessions of browsers, which stand for tokens: any node that receives a token
        can use it. The comparison of owners excludes them, because the owner of a token is never the machine itself.
        """
        grant = request.grant
        return grant is not None and grant.is_admin and grant.owner == self._callers.local.owner

    def make_admin_key(self) -> str:
        """Return a key that gives a browser the rights of a caller that may administer."""
        return self._sessions.make_admin_key()

    def make_link(self, request: Request) -> str:
        """Return the path that opens the live page in a browser with the rights of this caller. Raises
        :class:`BadRequest` (400) if they are those of a certificate, which a browser does not have."""
        token = next((value for name, value in request.headers if name == b"authorization"), None)
        if token is not None:
            return self._sessions.make_link(_bearer([token]))
        if request.grant is self._callers.local:
            return "/"
        raise BadRequest(400, f"a link for a browser needs a token: {_HOW}")

    def open_session(self, request: Request) -> bytes:
        """Return the header ``Set-Cookie`` for the browser that opened a link. Raises :class:`BadRequest` (404)."""
        is_encrypted = request.incoming.certified is not None
        cookie = None
        if request.method == "GET":  # HEAD, as of a preview, does not use it up
            cookie = self._sessions.open(request.params["code"], request, is_encrypted=is_encrypted)
        if cookie is None:
            raise BadRequest(404, "this link was used already, or is too old: run meshp2p open again")
        return cookie

    def _identify(self, request: Request) -> Grant:
        tokens = [value for name, value in request.headers if name == b"authorization"]
        try:
            token = _bearer(tokens) if tokens else self._sessions.token_of(request)
            if token is not None:
                if tokens and self._sessions.is_admin_key(token):
                    return msgspec.structs.replace(self._callers.local, is_admin=True)
                return self._callers.by_token(token, self._wall_ms() / 1000)
            certified = request.incoming.certified
            if certified is not None:
                grant = certified()
                if grant is not None:
                    return grant
                why = "an HTTPS request"
            else:
                why = "a request to this node" if self._requires_token else _why_not_local(request)
                if not why:
                    return self._callers.local
        except RemoteProtocolError as error:
            why = str(error).removeprefix(f"{error.reason}: ")
            raise _unauthorized(f"{why}: {_HOW}" if tokens else why, "invalid_token") from None
        raise _unauthorized(f"{why} needs a token (meshp2p token) or a client certificate")


def check_acts_as(request: Request, instance_id: str) -> None:
    """Raise :class:`BadRequest` (403) unless the caller may act as this instance."""
    if request.grant is not None and not request.grant.may_act_as(instance_id):
        raise _forbidden(f"this caller may not act as instance {instance_id!r}", "agent:ID")


def check_may_host(request: Request, instance_id: str) -> None:
    """Raise :class:`BadRequest` (403) unless the machine of this node may use this id: other nodes would refuse what it
    says about it."""
    if request.home is not None and not request.home.may_act_as(instance_id):
        why = f"the machine of this node may not use the id {instance_id!r}: call a node of another machine"
        raise _forbidden(why, "agent:ID")


def _bearer(values: list[bytes]) -> str:
    scheme, _, token = values[0].decode("latin-1").partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer":
        raise _unauthorized(f"Authorization {scheme[:20]!r}: expected one, with Bearer and a token", "invalid_request")
    return token.strip(" ")


def _why_not_local(request: Request) -> str:
    """Describe a request over plain HTTP that does not count as one of a program on this machine; empty if it counts.

    The port accepts plain HTTP only from this machine. But the request may come through a proxy, or from a web page of
    another site or port.
    """
    for name, value in request.headers:
        if name in _FORWARDED or name.startswith(b"x-forwarded-"):
            return f"a request with {name.decode('ascii').title()}, which a proxy passes on,"
        if name == b"sec-fetch-site" and value not in (b"none", b"same-origin"):
            return "a request of a web page on another site or port"
    return ""


def _unauthorized(why: str, code: str = "") -> BadRequest:
    return BadRequest(401, why, [_challenge(why, code)])


def _forbidden(why: str, scope: str) -> BadRequest:
    return BadRequest(403, why, [_challenge(why, "insufficient_scope", f', scope="{scope}"')])


def _challenge(why: str, code: str, more: str = "") -> tuple[bytes, bytes]:
    """Return the header ``WWW-Authenticate`` (RFC 6750 §3)."""
    shown = "".join(one if " " <= one <= "~" and one not in '"\\' else "'" for one in why[:_SHOWN_MAX])
    error = f', error="{code}", error_description="{shown}"' if code else ""
    return b"www-authenticate", f'Bearer realm="meshp2p"{error}{more}'.encode()
