"""Everything that a node serves over HTTP, and the conversion of errors into answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from msgspec import UNSET

from meshp2p.errors import (
    ConfigError,
    InstanceConflict,
    LimitExceeded,
    MailboxFull,
    MeshError,
    NodeClosed,
    RemoteProtocolError,
    StoreFull,
    Unreachable,
)
from meshp2p.http.access import Access
from meshp2p.http.backend import Backend, MachineAdmin
from meshp2p.http.body import BadRequest
from meshp2p.http.guard import Guard
from meshp2p.http.messages import message_handlers
from meshp2p.http.openapi import encoded_description
from meshp2p.http.page import page_response
from meshp2p.http.registry import registry_handlers
from meshp2p.http.request import Handler, Request, Response, Write, json_response, query_flag
from meshp2p.http.route_finder import RouteFinder
from meshp2p.http.routes import EVENTS_TYPE, METRICS_TYPE, RECORDING_TYPE
from meshp2p.wire.contract import (
    AdminKeyResponse,
    ErrorBody,
    HealthResponse,
    LivezResponse,
    ReadyzResponse,
    SessionResponse,
)

__all__ = ["make_app"]

_STATUS_OF: Final[dict[type[MeshError], int]] = {
    InstanceConflict: 409,
    LimitExceeded: 413,
    ConfigError: 422,
    MailboxFull: 429,
    NodeClosed: 503,
    Unreachable: 503,
    RemoteProtocolError: 400,
    StoreFull: 507,
}

_OPEN_MESH: Final = "this mesh is open: nobody is invited into it, and nobody can be shut out"

_PRIVATE: Final = ((b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"))

_EVENTS_HEADERS: Final = ((b"content-type", EVENTS_TYPE.encode()), (b"cache-control", b"no-store"))

_RETRY: Final = (b"retry-after", b"1")  # seconds, if the same request may succeed soon: chosen, not measured


def make_app(
    node: Backend,
    version: str,
    allowed_hosts: Callable[[], Collection[str]],
    allowed_origins: Collection[str] = (),
    access: Access | None = None,
) -> Handler:
    """Return the handler of all requests, behind the guard for ``Host`` and ``Origin``. In a secured mesh there is an
    ``access``."""
    handlers = {
        **_node_handlers(node, version, access),
        **_admin_handlers(node),
        **_session_handlers(access),
        **registry_handlers(node),
        **message_handlers(node),
    }
    find = RouteFinder(handlers, access)

    async def answer(request: Request) -> Response:
        # A caller that was answered by one node and asks another must not be told what was so before.
        await node.catch_up()
        try:
            return await find(request)
        except BadRequest as refused:
            return json_response(ErrorBody(refused.message), refused.status, refused.headers)
        except MeshError as error:
            return _refusal(error)

    return Guard(answer, allowed_hosts, allowed_origins, only_same_origin=access is not None)


def _node_handlers(node: Backend, version: str, access: Access | None) -> dict[str, Handler]:
    """Return the handlers of the routes about the node itself."""

    async def health(_request: Request) -> Response:
        return json_response(HealthResponse("healthy", version, int(node.uptime)))

    async def livez(_request: Request) -> Response:
        return json_response(LivezResponse("alive"))

    async def readyz(_request: Request) -> Response:
        reason = node.why_not_ready()
        if reason is not None:
            return json_response(ErrorBody(reason), 503)
        return json_response(ReadyzResponse("ready", UNSET if node.loss is None else node.loss))

    async def events(request: Request) -> Response:
        has_past = query_flag(request.query_values(), "past")
        stream = node.open_events(request.header(b"last-event-id"), has_past=has_past)
        return Response(200, b"", _EVENTS_HEADERS, lambda write: _while_allowed(request, stream, write))

    async def metrics(_request: Request) -> Response:
        return Response(200, node.metrics(), [(b"content-type", METRICS_TYPE.encode())])

    async def page(_request: Request) -> Response:
        return page_response()

    async def recording(_request: Request) -> Response:
        return Response(200, node.recording(), [(b"content-type", RECORDING_TYPE.encode())])

    async def status(request: Request) -> Response:
        has_series = query_flag(request.query_values(), "series")
        admin = node.admin if access is not None and access.may_administer(request) else None
        return json_response(await node.status(has_series=has_series, actions=() if admin is None else admin.actions))

    async def openapi(_request: Request) -> Response:
        return json_response((encoded_description(version),))

    return {
        "openapi": openapi,
        "events": events,
        "metrics": metrics,
        "page": page,
        "recording": recording,
        "status": status,
        "health": health,
        "livez": livez,
        "readyz": readyz,
    }


def _admin_handlers(node: Backend) -> dict[str, Handler]:
    """Return the handlers of the routes for admins of the node's machine."""

    def admin_of(request: Request) -> tuple[MachineAdmin, str]:
        if node.admin is None or request.grant is None:
            raise BadRequest(404, _OPEN_MESH)
        return node.admin, request.grant.owner

    async def invite(request: Request) -> Response:
        admin, by = admin_of(request)
        return json_response(await admin.invite(by), 200, _PRIVATE)

    async def invitation(request: Request) -> Response:
        shown = admin_of(request)[0].invitation()
        if shown is None:
            raise BadRequest(404, "there is no invitation: POST makes one")
        return json_response(shown, 200, _PRIVATE)

    async def end_invitation(request: Request) -> Response:
        admin_of(request)[0].end_invitation()
        return Response(204)

    async def revoke(request: Request) -> Response:
        admin, by = admin_of(request)
        return json_response(await admin.revoke(request.path_id(), by))

    return {"invite": invite, "invitation": invitation, "end_invitation": end_invitation, "revoke": revoke}


def _session_handlers(access: Access | None) -> dict[str, Handler]:
    """Return the handlers of the routes for browsers. In an open mesh a browser needs no session."""

    async def make_session(request: Request) -> Response:
        return json_response(SessionResponse("/" if access is None else access.make_link(request)), 200, _PRIVATE)

    async def open_session(request: Request) -> Response:
        if access is None:
            raise BadRequest(404, "this mesh is open: it has no sessions")
        return Response(303, b"", [(b"location", b"/"), (b"set-cookie", access.open_session(request)), *_PRIVATE])

    async def make_admin_key(request: Request) -> Response:
        if access is None:
            raise BadRequest(404, _OPEN_MESH)
        return json_response(AdminKeyResponse(access.make_admin_key()), 200, _PRIVATE)

    return {"make_session": make_session, "open_session": open_session, "make_admin_key": make_admin_key}


async def _while_allowed(request: Request, stream: Callable[[Write], Awaitable[None]], write: Write) -> None:
    """Stream events as long as the caller may read: its token may expire, and its machine may be revoked."""

    async def write_allowed(piece: bytes) -> None:
        try:
            request.check_access()
        except BadRequest as refused:
            raise ConnectionResetError(refused.message) from None
        await write(piece)

    await stream(write_allowed)


def _refusal(error: MeshError) -> Response:
    """Return the answer to a request that the node refuses. Raises ``error`` if it has no status: it is a fault of
    ours."""
    for kind in type(error).__mro__:
        if kind in _STATUS_OF:
            headers = [_RETRY] if isinstance(error, MailboxFull | Unreachable) else []
            return json_response(ErrorBody(str(error)), _STATUS_OF[kind], headers)
    raise error
