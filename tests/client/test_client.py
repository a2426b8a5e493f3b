"""The client: over any node of a mesh, on trio and on asyncio, whatever the nodes do."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
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

from meshp2p import (
    ConfigError,
    CopyStatus,
    Instance,
    InstanceConflict,
    LimitExceeded,
    MeshError,
    MeshNode,
    QueryTimeout,
    ReceivedMessage,
    RemoteError,
    RequestRefused,
    State,
    UnknownInstance,
    UnknownMessage,
    Unreachable,
    WaitTimeout,
)
from meshp2p.client import MeshClient
from tests.http.meshes import open_mesh

NO_LEADER = json.dumps({"instances": [], "leader_id": None}).encode()


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


async def leader_id(client: MeshClient) -> str | None:
    leader = await client.leader()
    return None if leader is None else leader.id


# A whole life over two nodes


async def live(client: MeshClient) -> None:
    instance_id = "agent 1/2 %ü"
    await client.register(instance_id, "h", 7, ["draw"], ("p",))
    assert [member.id for member in await client.members()] == [instance_id, "node-a", "node-b"]
    await client.heartbeat(instance_id, "busy", {"load": 0.5})
    await client.register("z", "h", 1)
    assert await client.heartbeat(instance_id, "busy", {"load": 0.5}), "an instance came"
    await client.deregister("z")
    found = await client.find(capability="draw", profile="p")
    assert [(one.id, one.capabilities, one.profiles) for one in found] == [(instance_id, ("draw",), ("p",))]
    assert await client.find(capability="paint") == []
    member = await client.member(instance_id)
    assert isinstance(member, Instance)
    assert (member.port, member.state, member.home, member.addresses) == (7, State.ALIVE, "node-a", ())
    assert (member.status, member.metrics, member.is_hosted) == ("busy", {"load": 0.5}, True)
    assert member.created_at <= member.last_heartbeat <= dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
    leader = await client.leader()
    assert leader is not None
    assert (leader.id, leader.is_leader) == (instance_id, True)
    assert (await client.health())["status"] == "healthy"
    assert await client.deregister(instance_id)
    assert not await client.deregister(instance_id)
    assert await client.member(instance_id) is None
    with pytest.raises(UnknownInstance, match="register it again"):
        await client.heartbeat(instance_id)


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
                assert (await client.health())["status"] == "healthy"

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
        await client.heartbeat(instance_id)
        member = await client.member(instance_id)
        assert member is not None
        assert member.id == instance_id
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
        assert await leader_id(client) == "node-a"
        other._node._driver.machine.leave(trio.current_time())
        async with open_mesh("node-c") as (third,), MeshClient([third.url, one.url]) as second:
            assert await leader_id(second) == "node-c"
            urls = (third.url, one.url)
        async with MeshClient(urls) as second:
            assert await leader_id(second) == "node-a"


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
        with pytest.raises(InstanceConflict, match=r"'node-a'.* register under another id"):
            await client.register("node-a", "h", 1)
        with pytest.raises(RequestRefused, match=r"^422: .*70000") as caught:
            await client.register("x", "h", 70_000)
        assert caught.value.status == 422
        with pytest.raises(LimitExceeded):
            await client.heartbeat("node-a", metrics={"a": "x" * 10_000})
        with pytest.raises(InstanceConflict):
            await client.deregister("node-a")
        with pytest.raises(UnknownInstance, match="'nobody' is not listed"):
            await client.heartbeat("nobody")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (http(b"<html>404</html>", "404 Not Found"), 404),
        (http(b"", "500 Internal Server Error"), 500),
        (http(b"\xff\xfe", "502 Bad Gateway"), 502),
        (http(b'{"instances": 7}'), 200),
        (http(b"[]"), 200),
        (http(b""), 200),
        (http(b"", "204 No Content"), 204),
        (http(b"[" * 100_000), 200),
        (http(b'{"instances": "\xff"}'), 200),
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


@pytest.mark.parametrize("arguments", [{"urls": 7}, {"timeout": "5"}, {"timeout": 0}, {"token": 7}], ids=str)
def test_a_wrong_argument_of_a_client_is_named(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    with pytest.raises(ConfigError, match=rf"^{name} = "):
        MeshClient(**{"urls": "http://127.0.0.1:1", **arguments})


def test_no_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one base URL"):
        MeshClient([])


async def test_a_base_url_may_have_a_path_and_a_slash_at_its_end() -> None:
    async with serving(http(NO_LEADER)) as server:
        for suffix in ("", "/", "/mesh/", "/mesh"):
            async with MeshClient(server.url + suffix) as client:
                await client.leader()
    paths = [request.split(b" ")[1] for request in server.requests]
    assert [path.partition(b"?")[0] for path in paths] == [
        b"/registry/agents",
        b"/registry/agents",
        b"/mesh/registry/agents",
        b"/mesh/registry/agents",
    ]


# Messages


async def converse(client: MeshClient) -> None:
    source, target = "agent 1/2", "other"
    for instance_id in (source, target):
        await client.register(instance_id, "h", 1)
    first = await client.send(target, {"n": 2**70}, source=source, kind="Query", correlation_id="c")
    second = await client.broadcast(msgspec.Raw(b"[1E5]"), source=source, kind="Paid")
    one, two = await client.messages(target, wait=60)
    assert isinstance(one, ReceivedMessage)
    assert (one.id, one.source, one.target, one.kind) == (first, source, target, "Query")
    assert (one.payload, one.correlation_id, one.created_at.tzinfo) == ({"n": 2**70}, "c", dt.UTC)
    assert (two.id, two.kind, two.raw, two.target) == (second, "Paid", b"[1E5]", None)
    assert [message.id for message in await client.messages(target, limit=1)] == [first]
    assert [message.id for message in await client.messages(target, after=first)] == [second]
    assert await client.messages(source) == []
    reply = await one.reply("an answer")
    (answer,) = await client.messages(source, wait=60)
    assert (answer.id, answer.kind, answer.correlation_id, answer.payload) == (reply, "Response", "c", "an answer")
    await one.acknowledge()
    await client.acknowledge(target, (message.id for message in (one, two)))
    assert await client.messages(target, wait=0.01) == []
    assert [(receipt.recipient, receipt.status) for receipt in await client.message_status(first)] == [
        (target, CopyStatus.ACKNOWLEDGED)
    ]
    assert len(await client.message_status(second)) == 3
    with pytest.raises(UnknownMessage, match="'none'"):
        await client.message_status("none")
    with pytest.raises(UnknownInstance, match=r"^Target instance 'nobody' not found"):
        await client.send("nobody", None, source=source)
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
        await client.send("b", 1, source="a")
        await client.send("b", 1, source="a", if_absent="queue")
        with pytest.raises(ConfigError, match=r"if_absent = 'wait': expected 'refuse' or 'queue'"):
            await client.send("b", 1, source="a", if_absent="wait")  # type: ignore[arg-type]
    paths = [request.split(b" ")[1] for request in server.requests]
    assert paths == [b"/messages/send/a", b"/messages/send/a?if_absent=queue"]


async def test_a_message_goes_to_the_next_node_where_the_first_cannot_have_taken_it() -> None:
    async with (
        serving(http(b'{"error": "leaving"}', "503 Busy")) as busy,
        serving(QUEUED) as good,
        MeshClient([nowhere(), busy.url, good.url]) as client,
    ):
        assert await client.send("b", 1, source="a") == "m"
    assert (len(busy.requests), len(good.requests)) == (1, 1)


async def test_a_message_that_a_node_may_have_taken_is_not_sent_to_another() -> None:
    def hang_up(stream: trio.SocketStream) -> Any:
        return stream.aclose()

    async with serving(QUEUED) as good:
        for silence in (hang_up, sleep_forever):
            async with serving(silence) as rude, MeshClient([rude.url, good.url], timeout=0.2) as client:
                with pytest.raises(Unreachable, match="POST /messages/send/a"):
                    await client.send("b", 1, source="a")
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
        assert await client.messages("a", wait=60) == []
    assert asked == [
        "http://node/messages/a?detail=true",
        "http://node/messages/a?detail=true&wait=60.000",
    ]


# The node's words


def names(of: type[Any]) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def test_what_a_client_shares_with_a_node_takes_the_same_arguments() -> None:
    shared = names(MeshClient) & names(MeshNode)
    assert shared == {
        "broadcast",
        "close",
        "events",
        "find",
        "leader",
        "member",
        "members",
        "message_status",
        "query",
        "send",
    }
    for name in shared - {"leader"}:
        ours = list(inspect.signature(getattr(MeshClient, name)).parameters.values())
        theirs = list(inspect.signature(getattr(MeshNode, name)).parameters.values())
        mine = [(one.name, one.kind) for one in ours if one.name not in ("source", "is_error")]
        expected = [(one.name, one.kind) for one in theirs if one.name != "timeout" or name == "query"]
        assert mine == expected, name


async def test_without_a_target_or_a_source_nothing_is_sent() -> None:
    async with serving(QUEUED) as server, MeshClient(server.url) as client:
        with pytest.raises(TypeError, match="target"):
            await client.send(payload=1, source="a")  # type: ignore[call-arg]
        with pytest.raises(ConfigError, match="target = None"):
            await client.send(None, 1, source="a")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="source"):
            await client.send("b", 1)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="source"):
            await client.broadcast(1)  # type: ignore[call-arg]
    assert server.requests == []


@pytest.mark.parametrize("payload", [float("nan"), float("inf"), b"bytes", {"a": [1j]}, "\ud800"], ids=ascii)
async def test_what_has_no_form_in_json_is_refused_before_a_node_is_asked(payload: object) -> None:
    async with serving(QUEUED) as server, MeshClient(server.url) as client:
        for call in (
            lambda: client.send("b", payload, source="a"),
            lambda: client.broadcast(payload, source="a"),
            lambda: client.query("b", payload, source="a"),
        ):
            with pytest.raises(ConfigError, match="payload"):
                await call()
        with pytest.raises(ConfigError, match="metrics"):
            await client.heartbeat("a", metrics={"a": payload})
    assert server.requests == []


async def test_arguments_of_a_wrong_type_are_named_before_a_node_is_asked() -> None:
    async with serving(QUEUED) as server, MeshClient(server.url) as client:
        for name, call in (
            ("target", lambda: client.send(7, 1, source="a")),  # type: ignore[arg-type]
            ("source", lambda: client.send("b", 1, source=7)),  # type: ignore[arg-type]
            ("kind", lambda: client.send("b", 1, source="a", kind=7)),  # type: ignore[arg-type]
            ("kind", lambda: client.broadcast(1, source="a", kind="")),
            ("correlation_id", lambda: client.send("b", 1, source="a", correlation_id=7)),  # type: ignore[arg-type]
            ("is_error", lambda: client.send("b", 1, source="a", is_error=7)),  # type: ignore[arg-type]
            ("if_absent", lambda: client.send("b", 1, source="a", if_absent="no")),  # type: ignore[arg-type]
            ("timeout", lambda: client.query("b", 1, source="a", timeout=0)),
            ("capability", lambda: client.find(capability=7)),  # type: ignore[arg-type]
            ("instance_id", lambda: client.member(7)),  # type: ignore[arg-type]
            ("instance_id", lambda: client.messages(7)),  # type: ignore[arg-type]
            ("message_id", lambda: client.message_status(7)),  # type: ignore[arg-type]
            ("wait", lambda: client.messages("a", wait="1")),  # type: ignore[arg-type]
            ("limit", lambda: client.messages("a", limit="1")),  # type: ignore[arg-type]
            ("status", lambda: client.heartbeat("a", 7)),  # type: ignore[arg-type]
            ("capabilities", lambda: client.register("a", "h", 1, "draw")),
            ("profiles", lambda: client.register("a", "h", 1, (), [7])),  # type: ignore[list-item]
            ("port", lambda: client.register("a", "h", "1")),  # type: ignore[arg-type]
            ("message_ids", lambda: client.acknowledge("a", "id")),
        ):
            with pytest.raises(ConfigError, match=rf"^{name}\b"):
                await call()
    assert server.requests == []


async def test_a_query_over_http_gets_the_answer_of_a_handler_or_its_error() -> None:
    async with open_mesh("node-a", "node-b") as (one, other), MeshClient(other.url) as client:
        await client.register("asker", "h", 1)
        await other.send("asker", "an earlier message")

        @one.handler("Query")
        async def answer(question: int) -> dict[str, int]:
            if question < 0:
                raise ValueError("it is negative")
            return {"doubled": 2 * question}

        await one.wait_for_members(3)
        assert await client.query("node-a", 21, source="asker") == {"doubled": 42}
        with pytest.raises(RemoteError, match="ValueError: it is negative"):
            await client.query("node-a", -1, source="asker")
        with pytest.raises(UnknownInstance):
            await client.query("nobody", 1, source="asker")
        with pytest.raises(QueryTimeout, match=r"'node-b' did not answer within 0\.2 s") as caught:
            await client.query("node-b", 1, source="asker", timeout=0.2)
        assert isinstance(caught.value, TimeoutError)
        assert [message.payload for message in await client.messages("asker")] == ["an earlier message"]
        await trio.sleep(1)
        assert await client.messages("node-b") == []  # the query expired with its timeout


async def test_a_message_that_cannot_be_acknowledged_in_time_says_so(autojump_clock: MockClock) -> None:
    message = {
        "message_id": "m",
        "source_instance": "b",
        "target_instance": "a",
        "message_type": "Query",
        "payload": 1,
        "correlation_id": None,
        "created_at": "2026-01-01T00:00:00Z",
        "is_error": False,
    }

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            await trio.sleep(4)
        return httpx.Response(200, json={"messages": [message]})

    async with MeshClient("http://node", transport=httpx.MockTransport(answer)) as client:
        (received,) = await client.messages("a")
        with pytest.raises(WaitTimeout, match="was not acknowledged within 1 s"):
            await received.acknowledge(timeout=1)
