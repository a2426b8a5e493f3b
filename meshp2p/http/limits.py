"""The limits of the HTTP server, and its counters.

Every wait of the server has a deadline and every buffer a limit, and all of them are defined here.
"""

from __future__ import annotations

import enum

import msgspec

from meshp2p.errors import ConfigError

__all__ = ["HttpLimits", "HttpRefusal", "HttpStats"]


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of the HTTP server. Times are in seconds. All defaults are chosen, not measured.

    Raises :class:`~meshp2p.errors.ConfigError` if a limit is not greater than 0 (``grace_seconds`` and
    ``linger_seconds`` may be 0).
    """

    connections_max: int = 256
    """The maximum number of open connections; never more than half of the descriptors that this process may open
    (RLIMIT_NOFILE). A further connection closes the one that has waited longest for its client. If all are busy, it is
    answered 503. A connection costs about 30 KiB and a descriptor: choose twice the number of agents that use this
    node."""

    connections_per_host_max: int = 64
    """The maximum number of open connections from one remote address, with the same rule. Loopback has no share of its
    own. Too low refuses agents behind one address; too high lets one machine close the idle connections of others."""

    waiting_max: int = 192
    """The maximum number of requests that wait for an event, such as a message. A further one is answered 503. So long
    polls and streams leave room for other requests. Choose less than ``connections_max``."""

    header_bytes_max: int = 16 * 1024
    """The maximum size of request line and headers together. Larger ones, or more than 128 lines, are answered 431. Too
    low refuses long tokens; too high costs memory per connection."""

    target_bytes_max: int = 8 * 1024
    """The maximum size of path and query; larger ones are answered 414. Three percent-encoded ids take 1.2 KiB. A value
    above ``header_bytes_max`` has no effect."""

    body_bytes_max: int = 2 * 1024 * 1024
    """The maximum size of a request body, without the framing of its chunks; a larger one is answered 413. It limits a
    message; a body is held in memory. Calls between nodes have their own limit, 4 MiB."""

    registry_body_bytes_max: int = 64 * 1024
    """The maximum size of the body of a registration or heartbeat; a larger one is answered 413. A published record has
    at most 32 KiB."""

    answers_bytes_max: int = 32 * 1024 * 1024
    """The maximum size of all response bodies that clients have not read yet; a body that several clients wait for
    counts once. Above it a response of more than 64 KiB becomes 503. Too low refuses long lists; too high lets clients
    that never read fill the memory."""

    bodies_bytes_max: int = 32 * 1024 * 1024
    """The maximum size of all request bodies being received or processed. Above it clients that have sent more than 64
    KiB are answered 503. Too low refuses large simultaneous messages; too high lets strangers fill the memory."""

    head_seconds: float = 10.0
    """The time from the first byte of a request head to its last, and from connecting to the first byte; longer is
    answered 408. Too low disconnects slow links; too high lets idle strangers hold connections."""

    idle_seconds: float = 60.0
    """The time from a response to the next request on the same connection; then it is closed. Choose more than the
    agents' heartbeat interval, or each heartbeat opens a new connection. Too high keeps connections of agents that are
    gone."""

    body_seconds: float = 30.0
    """The time for a whole request body, from when the route first had to wait for it; longer is answered 408.
    ``body_bytes_max`` divided by this is the slowest link on which the largest body arrives (70 KB/s by default)."""

    write_seconds: float = 10.0
    """The time for each piece of 64 KiB of a response; then the connection is closed. Too low disconnects slow links;
    too high lets a client that never reads hold a connection for longer."""

    request_seconds: float | None = None
    """The time for a route to answer. Then it is cancelled and the client gets 503; None is no limit. Long polls and
    event streams take long on purpose: choose more than the longest of them (60)."""

    grace_seconds: float = 2.0
    """The time for running requests after ``shut_down()``; then they are cancelled. Too low truncates answers; too high
    delays the shutdown by as much whenever an event stream is open."""

    linger_seconds: float = 1.0
    """How long the server reads and discards input after a refusal, so that the client sees the answer and not a reset.
    Too low loses answers to large uploads; too high holds connections."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            may_be_zero = field in ("grace_seconds", "linger_seconds")
            if field == "request_seconds" and value is None:
                continue
            kinds = (int, float) if field.endswith("_seconds") else int
            is_number = isinstance(value, kinds) and not isinstance(value, bool)
            if not is_number or not (value >= 0 if may_be_zero else value > 0):
                expected = "a whole number" if kinds is int else "a number"
                raise ConfigError(f"{field} = {value!r}: expected {expected} {'from' if may_be_zero else 'above'} 0")


class HttpRefusal(enum.StrEnum):
    """The reason why the server, and not a route, ended a request or a connection. This closed set is used as a metric
    label."""

    BAD_REQUEST = "bad_request"
    NOT_IMPLEMENTED = "not_implemented"
    TARGET_TOO_LONG = "target_too_long"
    HEAD_TOO_LARGE = "head_too_large"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TOO_LARGE = "body_too_large"
    BODIES_TOO_LARGE = "bodies_too_large"
    ANSWERS_TOO_LARGE = "answers_too_large"
    BODY_TIMEOUT = "body_timeout"
    WRITE_TIMEOUT = "write_timeout"
    REQUEST_TIMEOUT = "request_timeout"
    APP_ERROR = "app_error"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    TOO_MANY_WAITING = "too_many_waiting"
    CROWDED_OUT = "crowded_out"


class HttpStats(msgspec.Struct):
    """Counters since the server was created, written only by the server.

    ``connections_open``, ``bodies_bytes``, ``requests_waiting`` and ``answers_bytes`` are current levels.
    """

    connections_open: int = 0
    connections_total: int = 0
    requests_total: int = 0
    responses: dict[tuple[str, int], int] = msgspec.field(default_factory=dict)
    """By the name of the route, empty if there is none, and the status."""
    bodies_bytes: int = 0
    """Request bodies of unfinished requests."""
    requests_waiting: int = 0
    answers_bytes: int = 0
    """Response bodies that are not sent yet."""
    refused: dict[HttpRefusal, int] = msgspec.field(default_factory=lambda: dict.fromkeys(HttpRefusal, 0))

    def count(self, reason: HttpRefusal) -> None:
        self.refused[reason] += 1
