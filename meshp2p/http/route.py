"""How a request that a node answers is declared."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from meshp2p.wire.contract import ErrorBody

__all__ = ["Answer", "Parameter", "Route"]


class Answer(NamedTuple):
    """An answer of a route. ``what`` says when it is given.

    ``body`` is the type of the JSON body, or a tuple of types, one of which it has. A string is the media type of a
    body without such a type. None means that there is no body.
    """

    what: str
    body: type | tuple[type, ...] | str | None = ErrorBody


class Parameter(NamedTuple):
    """A parameter of the query, or a header. ``repeats`` tells whether it may be given several times."""

    name: str
    what: str
    shape: Any = str
    repeats: bool = False


class Route(NamedTuple):
    """One kind of request. ``name`` is that of its handler and of the operation in the OpenAPI description.

    In ``path``, ``{name}`` stands for one segment that is not empty. GET answers HEAD too. ``scope`` is the permission
    that a caller needs in a secured mesh. "agent" is the permission to act as the instance that the request names,
    "local" that of programs on the node's machine and of admins, "owner" that of an admin with the certificate of
    the node's machine. With None, a caller needs no permission.
    ``body_limit`` names the limit of the body in :class:`~meshp2p.http.limits.HttpLimits`. ``answers`` leaves out the
    refusals that any request can get.
    """

    name: str
    method: str
    path: str
    scope: Literal["read", "agent", "admin", "local", "owner"] | None
    what: str
    answers: dict[int, Answer]
    query: tuple[Parameter, ...] = ()
    body: type | None = None
    body_limit: str = "body_bytes_max"
    headers: tuple[Parameter, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)

    @property
    def path_names(self) -> list[str]:
        """The names in the path, in their order."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
