"""The contract of messages, asked of two nodes in turn: every row, what a bad request gets, and what is not kept."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
import trio

from meshp2p import MeshNode, ProtocolConfig
from meshp2p.core.message import KINDS
from tests.http.meshes import Caller, ask_raw, calling
from tests.http.test_registry_requests import JSON, NOT_JSON, assert_error

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6}|\.\d{9})?Z")
MESSAGE_KEYS = {
    "message_id",
    "source_instance",
    "target_instance",
    "message_type",
    "payload",
    "correlation_id",
    "created_at",
}
RECEIPT_KEYS = {"instance_id", "status", "reason", "changed_at"}
UNKNOWN_ID = "018bcfe5-6800-7000-8000-000000000000"


@asynccontextmanager
async def talking(*agents: str, **options: Any) -> AsyncIterator[tuple[Talker, list[MeshNode]]]:
    """Two nodes, these hosted instances, and one who talks to the nodes in turn."""
    async with calling("node-a", "node-b", **options) as (caller, nodes):
        for agent in agents:
            await caller.register(agent)
        yield Talker(caller), nodes


class Talker:
    """Sends, reads and acknowledges, each at the next node, and holds every answer against the contract."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    async def post(self, source: str, **body: Any) -> httpx.Response:
        return await self.caller.ask("POST", f"/messages/send/{quote(source, safe='')}", json=body)

    async def send(self, source: str, target: str | None, payload: Any = None, **more: Any) -> dict[str, Any]:
        body = {"target_instance": target, "message_type": "Notification", "payload": payload, **more}
        response = await self.post(source, **body)
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json"), response.text
        answer: dict[str, Any] = response.json()
        assert answer.keys() == {"message_id", "status", "delivered_to"}
        assert answer["status"] == "queued"
        assert UUID7.fullmatch(answer["message_id"])
        return answer

    async def read(self, instance_id: str, query: str = "") -> list[dict[str, Any]]:
        answer = await self.caller.get(f"/messages/{quote(instance_id, safe='')}{query}")
        assert answer.keys() == {"messages"}
        messages: list[dict[str, Any]] = answer["messages"]
        assert all(message.keys() == MESSAGE_KEYS for message in messages)
        assert all(TIME.fullmatch(message["created_at"]) for message in messages)
        return messages

    async def payloads(self, instance_id: str, query: str = "") -> list[Any]:
        return [message["payload"] for message in await self.read(instance_id, query)]

    async def acknowledge(self, instance_id: str, *message_ids: str) -> None:
        """By both paths in turn, each with one half of the ids."""
        quoted = quote(instance_id, safe="")
        half = len(message_ids) // 2
        for path, ids in (
            (f"/messages/ack/{quoted}", message_ids[:half]),
            (f"/messages/{quoted}/ack", message_ids[half:]),
        ):
            response = await self.caller.ask("POST", path, json={"message_ids": ids})
            assert (response.status_code, response.content) == (204, b"")

    async def acknowledge_all(self, instance_id: str) -> None:
        await self.acknowledge(instance_id, *[message["message_id"] for message in await self.read(instance_id)])

    async def status(self, message_id: str) -> dict[str, str]:
        """The status of each recipient's copy, the same at every node."""
        answers = await self.caller.ask_each("GET", f"/messages/status/{message_id}")
        (first, second) = [response.json() for response in answers]
        assert first == second
        assert first.keys() == {"message_id", "recipients"}
        assert first["message_id"] == message_id
        assert all(receipt.keys() == RECEIPT_KEYS for receipt in first["recipients"])
        assert all(TIME.fullmatch(receipt["changed_at"]) for receipt in first["recipients"])
        return {receipt["instance_id"]: receipt["status"] for receipt in first["recipients"]}


# Send and read


async def test_a_message_sent_at_any_node_is_read_at_any_node() -> None:
    async with talking("agent") as (talker, _):
        for turn in range(10):
            body = {"message_type": "Query", "correlation_id": f"c{turn}"}
            answer = await talker.send("node-b", "agent", {"turn": turn}, **body)
            assert answer["delivered_to"] == ["agent"]
            for _ in range(2):  # at either node
                (message,) = await talker.read("agent")
                created_at = message.pop("created_at")
                assert message == {
                    "message_id": answer["message_id"],
                    "source_instance": "node-b",
                    "target_instance": "agent",
                    "message_type": "Query",
                    "payload": {"turn": turn},
                    "correlation_id": f"c{turn}",
                }
                age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(created_at)
                assert abs(age.total_seconds()) < 60
            await talker.acknowledge("agent", answer["message_id"])
            assert await talker.read("agent") == []


async def test_a_mailbox_is_in_the_order_of_sending_for_each_source() -> None:
    async with talking("agent") as (talker, _):
        for turn in range(30):
            await talker.send(f"source-{turn % 3}", "agent", turn)
        messages = await talker.read("agent")
        assert sorted(message["payload"] for message in messages) == list(range(30))
        for source in range(3):
            own = [m["payload"] for m in messages if m["source_instance"] == f"source-{source}"]
            assert own == sorted(own)


async def test_the_ids_of_each_node_strictly_increase() -> None:
    async with talking("agent") as (talker, _):
        ids = [(await talker.send("x", "agent"))["message_id"] for _ in range(40)]
        for own in (ids[::2], ids[1::2]):
            assert own == sorted(set(own))


async def test_a_node_is_a_recipient_like_any_other() -> None:
    async with talking("agent") as (talker, nodes):
        for node in nodes:
            for _ in range(2):
                await talker.send("agent", node.id, node.id)
            assert await talker.payloads(node.id) == [node.id] * 2
            await talker.acknowledge_all(node.id)
            assert await talker.read(node.id) == []


async def test_a_broadcast_is_for_everybody_but_its_source() -> None:
    async with talking("agent", "other") as (talker, _):
        for source in ("agent", "node-a", "stranger"):
            others = sorted({"agent", "other", "node-a", "node-b"} - {source})
            answer = await talker.send(source, None, source)
            assert answer["delivered_to"] == others
            for reader in others:
                (message,) = await talker.read(reader)
                assert (message["source_instance"], message["target_instance"]) == (source, None)
            assert source not in await talker.payloads(source)
            for reader in others:
                await talker.acknowledge_all(reader)


async def test_an_absent_target_is_a_broadcast_too() -> None:
    async with talking("agent") as (talker, _):
        response = await talker.post("agent", message_type="Query", payload=1)
        assert response.json()["delivered_to"] == ["node-a", "node-b"]


PAYLOADS = [
    b"null",
    b"0",
    b"-0.0",
    b'""',
    b'{"b" : 1E5,\n\t"a":18446744073709551617 , "a":-0}',
    b"[" * 120 + b"]" * 120,
    b"1" + b"0" * 307,
    b'"\\u00fc \xc3\xbc \\ud83d\\ude00 \\u0000"',
    b"0.1000000000000000055511151231257827",
    b"1e-999",
    b'"' + b"x" * 500_000 + b'"',
]


async def test_a_payload_arrives_byte_for_byte() -> None:
    async with talking("agent") as (talker, _):
        for payload in PAYLOADS:
            body = b'{"target_instance":"agent","message_type":"Query","payload": %s }' % payload
            await talker.caller.ask("POST", "/messages/send/x", content=body, headers=JSON)
            for response in await talker.caller.ask_each("GET", "/messages/agent"):
                (message,) = msgspec.json.decode(response.content, type=dict[str, list[dict[str, msgspec.Raw]]])[
                    "messages"
                ]
                assert bytes(message["payload"]) == payload
            await talker.acknowledge_all("agent")


async def test_every_type_of_message_is_passed_on() -> None:
    async with talking("agent") as (talker, _):
        types: list[Any] = [*KINDS[:-1], {"Custom": ""}, {"Custom": "invoice.Paid"}, {"Custom": "Query"}]
        for kind in types:
            for given in [kind, {kind: None}] if isinstance(kind, str) else [kind]:
                await talker.send("x", "agent", message_type=given)
                assert [message["message_type"] for message in await talker.read("agent")] == [kind]
                await talker.acknowledge_all("agent")


@pytest.mark.parametrize("instance_id", ["a b", "a/b", "%2F", "ü", "\U0001f600" * 32, "send", "ack", "status", "\n"])
async def test_any_id_sends_reads_and_acknowledges(instance_id: str) -> None:
    async with talking(instance_id) as (talker, _):
        answer = await talker.send(instance_id, "node-a")
        assert [m["source_instance"] for m in await talker.read("node-a")] == [instance_id]
        answer = await talker.send("node-a", instance_id)
        assert answer["delivered_to"] == [instance_id]
        assert len(await talker.read(instance_id)) == 1
        for _ in range(2):
            await talker.caller.ask(
                "POST", f"/messages/ack/{quote(instance_id, safe='')}", json={"message_ids": [answer["message_id"]]}
            )
        assert await talker.read(instance_id) == []


async def test_an_unknown_id_has_an_empty_mailbox_and_may_acknowledge() -> None:
    async with talking() as (talker, _):
        for _ in range(2):
            assert await talker.read("nobody") == []
            await talker.acknowledge("nobody", UNKNOWN_ID, "x", "")


async def test_head_says_how_long_a_mailbox_is() -> None:
    async with talking("agent") as (talker, _):
        for response in await talker.caller.ask_each("HEAD", "/messages/agent"):
            assert (response.status_code, response.content) == (200, b"")
            assert response.headers["content-length"] == str(len(b'{"messages":[]}'))


# Who is there


async def test_a_message_for_nobody_is_400_and_is_never_delivered() -> None:
    async with talking("agent") as (talker, _):
        for turn in range(4):
            response = await talker.post("agent", target_instance="later", message_type="Query", payload=turn)
            assert_error(response, 400)
            assert response.json()["error"] == "Target instance 'later' not found"
        await talker.caller.register("later")
        for _ in range(2):
            assert await talker.read("later") == []
        assert await talker.caller.deregister("later") == 204
        assert_error(await talker.post("agent", target_instance="later", message_type="Query", payload=1), 400)


async def test_a_broadcast_from_before_it_registered_is_not_read() -> None:
    async with talking() as (talker, _):
        for _ in range(2):
            await talker.send("node-a", None)
        await talker.caller.register("later")
        for _ in range(2):
            assert await talker.read("later") == []


async def test_registering_again_keeps_what_waits() -> None:
    async with talking("agent") as (talker, _):
        await talker.send("x", "agent", 1)
        for _ in range(2):
            await talker.caller.register("agent", capabilities=["more"])
            assert await talker.payloads("agent") == [1]


async def test_who_comes_again_does_not_get_what_was_for_the_one_before() -> None:
    async with talking("agent") as (talker, _):
        sent = await talker.send("x", "agent", 1)
        assert await talker.caller.deregister("agent") == 204
        await talker.caller.register("agent")
        for _ in range(2):
            assert await talker.read("agent") == []
        assert await talker.status(sent["message_id"]) == {"agent": "undeliverable"}


# Acknowledge


async def test_an_acknowledgement_is_the_recipients_own() -> None:
    async with talking("agent", "other") as (talker, _):
        own = (await talker.send("x", "agent", "own"))["message_id"]
        shared = (await talker.send("x", None, "shared"))["message_id"]
        for stranger in ("other", "node-a", "nobody"):
            await talker.acknowledge(stranger, own, own)
        for _ in range(2):
            assert await talker.payloads("agent") == ["own", "shared"]
        await talker.acknowledge("agent", own, shared)
        for _ in range(2):
            assert await talker.payloads("agent") == []
            assert await talker.payloads("other") == ["shared"]
            assert await talker.payloads("node-b") == ["shared"]


async def test_acknowledging_again_changes_nothing() -> None:
    async with talking("agent") as (talker, _):
        first, second = [(await talker.send("x", "agent", n))["message_id"] for n in range(2)]
        for _ in range(3):
            await talker.acknowledge("agent", first, first, UNKNOWN_ID, "no id")
            assert await talker.payloads("agent") == [1]
        await talker.acknowledge("agent", second, second)
        assert await talker.payloads("agent") == []


# What we add


async def test_a_mailbox_is_read_page_by_page() -> None:
    async with talking("agent") as (talker, _):
        for turn in range(7):
            await talker.send("x", "agent", turn)
        seen: list[dict[str, Any]] = []
        while page := await talker.read("agent", f"?limit=3&after={seen[-1]['message_id'] if seen else ''}"):
            assert len(page) <= 3
            seen += page
        assert sorted(message["payload"] for message in seen) == list(range(7))
        assert seen == await talker.read("agent")


async def test_a_read_waits_for_a_message_at_any_node() -> None:
    async with talking("agent") as (talker, nodes), httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for turn, reader in enumerate([*nodes, *nodes]):
            async with trio.open_nursery() as nursery:
                answers: list[httpx.Response] = []

                async def wait(reader: MeshNode = reader, answers: list[httpx.Response] = answers) -> None:
                    answers.append(await client.get(f"{reader.url}/messages/agent?wait=60"))

                nursery.start_soon(wait)
                await talker.send("x", "agent", turn)
            assert [message["payload"] for message in answers[0].json()["messages"]] == [turn]
            await talker.acknowledge_all("agent")


async def test_a_read_that_waits_in_vain_gets_an_empty_list() -> None:
    async with talking("agent") as (talker, _):
        for instance_id in ("agent", "node-a", "nobody"):
            for _ in range(2):
                assert await talker.read(instance_id, "?wait=0.05") == []


async def test_a_client_that_hangs_up_leaves_no_wait_behind() -> None:
    async with talking("agent") as (talker, (home, _)):
        reading = home._node._driver.machine._mail.reading
        stream = await trio.open_tcp_stream(home.addresses[0].host, home.addresses[0].port)
        await stream.send_all(b"GET /messages/agent?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with trio.fail_after(30):
            await home._node._driver.wait_until(lambda: reading.wait_count == 1)
            await stream.aclose()
            while reading.wait_count:
                await talker.caller.get("/livez")


async def test_the_status_of_a_message_is_known_at_any_node() -> None:
    async with talking("agent", "other") as (talker, _):
        for _ in range(2):
            answer = await talker.send("other", None)
            message_id = answer["message_id"]
            assert await talker.status(message_id) == dict.fromkeys(["agent", "node-a", "node-b"], "delivered")
            await talker.acknowledge("agent", message_id)
            with trio.fail_after(10):
                while (await talker.status(message_id))["agent"] != "acknowledged":
                    pass
            for reader in ("node-a", "node-b"):
                await talker.acknowledge(reader, message_id)
        for unknown in (UNKNOWN_ID, "x", UNKNOWN_ID.upper(), "%20", "agent"):
            for response in await talker.caller.ask_each("GET", f"/messages/status/{unknown}"):
                assert_error(response, 404)


# What a bad request gets

GOOD = {"target_instance": "agent", "message_type": "Query", "payload": 1}
SEND = "/messages/send/x"
WITH_BODY = (SEND, "/messages/ack/agent", "/messages/agent/ack")


async def test_a_body_that_is_not_said_to_be_json_is_415() -> None:
    async with talking("agent") as (talker, _):
        for content_type in (None, "", "text/plain", "application/jsonp", "application/x-www-form-urlencoded"):
            headers = {} if content_type is None else {"content-type": content_type}
            for path in WITH_BODY:
                for _ in range(2):
                    response = await talker.caller.ask("POST", path, content=json.dumps(GOOD).encode(), headers=headers)
                    assert_error(response, 415)
        assert await talker.read("agent") == []


UNREADABLE = [
    *(b"NaN", b"-Infinity", b"1e309", b"9" * 400, rb'"\ud800"', rb'{"\udc00":1}', b'"\xff"', b'"\xed\xa0\x80"'),
    *(b"[" * 121 + b"]" * 121, b'{"a":' * 121 + b"1" + b"}" * 121, b"", b"1 2", b"01", b"'a'", b"\xef\xbb\xbf1"),
]


async def test_what_is_not_json_for_every_client_is_400_and_is_not_kept() -> None:
    async with talking("agent") as (talker, _):
        for content in NOT_JSON.values():
            for path in WITH_BODY:
                assert_error(await talker.caller.ask("POST", path, content=content, headers=JSON), 400)
        for payload in UNREADABLE:
            for name in (b"payload", b"unknown"):
                body = b'{"target_instance":"agent","message_type":"Query","payload":1,"%s":%s}' % (name, payload)
                assert_error(await talker.caller.ask("POST", SEND, content=body, headers=JSON), 400)
        for _ in range(2):
            assert await talker.read("agent") == []


LATER_TYPES = [
    "CapabilityUpdate",
    "CapabilityQuery",
    "LearningShare",
    "ProposalSubmit",
    "ProposalVote",
    "WorkflowAssignment",
    "WorkflowStageResult",
]
WRONG_TYPES: list[Any] = [*LATER_TYPES, "", "query", "Custom", {"Custom": None}, {"Query": 1}, {}, 7, None]
WRONG_IDS: list[Any] = ["", "x" * 129, "ü" * 65, 7, ["agent"]]
WRONG_TEXTS: list[Any] = [7, {}, ["c"]]
WRONG: list[Any] = [
    None,
    [],
    "x",
    {},
    *({key: value for key, value in GOOD.items() if key != missing} for missing in ("message_type", "payload")),
    *({**GOOD, "message_type": wrong} for wrong in WRONG_TYPES),
    *({**GOOD, "target_instance": wrong} for wrong in WRONG_IDS),
    *({**GOOD, "correlation_id": wrong} for wrong in WRONG_TEXTS),
]


async def test_a_message_of_the_wrong_shape_is_422_and_is_not_kept() -> None:
    async with talking("agent") as (talker, _):
        for body in WRONG:
            for path in (SEND, "/messages/send/nobody"):
                content = json.dumps(body).encode()
                assert_error(await talker.caller.ask("POST", path, content=content, headers=JSON), 422)
        for body in ({}, [], {"message_ids": None}, {"message_ids": [7]}, {"message_ids": "x"}):
            for path in (*WITH_BODY[1:], "/messages/ack/nobody"):
                content = json.dumps(body).encode()
                assert_error(await talker.caller.ask("POST", path, content=content, headers=JSON), 422)
        for _ in range(2):
            assert await talker.read("agent") == []


async def test_a_wrong_id_in_a_path_says_what_is_wrong() -> None:
    async with talking() as (talker, _):
        for quoted, status in (("%zz", 400), ("%ff", 400), ("%e4", 400), ("x" * 129, 422), ("%c3%bc" * 65, 422)):
            for method, path in (
                ("POST", f"/messages/send/{quoted}"),
                ("GET", f"/messages/{quoted}"),
                ("POST", f"/messages/ack/{quoted}"),
                ("POST", f"/messages/{quoted}/ack"),
            ):
                request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                for node in talker.caller._nodes:
                    answer = await ask_raw(node, f"{request}Content-Length: 2\r\n\r\n{{}}".encode())
                    assert (answer.status, bool(answer.error)) == (status, True)


async def test_a_query_with_a_wrong_value_is_422() -> None:
    async with talking("agent") as (talker, _):
        for query in ("wait=-1", "wait=61", "wait=x", "wait=", "limit=0", "limit=-1", "limit=x", "after=x"):
            for response in await talker.caller.ask_each("GET", f"/messages/agent?{query}"):
                assert_error(response, 422, query.partition("=")[0])


async def test_the_largest_body_is_delivered_and_a_larger_one_is_413() -> None:
    head, tail = b'{"target_instance":"agent","message_type":"Query","payload":"', b'"}'
    size = 2 * 1024 * 1024 - len(head) - len(tail)
    async with talking("agent") as (talker, _):
        for _ in range(2):
            content = head + b"x" * size + tail
            response = await talker.caller.ask("POST", SEND, content=content, headers=JSON)
            assert response.status_code == 200
            assert_error(await talker.caller.ask("POST", SEND, content=content + b" ", headers=JSON), 413)
            for answer in await talker.caller.ask_each("GET", "/messages/agent"):
                assert [len(message["payload"]) for message in answer.json()["messages"]] == [size]
            await talker.acknowledge_all("agent")


async def test_a_full_mailbox_is_429_until_there_is_room_and_others_are_not_touched() -> None:
    protocol = ProtocolConfig(settle_timeout=0.05, mailbox_messages_max=3)
    async with talking("agent", "other", protocol=protocol) as (talker, nodes):
        for node in nodes:
            accepted: list[int] = []
            for turn in range(50):
                body = {**GOOD, "payload": turn}
                response = await talker.caller._client.post(f"{node.url}{SEND}", json=body)
                if response.status_code != 200:
                    assert_error(response, 429, "agent")
                    assert int(response.headers["retry-after"]) >= 1
                    break
                accepted.append(turn)
            assert 3 <= len(accepted) < 50
            await talker.send("x", "other")
            read: list[int] = []
            with trio.fail_after(30):
                while len(read) < len(accepted):  # what was accepted comes, and what was refused does not
                    messages = await talker.read("agent", "?wait=5")
                    read += [message["payload"] for message in messages]
                    await talker.acknowledge("agent", *[message["message_id"] for message in messages])
            assert read == accepted
            assert await talker.read("agent") == []


async def test_messages_of_a_mesh_of_one_stay_on_it() -> None:
    async with calling("node-a") as (caller, _):
        talker = Talker(caller)
        assert (await talker.send("node-a", None))["delivered_to"] == []
        await talker.send("node-a", "node-a", "to myself")
        assert await talker.payloads("node-a") == ["to myself"]
