"""The application: all routes, and how an error becomes an answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from meshp2p.errors import (
    InstanceConflict,
    LimitExceeded,
    MailboxFull,
    MeshError,
    NodeClosed,
    RemoteProtocolError,
    StoreFull,
    Unreachable,
)
from meshp2p.http.answers import BadRequest, answer
from meshp2p.http.backend import Backend
from meshp2p.http.guard import Guard
from meshp2p.http.messages import message_routes
from meshp2p.http.registry import registry_routes
from meshp2p.http.watching import Watching
from meshp2p.wire.calls import CALL_PATH, CONTENT_TYPE
from meshp2p.wire.contract import ErrorBody, HealthResponse

__all__ = ["make_app"]

_log = logging.getLogger("meshp2p.http")

_STATUS_OF: tuple[tuple[type[MeshError], int], ...] = (
    (InstanceConflict, 409),
    (LimitExceeded, 413),
    (MailboxFull, 429),
    (NodeClosed, 503),
    (Unreachable, 503),
    (RemoteProtocolError, 400),
    (StoreFull, 507),
)

_CALL_PATH: Final = CALL_PATH.encode()
_CALL_TYPE: Final = CONTENT_TYPE.encode()

_RETRY: Final = {"retry-after": "1"}  # seconds, where the same request may succeed soon: chosen, not measured


def make_app(
    node: Backend, version: str, allowed_hosts: Callable[[], Collection[str]], allowed_origins: Collection[str] = ()
) -> ASGIApp:
    """All that a node serves over HTTP, behind the guard for ``Host`` and ``Origin``."""
    app = Starlette(
        routes=[*registry_routes(node), *message_routes(node), *_node_routes(node, version)],
        exception_handlers={
            BadRequest: _refuse_bad_request,
            MeshError: _refuse_mesh_error,
            HTTPException: _refuse_http_exception,
            ClientDisconnect: _answer_nobody,
            Exception: _refuse_mesh_error,
        },
    )
    app.router.redirect_slashes = False
    return Guard(_CatchUp(_Calls(_MatchRawPath(app), node), node), allowed_hosts, allowed_origins)


def _node_routes(node: Backend, version: str) -> list[Route]:
    """The routes about the node itself, and the one for other nodes."""

    async def health(_request: Request) -> Response:
        return answer(HealthResponse("healthy", version, int(node.uptime)))

    async def livez(_request: Request) -> Response:
        return answer({"status": "alive"})

    async def readyz(_request: Request) -> Response:
        reason = node.why_not_ready()
        return answer({"status": "ready"}) if reason is None else answer(ErrorBody(reason), 503)

    return [
        Route("/health", health, methods=["GET"]),
        Route("/livez", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/mesh/watch", Watching(node), methods=["POST"]),
    ]


class _CatchUp:
    """ASGI middleware: the node takes in what has already arrived from others before it answers a request.

    So a caller that was answered by one node and asks another is not told what was so before.
    """

    def __init__(self, app: ASGIApp, node: Backend) -> None:
        self._app = app
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._node.catch_up()
        await self._app(scope, receive, send)


class _Calls:
    """ASGI middleware: answers the calls of other nodes, which are most of the requests, before anything is routed."""

    def __init__(self, app: ASGIApp, node: Backend) -> None:
        self._app = app
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["raw_path"] != _CALL_PATH:
            await self._app(scope, receive, send)
            return
        if scope["method"] != "POST":
            refusal = answer(ErrorBody(f"{scope['method']} {CALL_PATH}: Method Not Allowed"), 405, {"allow": "POST"})
            await refusal(scope, receive, send)
            return
        parts: list[bytes] = []
        has_more = True
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            parts.append(message.get("body", b""))
            has_more = message.get("more_body", False)
        try:
            reply = await self._node.answer_call(b"".join(parts))
        except MeshError as error:
            await _refusal(error)(scope, receive, send)
            return
        headers = [(b"content-type", _CALL_TYPE), (b"content-length", b"%d" % len(reply))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})


class _MatchRawPath:
    """ASGI middleware: routes are matched against the path as it was sent, so that ``%2F`` in an id is no separator."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._app(scope, receive, send)


async def _refuse_bad_request(_request: Request, error: Any) -> Response:
    return answer(ErrorBody(error.message), error.status)


async def _refuse_mesh_error(request: Request, error: Any) -> Response:
    return await _answer_nobody(request, error) if isinstance(error, ConnectionError) else _refusal(error)


def _refusal(error: Exception) -> Response:
    for kind, status in _STATUS_OF:
        if isinstance(error, kind):
            headers = _RETRY if isinstance(error, MailboxFull | Unreachable) else None
            return answer(ErrorBody(str(error)), status, headers)
    _log.error("an endpoint failed: please report it", exc_info=error)
    return answer(ErrorBody("internal error"), 500)


async def _answer_nobody(_request: Request, _error: Any) -> Response:
    """The client went away in the middle of its body: no fault of ours, and nobody reads the answer."""
    return answer(ErrorBody("the request ended before its body did"), 400)


async def _refuse_http_exception(request: Request, error: Any) -> Response:
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return answer(ErrorBody(message), error.status_code, error.headers)
