"""The router: finds the handler of a request by the table of routes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from meshp2p.http.access import Access
from meshp2p.http.request import Handler, Request, Response, json_response
from meshp2p.http.route import Route
from meshp2p.http.routes import ROUTES
from meshp2p.wire.contract import ErrorBody

__all__ = ["RouteFinder"]

_SHOWN_MAX: Final = 200  # characters of a path in an error message: chosen, not measured


class RouteFinder:
    """Passes each request to the handler of its route. It answers 404 or 405 itself if there is no such route.

    ``handlers`` has the handler of each route by the name of the route; the constructor raises ``KeyError`` if one is
    missing. Paths are matched as they were sent, so that ``%2F`` is no separator. In a secured mesh there is an
    ``access``.
    """

    def __init__(self, handlers: Mapping[str, Handler], access: Access | None = None) -> None:
        self._access = access
        self._by_length: dict[int, list[tuple[list[str], Route, Handler]]] = {}
        for route in ROUTES:
            segments = route.path.split("/")
            self._by_length.setdefault(len(segments), []).append((segments, route, handlers[route.name]))

    async def __call__(self, request: Request) -> Response:
        given = request.path.split("/")
        allowed: list[str] = []
        for segments, route, handler in self._by_length.get(len(given), ()):
            params = _match(segments, given)
            if params is None:
                continue
            if request.method in route.methods:
                request.params, request.route = params, route
                if self._access is not None:
                    request.check_access = partial(self._access.check, request, route)
                    request.check_access()
                return await handler(request)
            allowed += (method for method in route.methods if method not in allowed)
        shown = f"{request.method} {request.path[:_SHOWN_MAX]}"
        if not allowed:
            return json_response(ErrorBody(f"{shown}: there is no such path"), 404)
        error = ErrorBody(f"{shown}: the methods of this path are {', '.join(allowed)}")
        return json_response(error, 405, [(b"allow", ", ".join(allowed).encode())])


def _match(segments: list[str], given: list[str]) -> dict[str, str] | None:
    """Return the parts of a path that the route names; None if it is another path of the same length."""
    params: dict[str, str] = {}
    for own, part in zip(segments, given, strict=True):
        if own.startswith("{") and part:
            params[own[1:-1]] = part
        elif own != part:
            return None
    return params
