"""The heartbeat of the HTTP contract as a Starlette application with msgspec that keeps the last status."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_last: dict[str, str] = {}


class HeartbeatRequest(msgspec.Struct):
    status: str
    metrics: dict[str, Any] | None = None


class HeartbeatResponse(msgspec.Struct):
    acknowledged: bool
    leader_id: str | None
    should_sync: bool


_decode = msgspec.json.Decoder(HeartbeatRequest).decode
_encode = msgspec.json.Encoder().encode


async def heartbeat(request: Request) -> Response:
    _last[request.path_params["instance_id"]] = _decode(await request.body()).status
    return Response(_encode(HeartbeatResponse(True, None, False)), media_type="application/json")


app = Starlette(routes=[Route("/registry/heartbeat/{instance_id}", heartbeat, methods=["POST"])])
