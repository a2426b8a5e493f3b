"""Calls from node to node: one POST with one reply, over connections that are kept."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, Self

import httpx
import trio

from meshp2p.core.address import Address
from meshp2p.core.effects import CallFailed, Failure, WatchOpened
from meshp2p.core.messages import CallReply, CallRequest, Pong, Probe
from meshp2p.errors import RemoteProtocolError
from meshp2p.wire.codec import CALL_BYTES_MAX, Codec

__all__ = ["CALL_PATH", "CONTENT_TYPE", "WATCH_PATH", "CallClient"]

CALL_PATH: Final = "/mesh/call"
WATCH_PATH: Final = "/mesh/watch"
CONTENT_TYPE: Final = "application/vnd.meshp2p"

_PONG_BYTES_MAX: Final = 4096


class CallClient:
    """The asker's side. An async context manager; a call under way when it ends fails.

    ``transport`` stands for the network, where that is not this machine's.
    """

    def __init__(self, codec: Codec, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._codec = codec
        self._client = httpx.AsyncClient(
            transport=transport,
            trust_env=False,  # a proxy of the environment is not for our peers
            verify=False,  # peers are called over plain HTTP: the list of authorities costs 19 ms and serves nothing
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=20.0),
            headers={"content-type": CONTENT_TYPE, "user-agent": "meshp2p", "accept-encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await self._client.aclose()

    async def call(
        self, addresses: tuple[Address, ...], request: CallRequest, timeout: float
    ) -> CallReply | CallFailed:
        """Call at all of these addresses at the same time; the first reply ends the others.

        Never raises but for cancellation. It failed as ``REFUSED`` only where every address refused.
        """
        body = self._codec.encode(request)
        if len(addresses) == 1:
            return await self._call_one(addresses[0], body, timeout)
        failures: list[CallFailed] = []
        replies: list[CallReply] = []
        async with trio.open_nursery() as nursery:

            async def try_one(address: Address) -> None:
                outcome = await self._call_one(address, body, timeout)
                if isinstance(outcome, CallFailed):
                    failures.append(outcome)
                else:
                    replies.append(outcome)
                    nursery.cancel_scope.cancel()

            for address in addresses:
                nursery.start_soon(try_one, address)
        if replies:
            return replies[0]
        return _worst(failures)

    async def watch(
        self,
        addresses: tuple[Address, ...],
        request: Probe,
        timeout: float,
        opened: Callable[[WatchOpened], None],
    ) -> CallFailed:
        """Connect to all of these addresses at the same time, keep the first that answers until it breaks, and say why
        it did, or why none stood within ``timeout`` seconds. ``opened`` is told when one stands.

        Never raises but for cancellation, which closes it.
        """
        body = self._codec.encode(request)
        failures: list[CallFailed] = []
        others: dict[Address, trio.CancelScope] = {address: trio.CancelScope() for address in addresses}

        async with trio.open_nursery() as nursery:

            async def try_one(address: Address, scope: trio.CancelScope) -> None:
                def stands(pong: Pong) -> None:
                    for other in others.values():
                        if other is not scope:
                            other.cancel()
                    opened(WatchOpened(address, pong))

                with scope:
                    failures.append(await self._watch_one(address, body, timeout, stands))

            for address, scope in others.items():
                nursery.start_soon(try_one, address, scope)
        return _worst(failures)

    async def _watch_one(
        self, address: Address, body: bytes, timeout: float, opened: Callable[[Pong], None]
    ) -> CallFailed:
        url = f"http://{address}{WATCH_PATH}"
        patience = httpx.Timeout(timeout, read=None)
        begun = bytearray()
        pong: CallReply | None = None
        deadline = trio.current_time() + timeout
        with trio.CancelScope(deadline=deadline) as waiting:
            try:
                async with self._post(url, body, patience) as response:
                    if response.status_code != 200:
                        return CallFailed(Failure.UNREACHABLE, f"{address}: status {response.status_code}")
                    async for chunk in response.aiter_raw():
                        if pong is None:
                            begun += chunk
                            pong = self._decode_pong(begun)
                            if isinstance(pong, Pong):
                                waiting.deadline = float("inf")
                                opened(pong)
                        if (pong is not None and not isinstance(pong, Pong)) or len(begun) > _PONG_BYTES_MAX:
                            waiting.cancel()
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
                return _failed(address, error)
        if waiting.cancelled_caught:
            return CallFailed(Failure.TIMEOUT, f"{address}: no watch in {timeout:g} s")
        return CallFailed(Failure.UNREACHABLE, f"{address}: it closed the connection")

    @contextlib.asynccontextmanager
    async def _post(self, url: str, body: bytes, timeout: httpx.Timeout) -> AsyncIterator[httpx.Response]:
        request = self._client.build_request("POST", url, content=body, timeout=timeout)
        request.stream = _Sent(body)
        response = await self._client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    def _decode_pong(self, data: bytearray) -> CallReply | None:
        """What a watch connection begins with; None where it is not whole yet."""
        try:
            return self._codec.decode_reply_untrusted(bytes(data))
        except RemoteProtocolError:
            return None

    async def _call_one(self, address: Address, body: bytes, timeout: float) -> CallReply | CallFailed:
        is_too_long = False
        too_long = CallFailed(Failure.UNREACHABLE, f"{address}: a reply of over {CALL_BYTES_MAX} bytes")
        with trio.move_on_after(timeout) as scope:
            try:
                async with self._post(f"http://{address}{CALL_PATH}", body, httpx.Timeout(timeout)) as response:
                    reply = bytearray()
                    async for chunk in response.aiter_raw():  # never unpacked: a small reply must not become a huge one
                        reply += chunk
                        if len(reply) > CALL_BYTES_MAX:
                            is_too_long = True
                            reply.clear()
                            scope.cancel()  # not a return: the generators below would be left to the garbage collector
                if is_too_long:
                    return too_long
                if response.status_code != 200:
                    return CallFailed(Failure.UNREACHABLE, f"{address}: status {response.status_code}")
                return self._codec.decode_reply_untrusted(bytes(reply))
            except httpx.TimeoutException:
                pass
            except RemoteProtocolError as error:
                return CallFailed(Failure.UNREACHABLE, f"{address}: {error}")
            except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # ValueError: no host at all
                return _failed(address, error)
        if is_too_long:
            return too_long
        return CallFailed(Failure.TIMEOUT, f"{address}: no answer in {timeout:g} s")


class _Sent(httpx.AsyncByteStream):
    """A request's body. httpx's own is a generator: one that is cancelled half-way would be left for the garbage
    collector, which trio warns of."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __aiter__(self) -> _Sent:
        return _Sent(self._body)

    async def __anext__(self) -> bytes:
        if not self._body:
            raise StopAsyncIteration
        body, self._body = self._body, b""
        return body


def _failed(address: Address, error: Exception) -> CallFailed:
    is_refused = any(cause.errno == errno.ECONNREFUSED for cause in _os_errors(error))
    return CallFailed(Failure.REFUSED if is_refused else Failure.UNREACHABLE, f"{address}: {error}")


def _worst(failures: list[CallFailed]) -> CallFailed:
    """Of several addresses: refused only where all refused."""
    return next((failed for failed in failures if failed.failure is not Failure.REFUSED), failures[0])


def _os_errors(error: BaseException | None) -> Iterator[OSError]:
    """The system's errors behind one that httpx raised."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                yield from _os_errors(inner)
        if isinstance(error, OSError):
            yield error
        error = error.__cause__ or error.__context__
