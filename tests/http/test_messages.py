"""The endpoints for messages, in front of a node that is none: what they ask it, and how they say what it answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from meshp2p.core.calls import HeartbeatReply, SendReply
from meshp2p.core.instance import ListedInstance
from meshp2p.core.mail.uuid7 import uuid7
from meshp2p.core.message import KINDS, CopyReceipt, CopyStatus, IfAbsent, Message
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import LimitExceeded, MailboxFull, MeshError, NodeClosed, StoreFull, UnknownInstance, Unreachable
from meshp2p.http.app import make_app
from meshp2p.http.limits import HttpLimits
from meshp2p.http.request import Write
from meshp2p.wire.contract import PingResponse
from tests.http.clients import Answer, Client, connected

ID = uuid7(1_700_000_000_000, 1)
LATER = uuid7(1_700_000_000_000, 2)
MESSAGE = Message(
    ID, "from", "to", "Query", "", b'{"b" : 1E5,"a":18446744073709551617, "a":-0}', "c", 1_700_000_000_123
)


class Node:
    """Stands for a node: it answers with what it was given, and writes down what it was asked."""

    id = "node"
    uptime = 0.0
    leader: ListedInstance | None = None
    leader_id: str | None = None

    def __init__(self, *messages: Message, failure: MeshError | None = None) -> None:
        self.messages = messages
        self.failure = failure
        self.receipts: tuple[CopyReceipt, ...] = ()
        self.asked: list[tuple[Any, ...]] = []
        self.if_absent: list[str] = []
        self.timeouts: list[float | None] = []
        self.waiting = 0
        self.came = trio.Event()

    def _take(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.failure is not None:
            raise self.failure

    async def send_message(
        self,
        source: str,
        target: str | None,
        kind: str,
        name: str,
        payload: bytes,
        correlation_id: str | None,
        is_error: bool = False,
        timeout: float | None = None,
        *,
        if_absent: IfAbsent = "refuse",
        trace: str | None = None,
    ) -> SendReply:
        self._take(source, target, kind, name, payload, correlation_id, is_error)
        self.if_absent.append(if_absent)
        self.timeouts.append(timeout)
        return SendReply(ID, ("to",))

    async def fetch(self, recipient: str, limit: int, after: str = "", wait: float = 0.0) -> tuple[Message, ...]:
        self._take(recipient, limit, after, wait)
        self.waiting += 1
        try:
            with trio.move_on_after(wait):
                while wait and not self.messages:
                    await self.came.wait()
        finally:
            self.waiting -= 1
        return self.messages

    async def acknowledge(self, recipient: str, message_ids: tuple[str, ...]) -> None:
        self._take(recipient, message_ids)

    async def message_status(self, message_id: str) -> tuple[CopyReceipt, ...]:
        self._take(message_id)
        return self.receipts

    async def catch_up(self) -> None:
        pass

    loss = None

    def open_events(self, last_id: str | None, *, has_past: bool = False) -> Callable[[Write], Awaitable[None]]:
        raise AssertionError

    def metrics(self) -> bytes:
        raise AssertionError

    def recording(self) -> bytes:
        raise AssertionError

    admin = None

    async def status(self, *, has_series: bool, actions: tuple[str, ...] = ()) -> tuple[bytes, ...]:
        raise AssertionError

    def why_not_ready(self) -> str | None:
        return None

    async def owner_of(self, instance_id: str) -> str:
        raise AssertionError

    async def register(self, profile: Profile, owner: str = "") -> None:
        raise AssertionError

    async def heartbeat(self, instance_id: str, status: str, metrics: str, owner: str = "") -> HeartbeatReply:
        raise AssertionError

    async def deregister(self, instance_id: str) -> bool:
        raise AssertionError

    def members(self) -> list[ListedInstance]:
        return []

    @property
    def listed_version(self) -> tuple[int, str | None]:
        return (0, None)

    async def look_up(self, instance_id: str) -> ListedInstance | None:
        return None

    async def ping(self, instance_id: str) -> PingResponse | None:
        return None


@asynccontextmanager
async def calling(node: Node, limits: HttpLimits | None = None) -> AsyncIterator[Client]:
    async with connected(make_app(node, "0", lambda: ["localhost"]), limits) as (client, _):
        yield client


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def ask(node: Node, request: bytes) -> Answer:
    async with calling(node) as client:
        return await client.ask(request)


async def send(node: Node, **body: Any) -> Answer:
    return await ask(node, post("/messages/send/from", json.dumps(body).encode()))


async def send_with(node: Node, query: str) -> Answer:
    body = b'{"target_instance":"to","message_type":"Query","payload":1}'
    return await ask(node, post("/messages/send/from" + query, body))


# Send


async def test_a_message_is_queued_for_those_who_get_it() -> None:
    node = Node()
    answer = await send(node, target_instance="to", message_type="Query", payload={"a": 1}, correlation_id="c")
    assert (answer.status, json.loads(answer.body)) == (
        200,
        {"message_id": ID, "status": "queued", "delivered_to": ["to"]},
    )
    assert node.asked == [("from", "to", "Query", "", b'{"a": 1}', "c", False)]
    assert node.if_absent == ["refuse"]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", "refuse"),
        ("?if_absent=queue", "queue"),
        ("?if_absent=refuse", "refuse"),
        ("?if_absent=%71ueue&x=1", "queue"),
    ],
)
async def test_a_sender_says_what_becomes_of_a_message_for_an_absent_target(query: str, wanted: str) -> None:
    node = Node()
    assert (await send_with(node, query)).status == 200
    assert node.if_absent == [wanted]


@pytest.mark.parametrize(
    ("query", "wanted"), [("", None), ("?expires_in=0.5", 0.5), ("?expires_in=0", 0.0), ("?expires_in=86400", 86_400.0)]
)
async def test_a_sender_says_when_a_message_expires(query: str, wanted: float | None) -> None:
    node = Node()
    assert (await send_with(node, query)).status == 200
    assert node.timeouts == [wanted]


@pytest.mark.parametrize("query", ["", "-1", "86400.1", "1e9", "nan", "inf", "1s"])
async def test_another_expiry_is_a_422(query: str) -> None:
    node = Node()
    answer = await send_with(node, "?expires_in=" + query)
    assert (answer.status, node.asked) == (422, [])
    assert "expected 0 to 86400 seconds" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("query", ["", "Queue", "queue,refuse", "1", "%c3%bc"])
async def test_another_value_of_if_absent_is_a_422(query: str) -> None:
    node = Node()
    answer = await send_with(node, "?if_absent=" + query)
    assert (answer.status, node.asked) == (422, [])
    assert "expected refuse or queue" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b'{"b" : 1E5,\n "a":18446744073709551617 , "a":-0.0}',
        b"[" * 120 + b"]" * 120,
        b"1" + b"0" * 307,
        b'"\\u00fc \xc3\xbc \\ud83d\\ude00"',
        b"0.1000000000000000055511151231257827",
    ],
    ids=lambda payload: ascii(payload[:40]),
)
async def test_a_payload_goes_in_and_comes_out_byte_for_byte(payload: bytes) -> None:
    node = Node()
    body = b'{"message_type" : "Query", "payload" : %s , "unknown": [{}]}' % payload
    assert (await ask(node, post("/messages/send/from", body))).status == 200
    assert node.asked == [("from", None, "Query", "", payload, None, False)]
    answer = await ask(Node(Message(ID, "from", None, "Query", "", payload, None, 0)), get("/messages/to"))
    assert b'"payload":%s,"correlation_id"' % payload in answer.body


@pytest.mark.parametrize("kind", KINDS[:-1])
async def test_a_plain_type_is_a_name_or_an_object_with_null(kind: str) -> None:
    node = Node()
    for message_type in (kind, {kind: None}):
        assert (await send(node, message_type=message_type, payload=None)).status == 200
    assert node.asked == [("from", None, kind, "", b"null", None, False)] * 2
    answer = await ask(Node(Message(ID, "from", None, kind, "", b"1", None, 0)), get("/messages/to"))
    assert json.loads(answer.body)["messages"][0]["message_type"] == kind


@pytest.mark.parametrize("name", ["", "Query", "invoice.Paid", "ü"])
async def test_a_custom_type_keeps_its_name(name: str) -> None:
    node = Node()
    assert (await send(node, message_type={"Custom": name}, payload=None)).status == 200
    assert node.asked == [("from", None, "Custom", name, b"null", None, False)]
    answer = await ask(Node(Message(ID, "from", None, "Custom", name, b"1", None, 0)), get("/messages/to"))
    assert json.loads(answer.body)["messages"][0]["message_type"] == {"Custom": name}


GOOD = {"message_type": "Query", "payload": 1}


WRONG_TYPES: list[Any] = [
    *(None, 1, [], ["Query"], "", "query", "Question", "Custom"),
    *({}, {"Custom": None}, {"Custom": 1}, {"Query": "x"}, {"Other": None}),
]
WRONG_IDS: list[Any] = ["", 1, [], "x" * 129, "ü" * 65]
WRONG_TEXTS: list[Any] = [1, {}, "x" * 1025]
WRONG: list[dict[str, Any]] = [
    *({"message_type": wrong} for wrong in WRONG_TYPES),
    {"message_type": {"Query": None, "Custom": "x"}},
    {"message_type": {"Custom": {"a": 1}}},
    *({"target_instance": wrong} for wrong in WRONG_IDS),
    *({"correlation_id": wrong} for wrong in WRONG_TEXTS),
    {"message_type": {"Custom": "x" * 1025}},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: str(change)[:60])
async def test_a_message_of_the_wrong_shape_is_422_and_nobody_is_asked(change: dict[str, Any]) -> None:
    node = Node()
    answer = await send(node, **{**GOOD, **change})
    assert answer.status == 422
    assert next(iter(change)) in answer.error
    assert node.asked == []


async def test_a_message_without_a_payload_or_a_type_is_422() -> None:
    node = Node()
    for key in GOOD:
        answer = await send(node, **{name: value for name, value in GOOD.items() if name != key})
        assert answer.status == 422
        assert f"`{key}`" in answer.error
    assert node.asked == []


async def test_what_may_be_absent_may_be_null() -> None:
    node = Node()
    assert (await send(node, **GOOD, target_instance=None, correlation_id=None)).status == 200
    assert (await send(node, **GOOD)).status == 200
    assert node.asked[0] == node.asked[1]


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (b"NaN", 400),
        (b"1e309", 400),
        (b"9" * 400, 400),
        (rb'"\ud800"', 400),
        (b'"\xff"', 400),
        (b"[" * 121 + b"]" * 121, 400),
        (b"", 400),
        (b"1 2", 400),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_a_payload_that_some_client_could_not_read_is_400(payload: bytes, status: int) -> None:
    node = Node()
    answer = await ask(node, post("/messages/send/from", b'{"message_type":"Query","payload":%s}' % payload))
    assert answer.status == status
    assert node.asked == []


@pytest.mark.parametrize(
    ("failure", "status", "error"),
    [
        (UnknownInstance("whatever it says"), 400, "Target instance 'to' not found"),
        (LimitExceeded("too large"), 413, "too large"),
        (MailboxFull("full"), 429, "full"),
        (StoreFull("no room"), 507, "no room"),
        (NodeClosed("gone"), 503, "gone"),
        (Unreachable("nobody"), 503, "nobody"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, MeshError) else None,
)
async def test_what_the_node_refuses_has_a_status_of_its_own(failure: MeshError, status: int, error: str) -> None:
    answer = await send(Node(failure=failure), **GOOD, target_instance="to")
    assert (answer.status, answer.error) == (status, error)
    may_try_again = isinstance(failure, MailboxFull | Unreachable)
    assert answer.headers.get(b"retry-after") == (b"1" if may_try_again else None)


# Read


async def test_a_mailbox_shows_each_message_with_all_its_keys() -> None:
    other = Message(LATER, "from", None, "Custom", "Paid", b"null", None, 0)
    node = Node(MESSAGE, other)
    answer = await ask(node, get("/messages/to"))
    assert json.loads(answer.body) == {
        "messages": [
            {
                "message_id": ID,
                "source_instance": "from",
                "target_instance": "to",
                "message_type": "Query",
                "payload": {"b": 1e5, "a": 0},
                "correlation_id": "c",
                "created_at": "2023-11-14T22:13:20.123Z",
            },
            {
                "message_id": LATER,
                "source_instance": "from",
                "target_instance": None,
                "message_type": {"Custom": "Paid"},
                "payload": None,
                "correlation_id": None,
                "created_at": "1970-01-01T00:00:00.000Z",
            },
        ]
    }
    assert node.asked == [("to", 1000, "", 0.0)]


async def test_what_is_asked_of_a_mailbox_is_in_the_query() -> None:
    node = Node(MESSAGE)
    async with calling(node) as client:
        for query in (
            f"limit=1&after={ID}&wait=60",
            "limit=10000&wait=0.5",
            "wait=0&after=&unknown=1",
            "wait=1e-05",  # as Python writes it
        ):
            assert (await client.ask(get(f"/messages/to?{query}"))).status == 200
    assert node.asked == [
        ("to", 1, ID, 60.0),
        ("to", 10_000, "", 0.5),
        ("to", 1000, "", 0.0),
        ("to", 1000, "", 0.00001),
    ]


@pytest.mark.parametrize(
    "query",
    [
        *(
            f"wait={value}"
            for value in (
                "",
                "-1",
                "60.1",
                "61",
                "x",
                "nan",
                "inf",
                "1e2",
                "1e999",
                "1e9999",
                "e1",
                "+1",
                "1_0",
                "%201",
                "%D9%A1",
            )
        ),
        *(f"limit={value}" for value in ("", "0", "-1", "10001", "1.0", "x", "9" * 5000, "%C2%B2", "%D9%A1")),
        *(f"after={value}" for value in ("x", ID.upper(), ID + "0", "018bcfe5-6800-4000-8000-000000000000")),
    ],
)
async def test_a_query_with_a_wrong_value_is_422_and_names_it(query: str) -> None:
    node = Node(MESSAGE)
    answer = await ask(node, get(f"/messages/to?{query}"))
    assert answer.status == 422
    assert query.partition("=")[0] in answer.error
    assert len(answer.error) < 300
    assert node.asked == []


async def test_a_read_that_waits_is_answered_as_soon_as_there_is_a_message(autojump_clock: MockClock) -> None:
    node = Node()
    async with calling(node) as client:
        await client.stream.send_all(get("/messages/to?wait=60"))
        await trio.sleep(59)
        assert node.waiting == 1
        node.messages = (MESSAGE,)
        node.came.set()
        answer = await client.answer()
        assert trio.current_time() < 60
        assert len(json.loads(answer.body)["messages"]) == 1
        assert (await client.ask(get("/messages/to"))).status == 200  # the connection goes on


async def test_a_read_that_waits_in_vain_is_answered_with_an_empty_list(autojump_clock: MockClock) -> None:
    node = Node()
    start = trio.current_time()
    async with calling(node) as client:
        for turn in (1, 2):
            answer = await client.ask(get("/messages/to?wait=60"))
            assert (answer.status, answer.body) == (200, b'{"messages":[]}')
            assert trio.current_time() == start + 60 * turn


async def test_a_request_that_was_sent_ahead_waits_for_the_read_before_it(autojump_clock: MockClock) -> None:
    node = Node()
    async with calling(node) as client:
        await client.stream.send_all(get("/messages/to?wait=10") + get("/livez"))
        assert (await client.answer()).body == b'{"messages":[]}'
        assert (await client.answer()).body == b'{"status":"alive"}'


async def test_a_read_whose_client_hangs_up_ends_at_once(autojump_clock: MockClock) -> None:
    node = Node()
    async with connected(make_app(node, "0", lambda: ["localhost"])) as (client, server):
        await client.stream.send_all(get("/messages/to?wait=60"))
        await trio.testing.wait_all_tasks_blocked()
        assert (node.waiting, server.stats.connections_open) == (1, 1)
        await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (node.waiting, server.stats.connections_open) == (0, 0)
        assert not any(server.stats.refused.values())


async def test_a_read_that_fails_while_it_waits_is_refused_like_any_other(autojump_clock: MockClock) -> None:
    answer = await ask(Node(failure=Unreachable("its home is gone")), get("/messages/to?wait=60"))
    assert (answer.status, answer.error, answer.headers[b"retry-after"]) == (503, "its home is gone", b"1")


# Acknowledge


@pytest.mark.parametrize("path", ["/messages/ack/to", "/messages/to/ack"])
async def test_an_acknowledgement_has_two_paths_and_no_answer(path: str) -> None:
    node = Node()
    for body in ({"message_ids": [ID, "x", ID]}, {"message_ids": [], "unknown": 1}):
        answer = await ask(node, post(path, json.dumps(body).encode()))
        assert (answer.status, answer.body) == (204, b"")
        assert b"content-type" not in answer.headers
    assert node.asked == [("to", (ID, "x", ID)), ("to", ())]


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b'{"message_ids":null}', b'{"message_ids":[1]}', b'{"message_ids":"x"}']
)
async def test_an_acknowledgement_of_the_wrong_shape_is_422(body: bytes) -> None:
    node = Node()
    assert (await ask(node, post("/messages/ack/to", body))).status == 422
    assert (await ask(node, post("/messages/to/ack", body))).status == 422
    assert node.asked == []


async def test_an_acknowledgement_that_cannot_be_kept_says_so() -> None:
    body = json.dumps({"message_ids": [ID]}).encode()
    for failure, status in ((Unreachable("x"), 503), (StoreFull("x"), 507)):
        assert (await ask(Node(failure=failure), post("/messages/ack/to", body))).status == status


@pytest.mark.parametrize("name", ["send", "ack", "status", "a/b", "ü"])
async def test_an_instance_may_have_the_name_of_a_path(name: str) -> None:
    node = Node()
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    body = json.dumps({"message_ids": []}).encode()
    async with calling(node) as client:
        for part in (quoted, name) if name.isascii() and "/" not in name else (quoted,):
            await client.ask(post(f"/messages/send/{part}", json.dumps(GOOD).encode()))
            await client.ask(post(f"/messages/ack/{part}", body))
            await client.ask(get(f"/messages/{part}"))
            assert [asked[0] for asked in node.asked] == [name] * 3
            node.asked.clear()


# What became of it


async def test_the_status_says_for_each_recipient_what_became_of_it() -> None:
    node = Node()
    node.receipts = (
        CopyReceipt("a", CopyStatus.DELIVERED, "", 1_700_000_000_123),
        CopyReceipt("b", CopyStatus.UNDELIVERABLE, "it has left", 0),
    )
    answer = await ask(node, get(f"/messages/status/{ID}"))
    assert (answer.status, json.loads(answer.body)) == (
        200,
        {
            "message_id": ID,
            "recipients": [
                {
                    "instance_id": "a",
                    "status": "delivered",
                    "reason": None,
                    "changed_at": "2023-11-14T22:13:20.123Z",
                },
                {
                    "instance_id": "b",
                    "status": "undeliverable",
                    "reason": "it has left",
                    "changed_at": "1970-01-01T00:00:00.000Z",
                },
            ],
        },
    )
    assert node.asked == [(ID,)]


async def test_a_message_that_nobody_knows_is_404() -> None:
    answer = await ask(Node(), get(f"/messages/status/{ID}"))
    assert (answer.status, answer.error) == (404, f"Message '{ID}' not found")
    assert (await ask(Node(failure=Unreachable("x")), get(f"/messages/status/{ID}"))).status == 503
