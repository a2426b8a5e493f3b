"""The watched side of a watch connection: a response that is never finished, so that its end says that the process
ended."""

from __future__ import annotations

import collections
from typing import Final

import trio

from meshp2p.http.backend import Backend
from meshp2p.http.request import Request, Response, Write, json_response
from meshp2p.wire.contract import ErrorBody

__all__ = ["Watching"]

WATCHERS_MAX: Final = 16
"""Connections that are kept for watchers; one more is answered 503, or takes the place of one of a machine that has
more of them. In a mesh that is still forming more than two may take this node for their successor. Chosen, not
measured."""

_FULL: Final = ErrorBody(f"{WATCHERS_MAX} nodes watch this one already")


class _Watcher:
    """One connection. Cancelling ``scope`` ends it."""

    __slots__ = ("host", "scope")

    def __init__(self, host: str) -> None:
        self.host = host
        self.scope = trio.CancelScope()


class Watching:
    """The handler of one path: answers who is here, and leaves it at that until the watcher goes or this node has left.

    Nothing is sent meanwhile and nothing expected, so no deadline of the server touches it but ``request_seconds``.
    """

    def __init__(self, node: Backend) -> None:
        self._node = node
        self._watchers: dict[_Watcher, None] = {}

    async def __call__(self, request: Request) -> Response:
        body = await request.incoming.read()
        pong = await self._node.answer_watch(body)
        watcher = _Watcher(request.client or "")
        if len(self._watchers) >= WATCHERS_MAX and not self._make_room(watcher.host):
            return json_response(_FULL, 503)
        content_type = (request.header(b"content-type") or "").encode("latin-1")

        async def watch(_write: Write) -> None:
            self._watchers[watcher] = None
            try:
                with watcher.scope:
                    await self._node.wait_until_left()
            finally:
                self._watchers.pop(watcher, None)

        return Response(200, pong, [(b"content-type", content_type)], watch)

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
