"""Protection against web browsers: the ``Host`` must be one of this node, and foreign ``Origin`` values are refused.

A web page that the user opens can send requests to this machine. By DNS rebinding it can make its own name point here
and read the answers. But it cannot choose the ``Host`` and ``Origin`` that its browser sends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Final

from meshp2p.http.request import Handler, Request, Response, json_response
from meshp2p.wire.contract import ErrorBody

__all__ = ["Guard", "canonical_host", "host_of"]

_EXPOSED_HEADERS: Final = (b"access-control-expose-headers", b"Retry-After, WWW-Authenticate")
_PREFLIGHT_HEADERS: Final = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Last-Event-ID, Traceparent, Tracestate"),
    (b"access-control-max-age", b"600"),  # seconds that a browser may remember it: chosen, not measured
)
_SHOWN_CHARACTERS_MAX: Final = 80
_AUTHORITY_BYTES_MAX: Final = 300  # a name has 253 at the most; and what is remembered must be small


class Guard:
    """A handler in front of another one: 421 for a foreign ``Host``, 403 for a foreign ``Origin``, CORS for
    ``allowed_origins``.

    ``allowed_hosts()`` is called for each request and returns this node's names and addresses, without ports.
    ``localhost`` and all loopback addresses are always allowed. An origin is accepted if it is ``http://``, an allowed
    host, and any port. ``allowed_origins`` are complete origins such as ``https://board.example:8443``, which may also
    read the answers. With ``only_same_origin``, an origin is accepted only if it is also the target of the request, so
    that pages of other programs on this machine are refused.
    """

    def __init__(
        self,
        handler: Handler,
        allowed_hosts: Callable[[], Collection[str]],
        allowed_origins: Collection[str] = (),
        *,
        only_same_origin: bool = False,
    ) -> None:
        self._only_same_origin = only_same_origin
        self._handler = handler
        self._allowed_hosts = allowed_hosts
        self._allowed_origins = frozenset(origin.lower().rstrip("/").encode("ascii") for origin in allowed_origins)

    async def __call__(self, request: Request) -> Response:
        host = origin = method = None
        for name, value in request.headers:
            if name == b"host":
                host = value
            elif name == b"origin":
                origin = value if origin is None else b"null"  # two of them: nobody's
            elif name == b"access-control-request-method":
                method = value
        if not self._is_ours(host):
            shown = "no Host" if host is None else f"Host {_show(host)}"
            return json_response(ErrorBody(f"{shown}: expected a name or address of this node"), 421)
        if origin is None or self._is_own_origin(origin, host):
            return await self._handler(request)
        if origin.lower() not in self._allowed_origins:
            return json_response(ErrorBody(f"Origin {_show(origin)} is not allowed to call this node"), 403)
        cors = [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]
        if request.method == "OPTIONS" and method is not None:
            return Response(204, b"", [*cors, *_PREFLIGHT_HEADERS])
        response = await self._handler(request)
        response.headers = [*response.headers, *cors, _EXPOSED_HEADERS]
        return response

    def _is_own_origin(self, origin: bytes, host: bytes | None) -> bool:
        scheme, _, authority = origin.partition(b"://")
        if self._only_same_origin:
            return scheme.lower() in (b"http", b"https") and authority == host
        return scheme.lower() == b"http" and self._is_ours(authority)

    def _is_ours(self, authority: bytes | None) -> bool:
        if authority is None or len(authority) > _AUTHORITY_BYTES_MAX:
            return False
        host = host_of(authority)
        if host is None:
            return False
        if host == "localhost" or _is_loopback(host):
            return True
        allowed = self._allowed_hosts()
        return host in allowed or any(canonical_host(name) == host for name in allowed)


@lru_cache(maxsize=256)
def host_of(authority: bytes) -> str | None:
    """Return the :func:`canonical_host` of ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``, or None for anything else."""
    try:
        text = authority.decode("ascii")
    except UnicodeDecodeError:
        return None
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")) or ":" not in host or "%" in host:
            return None
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if not host or (port and not port.isdigit()):
        return None
    return canonical_host(host)


@lru_cache(maxsize=256)
def _is_loopback(host: str) -> bool:
    """Return whether this is an address of 127.0.0.0/8, in IPv6 too, or ``::1``. A page of another machine cannot have
    such an address as its name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@lru_cache(maxsize=256)
def canonical_host(host: str) -> str:
    """Return the one spelling of a name or address: lower case, no dot at the end, IPv6 compressed and without a
    zone."""
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return host.lower().removesuffix(".")


def _show(value: bytes) -> str:
    return repr(value[:_SHOWN_CHARACTERS_MAX].decode("latin-1"))
