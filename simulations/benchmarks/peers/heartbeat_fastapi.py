"""The heartbeat of the HTTP contract as a FastAPI application that keeps the last status."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

_last: dict[str, str] = {}


class HeartbeatRequest(BaseModel):
    status: str
    metrics: dict[str, Any] | None = None


class HeartbeatResponse(BaseModel):
    acknowledged: bool
    leader_id: str | None
    should_sync: bool


app = FastAPI()


@app.post("/registry/heartbeat/{instance_id}")
async def heartbeat(instance_id: str, body: HeartbeatRequest) -> HeartbeatResponse:
    _last[instance_id] = body.status
    return HeartbeatResponse(acknowledged=True, leader_id=None, should_sync=False)
