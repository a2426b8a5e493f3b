"""All requests that a node answers, each declared once: the routing, the limits of bodies, the OpenAPI description and
the tests of the docs read this table."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from meshp2p.core.mail.uuid7 import UUID7_PATTERN
from meshp2p.core.message import IfAbsent
from meshp2p.http.route import Answer, Parameter, Route
from meshp2p.wire.contract import (
    EXPIRES_SECONDS_MAX,
    FETCH_DEFAULT,
    FETCH_MAX,
    WAIT_SECONDS_MAX,
    AcknowledgeRequest,
    AdminKeyResponse,
    DetailedInstances,
    DetailedMessages,
    HealthResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    InstanceDetail,
    InstancesResponse,
    InvitationResponse,
    LeaderResponse,
    LivezResponse,
    MessageStatusResponse,
    PendingMessagesResponse,
    PingResponse,
    ReadyzResponse,
    RegisterRequest,
    RegisterResponse,
    RevocationResponse,
    SendMessageRequest,
    SendMessageResponse,
    SessionResponse,
)
from meshp2p.wire.status_contract import StatusResponse

__all__ = [
    "BODY_REFUSALS",
    "EVENTS_TYPE",
    "JSON_TYPE",
    "METRICS_TYPE",
    "PAGE_TYPE",
    "RECORDING_TYPE",
    "REFUSALS",
    "ROUTES",
]


REFUSALS: Final[dict[int, str]] = {
    400: "the request is malformed, or its path or query is not percent-encoded UTF-8",
    401: "in a secured mesh: no valid token or certificate",
    403: "the Origin is not this node's and not allowed; in a secured mesh: the caller may not do this",
    405: "the path does not support this method",
    408: "the request takes too long to arrive",
    414: "path and query are too long",
    421: "the Host is not this node's",
    422: "a value in the path, the query or the body is not allowed",
    431: "request line and headers are too large",
    500: "an internal error",
    501: "CONNECT, or an unknown transfer coding",
    503: "the node is leaving, or a limit is reached",
}
"""The refusals that any request can get, and their causes."""

BODY_REFUSALS: Final[dict[int, str]] = {
    413: "the body is too large",
    415: "the body is not declared as JSON in UTF-8",
}
"""More refusals, which any request with a body can get, and their causes."""

EVENTS_TYPE: Final = "text/event-stream"
JSON_TYPE: Final = "application/json"
PAGE_TYPE: Final = "text/html; charset=utf-8"
RECORDING_TYPE: Final = "application/octet-stream"
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_Flag = Literal["true", "false"]
_Expiry = Annotated[float, msgspec.Meta(ge=0, le=EXPIRES_SECONDS_MAX)]
_Wait = Annotated[float, msgspec.Meta(ge=0, le=WAIT_SECONDS_MAX)]
_Limit = Annotated[int, msgspec.Meta(ge=1, le=FETCH_MAX)]
_After = Annotated[str, msgspec.Meta(pattern=f"^(?:{UUID7_PATTERN})?$")]
_DETAIL = "true: with all that is known of each"
_OPEN_MESH = Answer("the mesh is open")
_GONE = Answer("it has ended", None)
_HOME_SILENT = Answer("the instance's home does not answer")
_DISK_FULL = Answer("the disk is full")

_acknowledge = Route(
    "acknowledge",
    "POST",
    "/messages/ack/{instance_id}",
    "agent",
    "Remove messages from a mailbox.",
    {204: Answer("removed, as far as they were there", None), 503: _HOME_SILENT, 507: _DISK_FULL},
    body=AcknowledgeRequest,
)

ROUTES: Final = (
    Route(
        "register",
        "POST",
        "/registry/register",
        "agent",
        "Register an instance, or register it again.",
        {
            200: Answer("the leader and all instances, including the caller", RegisterResponse),
            409: Answer("the id belongs to a live node, or to another caller"),
            413: Answer("the record is too large, or the mesh is full"),
        },
        body=RegisterRequest,
        body_limit="registry_body_bytes_max",
    ),
    Route(
        "list_agents",
        "GET",
        "/registry/agents",
        "read",
        "List the live instances.",
        {200: Answer("the instances, ordered by id", (InstancesResponse, DetailedInstances))},
        (
            Parameter("capability", "a capability that each has", repeats=True),
            Parameter("profile", "a profile that each has", repeats=True),
            Parameter("status", "the status that each reported", repeats=True),
            Parameter("leader", "true: only the leader", _Flag),
            Parameter("detail", _DETAIL, _Flag),
        ),
    ),
    Route(
        "show_agent",
        "GET",
        "/registry/agents/{instance_id}",
        "read",
        "Show one instance with all that is known of it.",
        {200: Answer("the instance", InstanceDetail), 404: Answer("unknown")},
    ),
    Route(
        "ping",
        "GET",
        "/registry/agents/{instance_id}/ping",
        "read",
        "Measure the round trip of a call to the instance's home.",
        {200: Answer("the round trip", PingResponse), 404: Answer("unknown"), 503: _HOME_SILENT},
    ),
    Route(
        "heartbeat",
        "POST",
        "/registry/heartbeat/{instance_id}",
        "agent",
        "Send a heartbeat.",
        {
            200: Answer("it counts", HeartbeatResponse),
            404: Answer("unknown: register again", HeartbeatResponse),
            413: Answer("the metrics are too large"),
        },
        body=HeartbeatRequest,
        body_limit="registry_body_bytes_max",
    ),
    Route(
        "deregister",
        "DELETE",
        "/registry/deregister/{instance_id}",
        "agent",
        "Remove an instance from the list.",
        {
            204: Answer("it is removed", None),
            404: Answer("unknown", None),
            409: Answer("the id belongs to a live node, or to another caller"),
        },
    ),
    Route(
        "show_leader",
        "GET",
        "/registry/leader",
        "read",
        "Show the leader.",
        {200: Answer("the leader, or that there is none", LeaderResponse)},
    ),
    Route(
        "send",
        "POST",
        "/messages/send/{source_instance}",
        "agent",
        "Send a message to an instance, or to all others.",
        {
            200: Answer("it is accepted and will be delivered", SendMessageResponse),
            400: Answer("the target is not listed, or the request is malformed"),
            413: Answer("the payload is too large"),
            429: Answer("there is no room for it now"),
            507: _DISK_FULL,
        },
        (
            Parameter("if_absent", "queue: accept it also for an instance that is remembered as dead", IfAbsent),
            Parameter("expires_in", "how many seconds it waits to be acknowledged", _Expiry),
        ),
        body=SendMessageRequest,
        headers=(
            Parameter("traceparent", "the caller's W3C trace context, which travels with the message"),
            Parameter("tracestate", "its vendors' part, up to 512 characters"),
        ),
    ),
    _acknowledge,
    _acknowledge._replace(name="acknowledge_in_mailbox", path="/messages/{instance_id}/ack"),
    Route(
        "show_status",
        "GET",
        "/messages/status/{message_id}",
        "agent",
        "Show what became of a message, for each of its recipients.",
        {
            200: Answer("the status of each copy", MessageStatusResponse),
            404: Answer("no node knows it"),
            503: Answer("the node that accepted it does not answer"),
        },
    ),
    Route(
        "fetch",
        "GET",
        "/messages/{instance_id}",
        "agent",
        "Read a mailbox. Reading removes nothing.",
        {200: Answer("the messages, the oldest first", (PendingMessagesResponse, DetailedMessages)), 503: _HOME_SILENT},
        (
            Parameter("wait", "seconds to wait for a message if there is none", _Wait),
            Parameter("limit", f"the most messages in the answer; {FETCH_DEFAULT} if it is absent", _Limit),
            Parameter("after", "the id of a message: only later ones", _After),
            Parameter("detail", _DETAIL, _Flag),
        ),
    ),
    Route(
        "events",
        "GET",
        "/events",
        "read",
        "Stream the events of the node as they happen, after all that it knows.",
        {
            200: Answer("server-sent events, until the node leaves", EVENTS_TYPE),
            503: Answer("the node is leaving, or too many requests wait"),
        },
        query=(Parameter("past", "true: first the kept events that led to the present", _Flag),),
        headers=(Parameter("Last-Event-ID", "the id of the last event that was read"),),
    ),
    Route(
        "metrics",
        "GET",
        "/metrics",
        "read",
        "Show the node's counters and levels to Prometheus.",
        {200: Answer("all metrics, in Prometheus' text format", METRICS_TYPE)},
    ),
    Route("page", "GET", "/", None, "Show the live page.", {200: Answer("the page, for a browser", PAGE_TYPE)}),
    Route(
        "recording",
        "GET",
        "/recording",
        "local",
        "Take the flight recording of the last minutes, for `meshp2p simulate --replay`.",
        {
            200: Answer("the recording, as a file", RECORDING_TYPE),
            503: Answer("nothing is recorded now, for the reason in the body"),
        },
    ),
    Route(
        "status",
        "GET",
        "/status",
        "read",
        "Show the state of the mesh: a verdict, the agents with the most trouble first, their work, the network.",
        {200: Answer("the status, at most a second old", StatusResponse)},
        (Parameter("series", "true: with the series of the last 15 minutes", _Flag),),
    ),
    Route(
        "make_admin_key",
        "POST",
        "/administration",
        "owner",
        "Make a key with which the live page may invite and revoke machines for an hour.",
        {200: Answer("the key, for this node", AdminKeyResponse), 404: _OPEN_MESH},
    ),
    Route(
        "invite",
        "POST",
        "/invitation",
        "owner",
        "Invite a machine: serve a code for it for ten minutes, instead of the one before.",
        {200: Answer("the code", InvitationResponse), 404: _OPEN_MESH, 503: Answer("no port can be opened")},
    ),
    Route(
        "invitation",
        "GET",
        "/invitation",
        "owner",
        "Show the invitation, and who joined with it.",
        {200: Answer("the invitation, open or not", InvitationResponse), 404: Answer("there is none")},
    ),
    Route("end_invitation", "DELETE", "/invitation", "owner", "End the invitation.", {204: _GONE, 404: _OPEN_MESH}),
    Route(
        "revoke",
        "POST",
        "/revoke/{instance_id}",
        "owner",
        "Revoke the machine of a node, with everything that it issued and all machines that it invited.",
        {
            200: Answer("it is shut out", RevocationResponse),
            404: Answer("no such node is listed, or the mesh is open"),
            409: Answer("the node is on the machine of the node that was asked"),
        },
    ),
    Route(
        "make_session",
        "POST",
        "/session",
        "read",
        "Make a link that opens the live page in a browser with the rights of this caller.",
        {200: Answer("the path of the link, for one use within a minute", SessionResponse)},
    ),
    Route(
        "open_session",
        "GET",
        "/session/{code}",
        None,
        "Open such a link: it sets a cookie and leads to the live page.",
        {
            303: Answer("the session is open", None),
            404: Answer("the link was used, or is too old, or the mesh is open"),
        },
    ),
    Route(
        "openapi",
        "GET",
        "/openapi.json",
        "read",
        "Show this description.",
        {200: Answer("the OpenAPI description of the node", JSON_TYPE)},
    ),
    Route("health", "GET", "/health", None, "Show the version.", {200: Answer("it is healthy", HealthResponse)}),
    Route("livez", "GET", "/livez", None, "Tell whether the process runs.", {200: Answer("it runs", LivezResponse)}),
    Route(
        "readyz",
        "GET",
        "/readyz",
        None,
        "Tell whether the node should be asked now.",
        {200: Answer("it is ready", ReadyzResponse), 503: Answer("it is not ready, for this reason")},
    ),
)
"""Of several rows that match a path, the first counts."""
