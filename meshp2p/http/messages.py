"""The endpoints for messages between agents: send, read, acknowledge, and status."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Final, get_args

from meshp2p.core.mail.uuid7 import is_uuid7
from meshp2p.core.message import CUSTOM, KINDS, IfAbsent, Message
from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import UnknownInstance
from meshp2p.http.backend import Backend
from meshp2p.http.body import BadRequest
from meshp2p.http.request import Handler, Request, Response, json_response, query_flag
from meshp2p.http.serialize import message_detail_of, message_of, receipt_of
from meshp2p.wire.contract import (
    EXPIRES_SECONDS_MAX,
    FETCH_DEFAULT,
    FETCH_MAX,
    WAIT_SECONDS_MAX,
    AcknowledgeRequest,
    AgentMessage,
    ErrorBody,
    MessageStatusResponse,
    PendingMessagesResponse,
    SendMessageRequest,
    SendMessageResponse,
)
from meshp2p.wire.trace_context import join_trace

__all__ = ["message_handlers"]

_SHOWN_MAX: Final = 80  # characters of a refused value in an error message: chosen, not measured
_STEP_BYTES: Final = 64 * 1024  # chosen, not measured
_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")
_EXPECTED: Final = ", ".join(kind for kind in KINDS if kind != CUSTOM) + ' or {"Custom": NAME}'


def message_handlers(node: Backend) -> dict[str, Handler]:
    """Return the handlers of the routes under ``/messages``, answered by ``node``."""

    async def send(request: Request) -> Response:
        source = request.path_id("source_instance")
        body = await request.read_json(SendMessageRequest)
        target = body.target_instance
        if target is not None and len(target.encode()) > ID_BYTES_MAX:
            size = len(target.encode())
            raise BadRequest(422, f"target_instance of {size} bytes at $.target_instance: expected 1 to {ID_BYTES_MAX}")
        kind, name = _kind_and_name(body.message_type)
        query = request.query_values()
        if_absent = _if_absent(query)
        expires_in = _seconds(query, "expires_in", EXPIRES_SECONDS_MAX) if "expires_in" in query else None
        payload, is_error = bytes(body.payload), bool(body.is_error)
        try:
            reply = await node.send_message(
                source,
                target,
                kind,
                name,
                payload,
                body.correlation_id,
                is_error,
                expires_in,
                if_absent=if_absent,
                trace=_trace_of(request),
            )
        except UnknownInstance:
            return json_response(ErrorBody(f"Target instance '{target}' not found"), 400)
        return json_response(SendMessageResponse(reply.message_id, "queued", reply.delivered_to))

    async def fetch(request: Request) -> Response:
        recipient = request.path_id()
        query = request.query_values()
        limit = _integer(query, "limit", FETCH_DEFAULT, FETCH_MAX)
        wait = _seconds(query, "wait", WAIT_SECONDS_MAX)
        show = message_detail_of if query_flag(query, "detail") else message_of
        after = _last(query, "after", "")
        if after and not is_uuid7(after):
            raise BadRequest(422, f"after={after[:_SHOWN_MAX]!r} in the query: expected a message id")
        if wait == 0:
            messages = await node.fetch(recipient, limit, after)
        else:
            messages = await request.incoming.while_connected(lambda: node.fetch(recipient, limit, after, wait))
            request.check_access()  # the caller may have been revoked meanwhile
        return await request.incoming.run_steps(_show(messages, show))

    async def acknowledge(request: Request) -> Response:
        recipient = request.path_id()
        body = await request.read_json(AcknowledgeRequest)
        await node.acknowledge(recipient, tuple(body.message_ids))
        return Response(204)

    async def show_status(request: Request) -> Response:
        message_id = request.path_id("message_id")
        receipts = await node.message_status(message_id)
        if not receipts:
            return json_response(ErrorBody(f"Message {message_id!r} not found"), 404)
        return json_response(MessageStatusResponse(message_id, [receipt_of(receipt) for receipt in receipts]))

    return {
        "send": send,
        "acknowledge": acknowledge,
        "acknowledge_in_mailbox": acknowledge,
        "show_status": show_status,
        "fetch": fetch,
    }


def _show(messages: Sequence[Message], show: Callable[[Message], AgentMessage]) -> Generator[None, None, Response]:
    """Answer with a mailbox. A large one takes a second step, so that one turn of the loop does not encode several
    large ones."""
    if sum(len(message.payload) for message in messages) > _STEP_BYTES:
        yield
    return json_response(PendingMessagesResponse(list(map(show, messages))))


def _trace_of(request: Request) -> str | None:
    """Return the trace context of the caller, or None if it is missing or invalid, which W3C Trace Context ignores."""
    return join_trace(request.header(b"traceparent") or "", request.header(b"tracestate") or "")


def _kind_and_name(message_type: str | dict[str, str | None]) -> tuple[str, str]:
    """Return the kind of the message, and the sender's name for it if it is the sender's own kind."""
    if isinstance(message_type, str):
        kind, name = message_type, None
    elif len(message_type) == 1:
        ((kind, name),) = message_type.items()
    else:
        raise BadRequest(422, f"message_type of {len(message_type)} keys at $.message_type: expected one")
    if kind == CUSTOM and name is not None:
        return kind, name
    if kind not in KINDS or kind == CUSTOM or name is not None:
        shown = kind[:_SHOWN_MAX] if name is None else f"{kind[:_SHOWN_MAX]}: {name[:_SHOWN_MAX]}"
        raise BadRequest(422, f"message_type {shown!r} at $.message_type: expected {_EXPECTED}")
    return kind, ""


def _last(query: Mapping[str, Sequence[str]], key: str, default: str) -> str:
    return query[key][-1] if key in query else default


def _if_absent(query: Mapping[str, Sequence[str]]) -> IfAbsent:
    text = _last(query, "if_absent", "refuse")
    for known in get_args(IfAbsent):
        if text == known:
            found: IfAbsent = known
            return found
    raise BadRequest(422, f"if_absent={text[:_SHOWN_MAX]!r} in the query: expected refuse or queue")


def _integer(query: Mapping[str, Sequence[str]], key: str, default: int, largest: int) -> int:
    text = _last(query, key, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(largest)) and 1 <= int(text) <= largest):
        raise BadRequest(422, f"{key}={text[:_SHOWN_MAX]!r} in the query: expected 1 to {largest}")
    return int(text)


def _seconds(query: Mapping[str, Sequence[str]], key: str, largest: float) -> float:
    text = _last(query, key, "0")
    if _SECONDS.fullmatch(text) is None or float(text) > largest:
        raise BadRequest(422, f"{key}={text[:_SHOWN_MAX]!r} in the query: expected 0 to {largest:g} seconds")
    return float(text)
