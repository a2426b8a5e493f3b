"""The client: over any node of a mesh, on trio and on asyncio, whatever the nodes do."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import msgspec
import pytest
import trio
from trio.testing import MockClock

from meshp2p import ConfigError, MeshError, RequestRefused, Unreachable
from meshp2p.client import MeshClient
from tests.http.meshes import open_mesh

NO_LEADER = json.dumps({"leader_id": None, "leader_epoch": 0, "since": None, "is_self": False}).encode()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


class Server:
    """A server that answers each request with the same bytes, and counts them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[bytes] = []


@asynccontextmanager
async def serving(answer: bytes | Callable[[trio.SocketStream], Any]) -> AsyncIterator[Server]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Server(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}")

    async def serve(stream: trio.SocketStream) -> None:
        server.requests.append(bytes(await stream.receive_some()))
        try:
            if isinstance(answer, bytes):
                await stream.send_all(answer)
            else:
                await answer(stream)
        except trio.BrokenResourceError:
            pass  # the client has heard enough

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(trio.serve_listeners, serve, listeners))
        yield server
        nursery.cancel_scope.cancel()


async def sleep_forever(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


def nowhere() -> str:
    """A URL at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


# A whole life over two nodes


async def live(client: MeshClient) -> None:
    instance_id = "agent 1/2 %ü"
    registered = await client.register(instance_id, "h", 7, ["draw"], ("p",))
    assert (registered.success, registered.instance_id) == (True, instance_id)
    assert instance_id in [peer.instance_id for peer in registered.peers]
    assert (await client.heartbeat(instance_id, "busy", {"load": 0.5})).acknowledged
    assert (await client.heartbeat(instance_id)).acknowledged
    listed = await client.list_instances(capability="draw", profile="p")
    assert [instance.instance_id for instance in listed.instances] == [instance_id]
    assert (await client.list_instances(status="unheard of")).instances == []
    detail = await client.get_instance(instance_id)
    assert detail is not None
    assert (detail.port, detail.state, detail.home) == (7, "alive", "node-a")
    assert (await client.leader()).leader_id == instance_id
    assert (await client.health()).status == "healthy"
    assert await client.deregister(instance_id)
    assert not await client.deregister(instance_id)
    assert await client.get_instance(instance_id) is None
    late = await client.heartbeat(instance_id)
    assert (late.acknowledged, late.leader_id) == (False, "node-a")


async def test_an_agent_lives_its_life_over_http() -> None:
    async with open_mesh("node-a", "node-b") as nodes, MeshClient([node.url for node in nodes]) as client:
        await live(client)


async def test_the_client_works_on_asyncio() -> None:
    async with open_mesh("node-a", "node-b") as nodes:
        urls = [node.url for node in nodes]

        async def on_asyncio() -> None:
            async with MeshClient(urls) as client:
                await live(client)
            async with MeshClient([nowhere(), urls[0]]) as client:
                assert (await client.health()).status == "healthy"

        await trio.to_thread.run_sync(asyncio.run, on_asyncio())


async def test_on_asyncio_silence_ends_at_the_timeout() -> None:
    async with serving(sleep_forever) as mute:

        async def on_asyncio() -> None:
            async with MeshClient(mute.url, timeout=0.1) as client:
                await client.health()

        with pytest.raises(Unreachable, match=r"no answer in 0\.1 s"):
            await trio.to_thread.run_sync(asyncio.run, on_asyncio())


@pytest.mark.parametrize("instance_id", [".", "..", "...", "a/../b", "%2e%2e", " ", "\n", "?", "#", "\U0001f600"])
async def test_every_id_is_reached(instance_id: str) -> None:
    async with open_mesh("node-a") as (node,), MeshClient(node.url + "/") as client:
        await client.register(instance_id, "h", 1)
        assert (await client.heartbeat(instance_id)).acknowledged
        detail = await client.get_instance(instance_id)
        assert detail is not None
        assert detail.instance_id == instance_id
        assert await client.deregister(instance_id)


# Several URLs


async def test_the_next_url_is_asked_where_one_does_not_answer_and_first_from_then_on() -> None:
    async with (
        serving(http(NO_LEADER)) as good,
        serving(http(b'{"error": "leaving"}', "503 Busy")) as busy,
        MeshClient([nowhere(), busy.url, good.url]) as client,
    ):
        for _ in range(3):
            await client.leader()
    assert (len(busy.requests), len(good.requests)) == (1, 3)


async def test_each_url_is_asked_once_and_the_error_names_what_each_said() -> None:
    def hang_up(stream: trio.SocketStream) -> Any:
        return stream.aclose()

    async with (
        serving(http(b'{"error": "the node is leaving"}', "503 Busy")) as busy,
        serving(hang_up) as rude,
        serving(sleep_forever) as mute,
    ):
        dead = nowhere()
        async with MeshClient([dead, busy.url, rude.url, mute.url], timeout=0.2) as client:
            with pytest.raises(Unreachable) as caught:
                await client.register("agent", "h", 1)
    text = str(caught.value)
    assert text.startswith("no node answered POST /registry/register: ")
    assert all(f"{url}: " in text for url in (dead, busy.url, rude.url, mute.url))
    assert f"{busy.url}: the node is leaving" in text
    assert f"{mute.url}: no answer in 0.2 s" in text
    assert [len(server.requests) for server in (busy, rude, mute)] == [1, 1, 1]


async def test_when_the_node_that_answered_goes_another_is_asked() -> None:
    async with open_mesh("node-a", "node-b") as (one, other), MeshClient([other.url, one.url]) as client:
        assert (await client.leader()).is_self is False
        other._node._driver.machine.leave(trio.current_time())
        async with open_mesh("node-c") as (third,), MeshClient([third.url, one.url]) as second:
            assert (await second.leader()).leader_id == "node-c"
            urls = (third.url, one.url)
        async with MeshClient(urls) as second:
            assert (await second.leader()).leader_id == "node-a"


async def test_one_byte_at_a_time_ends_at_the_timeout_too() -> None:
    async def drip(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while True:
            await stream.send_all(b" ")
            await trio.sleep(0.01)

    async with serving(drip) as slow, MeshClient(slow.url, timeout=0.2) as client:
        with pytest.raises(Unreachable, match=r"no answer in 0\.2 s"):
            await client.leader()


async def test_a_callers_own_cancellation_is_none_of_the_clients_timeouts() -> None:
    async with serving(sleep_forever) as mute, MeshClient([mute.url, nowhere()]) as client:
        with trio.move_on_after(0.05) as scope:
            await client.leader()
        assert scope.cancelled_caught


# Answers that are none


async def test_an_error_status_is_raised_with_the_nodes_own_words() -> None:
    async with open_mesh("node-a") as (node,), MeshClient(node.url) as client:
        with pytest.raises(RequestRefused, match=r"^409: .*'node-a'.* register under another id") as caught:
            await client.register("node-a", "h", 1)
        assert caught.value.status == 409
        with pytest.raises(RequestRefused, match=r"^422: .*70000"):
            await client.register("x", "h", 70_000)
        with pytest.raises(RequestRefused, match=r"^413: "):
            await client.heartbeat("node-a", metrics={"a": "x" * 10_000})
        with pytest.raises(RequestRefused, match=r"^409: "):
            await client.deregister("node-a")
        assert not (await client.heartbeat("nobody")).acknowledged


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (http(b"<html>404</html>", "404 Not Found"), 404),
        (http(b"", "500 Internal Server Error"), 500),
        (http(b"\xff\xfe", "502 Bad Gateway"), 502),
        (http(b'{"leader_id": 7}'), 200),
        (http(b"[]"), 200),
        (http(b""), 200),
        (http(b"", "204 No Content"), 204),
        (http(b"[" * 100_000), 200),
        (http(b'{"leader_id": "\xff"}'), 200),
        (http(b"", "302 Found"), 302),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_what_is_no_answer_of_a_node_is_refused_with_its_status(answer: bytes, status: int) -> None:
    async with serving(answer) as server, MeshClient(server.url) as client:
        with pytest.raises(RequestRefused) as caught:
            await client.leader()
    assert caught.value.status == status
    assert len(str(caught.value)) < 1000


async def test_a_heartbeat_that_no_node_answered_is_an_error() -> None:
    async with serving(http(b"nginx", "404 Not Found")) as server, MeshClient(server.url) as client:
        with pytest.raises(RequestRefused):
            await client.heartbeat("agent")


async def test_a_token_is_sent_and_a_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, nowhere())
    async with serving(http(NO_LEADER)) as server, MeshClient(server.url, token="s3cret") as client:
        await client.leader()
    assert b"authorization: bearer s3cret" in server.requests[0].lower()


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://127.0.0.1",
        "http://",
        "http://:7700",
        "http://a:0",
        "http://a:70000",
        "http://a:x",
        "http://[::1",
        "http://a b",
        "http://a/?q=1",
        "http://a/#f",
        "http://\x00",
        "/registry",
    ],
)
def test_what_is_no_base_url_is_refused_by_its_text(url: str) -> None:
    for urls in (url, [url], ["http://127.0.0.1:1", url]):
        with pytest.raises(ConfigError) as caught:
            MeshClient(urls)
        assert repr(url) in str(caught.value)
        assert isinstance(caught.value, MeshError)


def test_no_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one base URL"):
        MeshClient([])


async def test_a_base_url_may_have_a_path_and_a_slash_at_its_end() -> None:
    async with serving(http(NO_LEADER)) as server:
        for suffix in ("", "/", "/mesh/", "/mesh"):
            async with MeshClient(server.url + suffix) as client:
                await client.leader()
    paths = [request.split(b" ")[1] for request in server.requests]
    assert paths == [b"/registry/leader", b"/registry/leader", b"/mesh/registry/leader", b"/mesh/registry/leader"]


# Messages


async def converse(client: MeshClient) -> None:
    source, target = "agent 1/2", "other"
    for instance_id in (source, target):
        await client.register(instance_id, "h", 1)
    first = await client.send(source, {"n": 2**70}, target=target, kind="Query", correlation_id="c")
    assert (first.status, first.delivered_to) == ("queued", (target,))
    second = await client.send(source, msgspec.Raw(b"[1E5]"), kind={"Custom": "Paid"})
    assert target in second.delivered_to
    assert source not in second.delivered_to
    one, two = (await client.messages(target, wait=60)).messages
    assert (one.message_id, one.source_instance, one.target_instance) == (first.message_id, source, target)
    assert (one.message_type, one.payload, one.correlation_id) == ("Query", {"n": 2**70}, "c")
    assert (two.message_type, two.payload, two.target_instance) == ({"Custom": "Paid"}, [100_000.0], None)
    assert (await client.messages(target, limit=1)).messages == [one]
    assert (await client.messages(target, after=one.message_id)).messages == [two]
    await client.acknowledge(target, (message.message_id for message in (one, two)))
    assert (await client.messages(target, wait=0.01)).messages == []
    status = await client.message_status(first.message_id)
    assert status is not None
    assert [(receipt.instance_id, receipt.status) for receipt in status.recipients] == [(target, "acknowledged")]
    assert await client.message_status("none") is None
    with pytest.raises(RequestRefused, match=r"^400: Target instance 'nobody' not found") as caught:
        await client.send(source, None, target="nobody")
    assert caught.value.status == 400
    with pytest.raises(RequestRefused, match=r"^422: .*'Gossip'"):
        await client.send(source, None, kind="Gossip")
    for wait in (-1, 60.5, float("nan")):
        with pytest.raises(ConfigError, match="wait"):
            await client.messages(target, wait=wait)


async def test_agents_talk_over_http() -> None:
    async with open_mesh("node-a", "node-b") as nodes, MeshClient([node.url for node in nodes]) as client:
        await converse(client)


async def test_agents_talk_over_http_on_asyncio() -> None:
    async with open_mesh("node-a", "node-b") as nodes:
        urls = [node.url for node in nodes]

        async def on_asyncio() -> None:
            async with MeshClient(urls) as client:
                await converse(client)

        await trio.to_thread.run_sync(asyncio.run, on_asyncio())


QUEUED = http(b'{"message_id": "m", "status": "queued", "delivered_to": []}')


async def test_a_sender_says_whether_a_message_waits_for_an_absent_target() -> None:
    async with serving(QUEUED) as server, MeshClient(server.url) as client:
        await client.send("a", 1, target="b")
        await client.send("a", 1, target="b", if_absent="queue")
        with pytest.raises(ConfigError, match=r"if_absent = 'wait': expected 'refuse' or 'queue'"):
            await client.send("a", 1, target="b", if_absent="wait")  # type: ignore[arg-type]
    paths = [request.split(b" ")[1] for request in server.requests]
    assert paths == [b"/messages/send/a", b"/messages/send/a?if_absent=queue"]


async def test_a_message_goes_to_the_next_node_where_the_first_cannot_have_taken_it() -> None:
    async with (
        serving(http(b'{"error": "leaving"}', "503 Busy")) as busy,
        serving(QUEUED) as good,
        MeshClient([nowhere(), busy.url, good.url]) as client,
    ):
        assert (await client.send("a", 1)).message_id == "m"
    assert (len(busy.requests), len(good.requests)) == (1, 1)


async def test_a_message_that_a_node_may_have_taken_is_not_sent_to_another() -> None:
    def hang_up(stream: trio.SocketStream) -> Any:
        return stream.aclose()

    async with serving(QUEUED) as good:
        for silence in (hang_up, sleep_forever):
            async with serving(silence) as rude, MeshClient([rude.url, good.url], timeout=0.2) as client:
                with pytest.raises(Unreachable, match="POST /messages/send/a"):
                    await client.send("a", 1)
    assert good.requests == []


async def test_a_read_that_waits_is_given_so_much_longer(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    async def take_time(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        await trio.sleep(64)
        return httpx.Response(200, content=b'{"messages": []}')

    async with MeshClient("http://node", timeout=5, transport=httpx.MockTransport(take_time)) as client:
        with pytest.raises(Unreachable, match=r"no answer in 5 s"):
            await client.messages("a")
        assert (await client.messages("a", wait=60)).messages == []
    assert asked == ["http://node/messages/a", "http://node/messages/a?wait=60.000"]
