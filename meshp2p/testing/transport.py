"""httpx over the virtual network: the same client and connection pool, on virtual streams."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

import httpcore
import httpx
import trio

from meshp2p.testing.process import Process
from meshp2p.testing.streams import VirtualStream, connect

if TYPE_CHECKING:
    from meshp2p.testing.lan import Lan

__all__ = ["VirtualTransport"]

KEEP_ALIVE_SECONDS: Final = 20.0
"""How long in virtual time an idle connection is kept. Chosen, not measured."""


class VirtualTransport(httpx.AsyncBaseTransport):
    """A transport for ``httpx.AsyncClient(transport=...)``: connections from one process to hosts of the virtual
    LAN."""

    def __init__(self, lan: Lan, process: Process) -> None:
        # httpcore's own expiry is on the real clock
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=_Backend(lan, process), max_connections=64, max_keepalive_connections=16
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        with _httpx_errors():
            response = await self._pool.handle_async_request(
                httpcore.Request(
                    request.method,
                    url,
                    headers=request.headers.raw,
                    content=_Sent(body),
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Sent:
    """A request's body. It is no generator: one that is cancelled half-way would be left to the garbage collector,
    about which trio warns."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __aiter__(self) -> _Sent:
        return _Sent(self._body)

    async def __anext__(self) -> bytes:
        if not self._body:
            raise StopAsyncIteration
        body, self._body = self._body, b""
        return body


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Convert httpcore's errors to httpx's, which have the same names."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
    ) as error:
        kind: type[httpx.TransportError] = getattr(httpx, type(error).__name__)
        raise kind(str(error)) from error


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, lan: Lan, process: Process) -> None:
        self._lan = lan
        self._process = process

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with trio.fail_after(_seconds(timeout)):
                return _NetworkStream(await connect(self._lan, self._process, host, port))
        except trio.TooSlowError as error:
            raise httpcore.ConnectTimeout(f"{host}:{port} does not answer") from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> NoReturn:
        raise httpcore.ConnectError("the virtual network has no Unix sockets")

    async def sleep(self, seconds: float) -> None:
        await self._process.sleep(seconds)


class _NetworkStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: VirtualStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            with trio.fail_after(_seconds(timeout)):
                return await self._stream.receive_some(max_bytes)
        except trio.TooSlowError as error:
            raise httpcore.ReadTimeout from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            with trio.fail_after(_seconds(timeout)):
                await self._stream.send_all(buffer)
        except trio.TooSlowError as error:
            raise httpcore.WriteTimeout from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> NoReturn:
        raise httpcore.ConnectError("the virtual network speaks http, not https")

    def get_extra_info(self, info: str) -> object:
        match info:
            case "is_readable":  # asked of an idle connection, which is not used again where this is true
                idle = trio.current_time() - self._stream.last_used
                return self._stream.is_readable or idle > KEEP_ALIVE_SECONDS
            case "client_addr":
                return (self._stream.local.host, self._stream.local.port)
            case "server_addr":
                return (self._stream.remote.host, self._stream.remote.port)
            case _:
                return None


def _seconds(timeout: float | None) -> float:
    return float("inf") if timeout is None else timeout
