"""The watched side of a watch connection: a response that is never finished, so that its end says that the process
ended."""

from __future__ import annotations

import collections
from typing import Final

import trio
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from meshp2p.http.answers import answer
from meshp2p.http.backend import Backend
from meshp2p.wire.contract import ErrorBody

__all__ = ["Watching"]

WATCHERS_MAX: Final = 16
"""Connections that are kept for watchers; one more is answered 503, or takes the place of one of a machine that has
more of them. In a mesh that is still forming more than two may take this node for their successor. Chosen, not
measured."""

_FULL: Final = answer(ErrorBody(f"{WATCHERS_MAX} nodes watch this one already"), 503)


class _Watcher:
    """One connection. Cancelling ``scope`` ends it; ``is_gone``: its other side did; ``stands``: it was answered."""

    __slots__ = ("host", "is_gone", "scope", "stands")

    def __init__(self, host: str) -> None:
        self.host = host
        self.scope = trio.CancelScope()
        self.stands = False
        self.is_gone = False


class Watching:
    """ASGI app for one path: answers who is here, and leaves it at that until the watcher goes or this node has left.

    Nothing is sent meanwhile and nothing expected, so no deadline of the server touches it but ``request_seconds``.
    """

    def __init__(self, node: Backend) -> None:
        self._node = node
        self._watchers: dict[_Watcher, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        watcher = _Watcher(request.client.host if request.client is not None else "")
        if len(self._watchers) >= WATCHERS_MAX and not self._make_room(watcher.host):
            await _FULL(scope, receive, send)
            return
        self._watchers[watcher] = None
        try:
            with watcher.scope:
                pong = await self._node.answer_watch(await request.body())
                watcher.stands = True
                headers = [(b"content-type", request.headers.get("content-type", "").encode("latin-1"))]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": pong, "more_body": True})
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._await_end, receive, watcher)
                    await self._node.wait_until_left()
                    watcher.scope.cancel()
            if not watcher.stands:
                await _FULL(scope, receive, send)
            elif not watcher.is_gone:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._watchers.pop(watcher, None)

    def _make_room(self, host: str) -> bool:
        """End the oldest watch of the machine that has most, unless this one would then have as many: so no stranger
        keeps this node from being watched. Whether there is room now."""
        counts = collections.Counter(watcher.host for watcher in self._watchers)
        crowd, most = counts.most_common(1)[0]
        if most <= counts[host] + 1:
            return False
        oldest = next(watcher for watcher in self._watchers if watcher.host == crowd)
        del self._watchers[oldest]
        oldest.scope.cancel()
        return True

    async def _await_end(self, receive: Receive, watcher: _Watcher) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        watcher.is_gone = True
        watcher.scope.cancel()
