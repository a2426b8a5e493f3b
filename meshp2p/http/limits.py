"""What one client may cost the HTTP server, and the counters that say what was refused.

Every wait of the server has a deadline and every buffer a bound, and all of them are here.
"""

from __future__ import annotations

import dataclasses
import enum

import msgspec

from meshp2p.errors import ConfigError

__all__ = ["HttpLimits", "HttpRefusal", "HttpStats"]


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of an :class:`~meshp2p.http.server.HttpServer`. Times are seconds. All defaults are chosen, not measured.

    Raises :class:`~meshp2p.errors.ConfigError` where a bound is not greater than 0 (``grace_seconds`` and
    ``linger_seconds`` may be 0).
    """

    connections_max: int = 256
    """Open connections, and never more than half of the descriptors that this process may open (RLIMIT_NOFILE). One
    more closes the one that has waited for its client longest; if all are at work, it is answered 503. A connection
    costs about 30 KiB and a descriptor: choose agents that use this node times two."""

    connections_per_host_max: int = 64
    """Open connections of one remote address, in the same way. Loopback has no share of its own. Too low refuses agents
    behind one address; too high lets one machine close the idle connections of others."""

    waiting_max: int = 192
    """Requests that wait for something to happen, such as a message: one more is 503. So long polls and streams leave
    room for those who only ask. Choose less than ``connections_max``."""

    header_bytes_max: int = 16 * 1024
    """Request line and headers together; more is 431, and so are more than 128 lines. Too low refuses long tokens; too
    high costs memory per connection."""

    target_bytes_max: int = 8 * 1024
    """Path and query; more is 414. Three percent-encoded ids take 1.2 KiB. Useless above ``header_bytes_max``."""

    body_bytes_max: int = 2 * 1024 * 1024
    """Request body, without the framing of its chunks; more is 413. It bounds a message; a body is held in memory.
    Calls from node to node have a bound of their own, 4 MiB."""

    registry_body_bytes_max: int = 64 * 1024
    """Request body of a registration or heartbeat; more is 413. A record that others are told of has 32 KiB at most."""

    answers_bytes_max: int = 32 * 1024 * 1024
    """Response bodies that clients have not read yet, all together, and one that many wait for counted once: past it a
    response of more than 64 KiB becomes 503. Too low refuses long lists; too high lets clients that never read fill the
    memory."""

    bodies_bytes_max: int = 32 * 1024 * 1024
    """Request bodies that are being received or worked on, all together: past it whoever has sent more than 64 KiB is
    answered 503. Too low refuses large messages that come at once; too high lets strangers fill the memory."""

    head_seconds: float = 10.0
    """From a request head's first byte to its last, and from connecting to the first byte; longer is 408. Too low cuts
    slow links; too high lets idle strangers hold connections."""

    idle_seconds: float = 60.0
    """From a response to the next request on the same connection; then it is closed. Choose more than the agents'
    heartbeat interval, or each heartbeat opens a connection; too high keeps connections of agents that are gone."""

    body_seconds: float = 30.0
    """For a whole request body, counted from when the route first had to wait for it; longer is 408. ``body_bytes_max``
    by this is the slowest link on which the largest body arrives (70 KB/s by default)."""

    write_seconds: float = 10.0
    """For each piece of 64 KiB of a response; then the connection is cut. Too low cuts slow links; too high lets a
    client that never reads hold a connection for longer."""

    request_seconds: float | None = None
    """For a route to answer, after which it is cancelled and the client gets 503; None is no bound. A long poll or a
    stream of events takes long on purpose: choose more than the longest of them (60)."""

    grace_seconds: float = 2.0
    """For running requests after ``shut_down()``; then they are cancelled. Too low cuts answers in two; too high delays
    the end by as much whenever there is one open stream of events."""

    linger_seconds: float = 1.0
    """How long, after a refusal, what the client still sends is read and thrown away, so that it sees the answer and
    not a reset. Too low loses answers to large uploads; too high holds connections."""

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
    """Why the server, and not a route, ended a request or a connection: a closed set, used as a metric label."""

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


@dataclasses.dataclass(slots=True)
class HttpStats:
    """Counters since the server was made; ``connections_open``,
    ``bodies_bytes``, ``requests_waiting`` and ``answers_bytes`` are levels. Written by the server
    only."""

    connections_open: int = 0
    connections_total: int = 0
    requests_total: int = 0
    bodies_bytes: int = 0
    """Of request bodies whose request is not ended."""
    requests_waiting: int = 0
    answers_bytes: int = 0
    """Of response bodies that are not sent yet."""
    refused: dict[HttpRefusal, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(HttpRefusal, 0))

    def count(self, reason: HttpRefusal) -> None:
        self.refused[reason] += 1
