"""The endpoints for messages between agents: send, read, acknowledge, and what became of one."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meshp2p.core.message import CUSTOM, KINDS, Message
from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.core.uuid7 import is_uuid7
from meshp2p.errors import UnknownInstance
from meshp2p.http.answers import BadRequest, answer, decode_body, path_id
from meshp2p.http.backend import Backend
from meshp2p.http.shapes import message_of, receipt_of
from meshp2p.wire.contract import (
    FETCH_DEFAULT,
    FETCH_MAX,
    WAIT_SECONDS_MAX,
    AcknowledgeRequest,
    ErrorBody,
    MessageStatusResponse,
    PendingMessagesResponse,
    SendMessageRequest,
    SendMessageResponse,
)

__all__ = ["message_routes"]

_SHOWN_MAX: Final = 80  # characters of a refused value in an error message: chosen, not measured
_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_EXPECTED: Final = ", ".join(kind for kind in KINDS if kind != CUSTOM) + ' or {"Custom": NAME}'

_T = TypeVar("_T")


def message_routes(node: Backend) -> list[Route]:
    """The routes under ``/messages``, answered by ``node``."""

    async def send(request: Request) -> Response:
        source = path_id(request, "source_instance")
        body = await decode_body(request, SendMessageRequest, keep_raw=True)
        target = body.target_instance
        if target is not None and len(target.encode()) > ID_BYTES_MAX:
            size = len(target.encode())
            raise BadRequest(422, f"target_instance of {size} bytes at $.target_instance: expected 1 to {ID_BYTES_MAX}")
        kind, name = _kind_and_name(body.message_type)
        try:
            reply = await node.send_message(source, target, kind, name, bytes(body.payload), body.correlation_id)
        except UnknownInstance:
            return answer(ErrorBody(f"Target instance '{target}' not found"), 400)
        return answer(SendMessageResponse(reply.message_id, "queued", reply.delivered_to))

    async def fetch(request: Request) -> Response:
        recipient = path_id(request)
        limit = _query_integer(request, "limit", FETCH_DEFAULT, FETCH_MAX)
        wait = _query_seconds(request, "wait")
        after = request.query_params.get("after", "")
        if after and not is_uuid7(after):
            raise BadRequest(422, f"after={after[:_SHOWN_MAX]!r} in the query: expected a message id")
        if wait == 0:
            messages: tuple[Message, ...] | None = await node.fetch(recipient, limit, after)
        else:
            messages = await _while_connected(request, lambda: node.fetch(recipient, limit, after, wait))
        return answer(PendingMessagesResponse([message_of(message) for message in messages or ()]))

    async def acknowledge(request: Request) -> Response:
        recipient = path_id(request)
        body = await decode_body(request, AcknowledgeRequest)
        await node.acknowledge(recipient, tuple(body.message_ids))
        return Response(status_code=204)

    async def show_status(request: Request) -> Response:
        message_id = path_id(request, "message_id")
        receipts = await node.message_status(message_id)
        if not receipts:
            return answer(ErrorBody(f"Message {message_id!r} not found"), 404)
        return answer(MessageStatusResponse(message_id, [receipt_of(receipt) for receipt in receipts]))

    return [
        Route("/messages/send/{source_instance}", send, methods=["POST"]),
        Route("/messages/ack/{instance_id}", acknowledge, methods=["POST"]),
        Route("/messages/status/{message_id}", show_status, methods=["GET"]),
        Route("/messages/{instance_id}/ack", acknowledge, methods=["POST"]),
        Route("/messages/{instance_id}", fetch, methods=["GET"]),
    ]


def _kind_and_name(message_type: str | dict[str, str | None]) -> tuple[str, str]:
    """What kind of message was asked for, and the sender's name for it where it is its own kind."""
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


def _query_integer(request: Request, key: str, default: int, largest: int) -> int:
    text = request.query_params.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(largest)) and 1 <= int(text) <= largest):
        raise BadRequest(422, f"{key}={text[:_SHOWN_MAX]!r} in the query: expected 1 to {largest}")
    return int(text)


def _query_seconds(request: Request, key: str) -> float:
    text = request.query_params.get(key, "0")
    if _SECONDS.fullmatch(text) is None or float(text) > WAIT_SECONDS_MAX:
        raise BadRequest(422, f"{key}={text[:_SHOWN_MAX]!r} in the query: expected 0 to {WAIT_SECONDS_MAX:g} seconds")
    return float(text)


async def _while_connected(request: Request, work: Callable[[], Awaitable[_T]]) -> _T | None:
    """What ``work`` returns or raises; None, and ``work`` is cancelled, as soon as the client hangs up."""
    results: list[_T] = []
    failure: Exception | None = None

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            results.append(await work())
        except Exception as error:  # noqa: BLE001  # raised below, where no nursery makes a group of it
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return results[0] if results else None
