"""The watched side of a watch connection: a response that is never finished, so that its end says that the process
ended."""

from __future__ import annotations

from typing import Final

import trio
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from meshp2p.http.answers import answer
from meshp2p.http.backend import Backend
from meshp2p.wire.contract import ErrorBody

__all__ = ["Watching"]

WATCHERS_MAX: Final = 16
"""Connections that are kept for watchers; one more is answered 503. In a mesh that is still forming more than two may
take this node for their successor. Chosen, not measured."""


class Watching:
    """ASGI app for one path: answers who is here, and leaves it at that until the watcher goes or this node has left.

    Nothing is sent meanwhile and nothing expected, so no deadline of the server touches it but ``request_seconds``.
    """

    def __init__(self, node: Backend) -> None:
        self._node = node
        self._watchers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if self._watchers >= WATCHERS_MAX:
            await answer(ErrorBody(f"{WATCHERS_MAX} nodes watch this one already"), 503)(scope, receive, send)
            return
        self._watchers += 1
        try:
            pong = await self._node.answer_watch(await request.body())
            headers = [(b"content-type", request.headers.get("content-type", "").encode("latin-1"))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": pong, "more_body": True})
            has_left = False
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._await_end, receive, nursery.cancel_scope)
                await self._node.wait_until_left()
                has_left = True
                nursery.cancel_scope.cancel()
            if has_left:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._watchers -= 1

    async def _await_end(self, receive: Receive, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()
