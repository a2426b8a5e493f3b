"""Calls to what need not be a node: whatever it answers, the call ends as a reply or as a failure."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from meshp2p.core.address import Address
from meshp2p.core.effects import CallFailed, Failure
from meshp2p.core.messages import CallReply, Done, Push
from meshp2p.net.calls import CallClient
from meshp2p.wire.codec import CALL_BYTES_MAX, Codec

CODEC = Codec("default")
DONE = CODEC.encode(Done())
REQUEST = Push(1, ())

Answer = Callable[[trio.SocketStream], Awaitable[None]]


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def serving(answer: bytes | Answer, host: str = "127.0.0.1") -> AsyncIterator[Address]:
    """Whoever connects here and asks is sent this, each time that it asks."""

    async def serve(stream: trio.SocketStream) -> None:
        try:
            while await read_request(stream):
                if isinstance(answer, bytes):
                    await stream.send_all(answer)
                    if answer[:4] != b"HTTP" or b"connection: close" in answer:
                        return
                else:
                    await answer(stream)
        except trio.BrokenResourceError:
            pass  # the caller has heard enough

    listeners = await trio.open_tcp_listeners(0, host=host)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, serve, listeners))
        yield Address(host, listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


async def read_request(stream: trio.SocketStream) -> bytes:
    """One whole request; empty where there is none."""
    data = b""
    while not data.endswith(CODEC.encode(REQUEST)):
        part = await stream.receive_some()
        if not part:
            return b""
        data += part
    return data


async def sleep_forever(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def free_address() -> Address:
    """An address at which nobody listens."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    return Address("127.0.0.1", port)


async def call(*addresses: Address, timeout: float = 30) -> CallReply | CallFailed:
    async with CallClient(CODEC) as caller:
        return await caller.call(addresses, REQUEST, timeout)


async def failure_of(answer: bytes | Answer, timeout: float = 30) -> CallFailed:
    async with serving(answer) as address:
        reply = await call(address, timeout=timeout)
    assert isinstance(reply, CallFailed)
    assert str(address) in reply.reason
    return reply


async def test_a_reply_is_read() -> None:
    async with serving(http(DONE)) as address:
        assert await call(address) == Done()


async def test_a_request_is_a_post_of_a_frame() -> None:
    requests: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        requests.append(await read_request(stream))
        await stream.send_all(http(DONE))

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, serve, listeners))
        assert await call(Address("127.0.0.1", listeners[0].socket.getsockname()[1])) == Done()
        nursery.cancel_scope.cancel()
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /mesh/call HTTP/1.1\r\n")
    assert b"content-type: application/vnd.meshp2p" in head.lower()
    assert b"accept-encoding: identity" in head.lower()
    assert body == CODEC.encode(REQUEST)


async def test_a_proxy_of_the_environment_is_not_for_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = await free_address()
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{nobody}")
    async with serving(http(DONE)) as address:
        assert await call(address) == Done()


@pytest.mark.parametrize(
    "answer",
    [
        http(DONE, status="400 Bad Request"),
        http(DONE, status="503 Service Unavailable"),
        http(DONE, "location: http://127.0.0.1:1/", status="307 Temporary Redirect"),
        http(b""),
        http(b"{}"),
        http(DONE[:-1]),
        http(Codec("other").encode(Done())),
        http(DONE, "connection: close")[:-1],
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\xff" * 100,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        http(gzip.compress(DONE), "content-encoding: gzip"),
    ],
    ids=lambda answer: ascii(answer)[:50],
)
async def test_what_is_no_reply_of_this_mesh_is_a_failure(answer: bytes) -> None:
    assert (await failure_of(answer)).failure is Failure.UNREACHABLE


async def test_a_reply_past_the_limit_is_cut_off() -> None:
    async def flood(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send_all(b"\0" * 65_536)

    failed = await failure_of(flood)
    assert failed.failure is Failure.UNREACHABLE
    assert str(CALL_BYTES_MAX) in failed.reason


async def test_a_small_reply_is_never_unpacked_into_a_huge_one() -> None:
    bomb = gzip.compress(b"\0" * (64 << 20))
    tracemalloc.start()
    try:
        assert (await failure_of(http(bomb, "content-encoding: gzip"))).failure is Failure.UNREACHABLE
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


async def test_where_nobody_listens_the_call_is_refused() -> None:
    reply = await call(await free_address())
    assert isinstance(reply, CallFailed)
    assert reply.failure is Failure.REFUSED


async def test_silence_ends_at_the_timeout() -> None:
    assert (await failure_of(sleep_forever, timeout=0.05)).failure is Failure.TIMEOUT


async def test_one_byte_at_a_time_ends_at_the_timeout_too() -> None:
    async def drip(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            await stream.send_all(b"\0")
            await trio.sleep(0.01)

    assert (await failure_of(drip, timeout=0.2)).failure is Failure.TIMEOUT


async def test_of_several_addresses_the_first_reply_counts_and_ends_the_others() -> None:
    async with serving(sleep_forever) as mute, serving(http(DONE)) as good:
        assert await call(await free_address(), mute, good) == Done()


async def test_it_is_refused_only_where_every_address_refused() -> None:
    refusing = [await free_address(), await free_address()]
    reply = await call(*refusing)
    assert isinstance(reply, CallFailed)
    assert reply.failure is Failure.REFUSED
    async with serving(http(b"")) as wrong:
        reply = await call(*refusing, wrong)
    assert isinstance(reply, CallFailed)
    assert reply.failure is Failure.UNREACHABLE


@pytest.mark.parametrize("host", ["fe80::1%nothing", "::1%x y", "a b", "[", "\n", "ü" * 63, "x" * 253])
async def test_an_address_that_is_none_is_a_failure_and_no_error(host: str) -> None:
    reply = await call(Address(host, 1), timeout=5)
    assert isinstance(reply, CallFailed)


async def test_a_call_can_be_cancelled() -> None:
    async with serving(sleep_forever) as mute, CallClient(CODEC) as caller:
        with trio.move_on_after(0.05) as scope:
            await caller.call((mute, mute), REQUEST, 3600)
        assert scope.cancelled_caught


async def test_a_connection_is_kept_for_the_next_call() -> None:
    streams: list[trio.SocketStream] = []

    async def answer(stream: trio.SocketStream) -> None:
        streams.append(stream)
        await stream.send_all(http(DONE))

    async with serving(answer) as address, CallClient(CODEC) as caller:
        for _ in range(3):
            assert await caller.call((address,), REQUEST, 30) == Done()
    assert len(streams) == 3
    assert len({id(stream) for stream in streams}) == 1
