"""Which handler answers which method and path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshp2p.http.request import Handler, Request, Response, json_response
from meshp2p.wire.contract import ErrorBody

__all__ = ["Route", "Routes"]

_SHOWN_MAX: Final = 200  # characters of a path in an error message: chosen, not measured


class Route:
    """One row of the table. In ``path``, ``{name}`` stands for one segment that is not empty. GET answers HEAD too."""

    def __init__(self, method: str, path: str, handler: Handler) -> None:
        self.methods: tuple[str, ...] = ("GET", "HEAD") if method == "GET" else (method,)
        self.segments: list[str] = path.split("/")
        self.handler: Handler = handler

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """What the names stand for in a path of as many segments; None if it is another path."""
        params: dict[str, str] = {}
        for own, given in zip(self.segments, segments, strict=True):
            if own.startswith("{") and given:
                params[own[1:-1]] = given
            elif own != given:
                return None
        return params


class Routes:
    """The handler that finds the handler: 404 and 405 are its own answers.

    Paths are matched as they were sent, so that ``%2F`` is no separator. Of several rows that match the first counts.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_length: dict[int, list[Route]] = {}
        for route in routes:
            self._by_length.setdefault(len(route.segments), []).append(route)

    async def __call__(self, request: Request) -> Response:
        segments = request.path.split("/")
        allowed: list[str] = []
        for route in self._by_length.get(len(segments), ()):
            params = route.match(segments)
            if params is None:
                continue
            if request.method in route.methods:
                request.params = params
                return await route.handler(request)
            allowed += (method for method in route.methods if method not in allowed)
        shown = f"{request.method} {request.path[:_SHOWN_MAX]}"
        if not allowed:
            return json_response(ErrorBody(f"{shown}: there is no such path"), 404)
        error = ErrorBody(f"{shown}: the methods of this path are {', '.join(allowed)}")
        return json_response(error, 405, [(b"allow", ", ".join(allowed).encode())])
