"""What a bad request gets, line by line of the contract, and that nothing is kept of it."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from meshp2p.http.limits import HttpLimits
from tests.http.meshes import Caller, ask_raw, calling, open_mesh, registration

JSON = {"content-type": "application/json"}
REGISTER = "/registry/register"
HEARTBEAT = "/registry/heartbeat/agent"
GOOD = registration("new")

PATHS = {
    "/registry/register": {"POST"},
    "/registry/agents": {"GET", "HEAD"},
    "/registry/agents/agent": {"GET", "HEAD"},
    "/registry/heartbeat/agent": {"POST"},
    "/registry/deregister/agent": {"DELETE"},
    "/registry/leader": {"GET", "HEAD"},
    "/messages/send/agent": {"POST"},
    "/messages/agent": {"GET", "HEAD"},
    "/messages/ack/agent": {"POST"},
    "/messages/agent/ack": {"POST"},
    "/messages/status/agent": {"GET", "HEAD"},
    "/": {"GET", "HEAD"},
    "/status": {"GET", "HEAD"},
    "/health": {"GET", "HEAD"},
    "/livez": {"GET", "HEAD"},
    "/readyz": {"GET", "HEAD"},
}


def assert_error(response: httpx.Response, status: int, *fragments: str) -> None:
    """It is this status, and a body that says only ``error``, with all of these in it."""
    assert response.status_code == status, (response.status_code, response.text)
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    for fragment in fragments:
        assert fragment in body["error"], body


async def assert_refused(caller: Caller, status: int, content: bytes, headers: Any = JSON, *, path: str = "") -> None:
    """By both endpoints that take a body, or by one."""
    for where in [path] if path else [REGISTER, HEARTBEAT, "/registry/heartbeat/nobody"]:
        assert_error(await caller.ask("POST", where, content=content, headers=headers), status)


async def test_a_body_that_is_not_said_to_be_json_is_415() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        await caller.register("agent")
        for content_type in (
            None,
            "",
            "text/plain",
            "text/json",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "json",
            "*/*",
            "multipart/form-data; boundary=application/json",
        ):
            headers = {} if content_type is None else {"content-type": content_type}
            await assert_refused(caller, 415, json.dumps(GOOD).encode(), headers)
            await assert_refused(caller, 415, b"", headers)
        assert await caller.listed() == ["agent", "node-a", "node-b"]


async def test_all_that_says_json_is_right() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for content_type in (
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            'application/json;charset="UTF-8";x',
            "application/vnd.agent+json",
            "application/problem+json; a=b",
        ):
            content, headers = json.dumps(GOOD).encode(), {"content-type": content_type}
            response = await caller.ask("POST", REGISTER, content=content, headers=headers)
            assert response.status_code == 200, content_type


NOT_JSON = {
    "an empty body": b"",
    "blanks": b" \n",
    "half an object": b'{"status": "ok"',
    "two objects": b"{}{}",
    "a comma at the end": b'{"status": "ok",}',
    "single quotes": b"{'status': 'ok'}",
    "a byte-order mark": b'\xef\xbb\xbf{"status": "ok"}',
    "UTF-16": '{"status": "ok"}'.encode("utf-16"),
    "Latin-1": b'{"status": "\xfc"}',
    "invalid UTF-8 under an unknown key": b'{"status": "ok", "x": "\xff"}',
    "an overlong encoding": b'{"status": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"status": "\xed\xa0\x80"}',
    "NaN": b'{"status": "ok", "metrics": {"a": NaN}}',
    "Infinity": b'{"status": "ok", "metrics": {"a": -Infinity}}',
    "a number past a double": b'{"status": "ok", "metrics": {"a": 1e999}}',
    "an integer past a double": b'{"status": "ok", "metrics": {"a": ' + b"9" * 400 + b"}}",
    "a lone surrogate": b'{"status": "\\ud800"}',
    "a lone surrogate under an unknown key": b'{"status": "ok", "x": "\\udc00"}',
    "too deep": b'{"status": "ok", "metrics": {"a": ' + b"[" * 130 + b"]" * 130 + b"}}",
    "deeper than any stack": b"[" * 60_000,
    "a control character": b'{"status": "a\nb"}',
    "a leading zero": b'{"status": "ok", "metrics": {"a": 01}}',
}


async def test_what_is_not_json_is_400() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        await caller.register("agent")
        for content in NOT_JSON.values():
            await assert_refused(caller, 400, content)
        assert (await caller.get("/registry/agents/agent"))["status"] is None


WRONG_REGISTRATIONS: list[Any] = [
    None,
    [],
    "x",
    7,
    {},
    *({key: value for key, value in GOOD.items() if key != missing} for missing in GOOD),
    *({**GOOD, key: None} for key in GOOD),
    {**GOOD, "instance_id": ""},
    {**GOOD, "instance_id": "x" * 129},
    {**GOOD, "instance_id": "ü" * 65},
    {**GOOD, "instance_id": 7},
    {**GOOD, "hostname": ["h"]},
    {**GOOD, "port": 70_000},
    {**GOOD, "port": 65_536},
    {**GOOD, "port": -1},
    {**GOOD, "port": "1"},
    {**GOOD, "port": 1.5},
    {**GOOD, "port": True},
    {**GOOD, "capabilities": "draw"},
    {**GOOD, "capabilities": [1]},
    {**GOOD, "capabilities": [None]},
    {**GOOD, "capabilities": {"draw": True}},
    {**GOOD, "agent_profiles": [["x"]]},
]


async def test_a_registration_of_the_wrong_shape_is_422_and_is_not_kept() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for body in WRONG_REGISTRATIONS:
            assert_error(await caller.ask("POST", REGISTER, content=json.dumps(body).encode(), headers=JSON), 422)
        assert await caller.listed() == ["node-a", "node-b"]


async def test_an_error_names_the_place_and_the_value() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        assert_error(await caller.ask("POST", REGISTER, json={**GOOD, "port": 70_000}), 422, "$.port", "70000", "65535")
        assert_error(
            await caller.ask("POST", REGISTER, json={**GOOD, "capabilities": ["a", 7]}), 422, "[1]", "7", "str"
        )
        assert_error(await caller.ask("POST", REGISTER, json={**GOOD, "instance_id": "ü" * 65}), 422, "130", "128")
        assert_error(await caller.ask("POST", HEARTBEAT, json={}), 422, "status")
        assert_error(await caller.ask("GET", "/registry/agents/%zz"), 400, "%zz")


async def test_a_heartbeat_of_the_wrong_shape_is_422_known_or_not() -> None:
    bodies: list[Any] = [
        None,
        [],
        {},
        {"status": None},
        {"status": 1},
        {"metrics": {}},
        {"status": "ok", "metrics": []},
        {"status": "ok", "metrics": "x"},
        {"status": "ok", "metrics": 0},
    ]
    async with calling("node-a", "node-b") as (caller, _):
        await caller.register("agent")
        for body in bodies:
            for path in (HEARTBEAT, "/registry/heartbeat/nobody"):
                assert_error(await caller.ask("POST", path, content=json.dumps(body).encode(), headers=JSON), 422)
        assert (await caller.get("/registry/agents/agent"))["status"] is None


async def test_what_may_be_absent_null_or_unknown_is_taken() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for port in (0, 1, 65_535):
            await caller.register("agent", port=port, unknown={"a": [None]}, hostname="")
        bodies: list[dict[str, Any]] = [{}, {"metrics": None}, {"metrics": {}}, {"unknown": 1}, {"status": ""}]
        for body in bodies:
            assert (await caller.heartbeat("agent", **body))["acknowledged"]


async def test_a_body_past_the_limit_is_413_and_one_of_just_the_limit_is_read() -> None:
    limits = HttpLimits(registry_body_bytes_max=5_000)
    for options, size in (({}, 64 * 1024), ({"limits": limits}, 5_000)):
        async with calling("node-a", "node-b", **options) as (caller, _):
            content = json.dumps({**GOOD, "unknown": "x" * 100}).encode().ljust(size)
            assert (await caller.ask("POST", REGISTER, content=content, headers=JSON)).status_code == 200
            assert await caller.deregister("new") == 204
            await assert_refused(caller, 413, content + b" ")

            async def chunks(content: bytes = content) -> Any:
                for start in range(0, len(content) + 1, 1_000):
                    yield (content + b" ")[start : start + 1_000]

            for _ in range(2):
                response = await caller.ask("POST", REGISTER, content=chunks(), headers=JSON)
                assert_error(response, 413, str(size))
            assert await caller.listed() == ["node-a", "node-b"]


async def test_a_body_in_another_encoding_is_415() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        content = json.dumps(GOOD).encode()
        for encoding in ("gzip", "br", "deflate", "zstd", "identity, gzip", ""):
            await assert_refused(caller, 415, content, {**JSON, "content-encoding": encoding})
        for charset in ("latin-1", "utf-16", "us-ascii"):
            await assert_refused(caller, 415, content, {"content-type": f"application/json; charset={charset}"})
        assert await caller.listed() == ["node-a", "node-b"]
        headers = {"content-type": "application/json; charset=UTF-8", "content-encoding": "Identity"}
        assert (await caller.ask("POST", REGISTER, content=content, headers=headers)).status_code == 200


async def test_what_is_too_large_to_tell_everybody_is_413_and_is_not_kept() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        response = await caller.ask("POST", REGISTER, json={**GOOD, "capabilities": ["x" * 1024] * 50})
        assert_error(response, 413, "new")
        await caller.register("agent")
        for _ in range(2):
            response = await caller.ask("POST", HEARTBEAT, json={"status": "ok", "metrics": {"a": "x" * 10_000}})
            assert_error(response, 413, "metrics")
        assert await caller.listed() == ["agent", "node-a", "node-b"]


async def test_a_path_that_is_none_is_404() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        await caller.register("agent")
        for path in (
            "/registry",
            "/registry/",
            "/registry/agents/",
            "/registry/agents//",
            "/registry/agents/agent/",
            "/registry/agents/agent/more",
            "/registry/register/",
            "/registry/heartbeat",
            "/registry/heartbeat/",
            "/registry/heartbeat/agent/",
            "/registry/deregister",
            "/registry/deregister/",
            "/registry/deregister/agent/",
            "/registry/leader/",
            "/messages",
            "/messages/",
            "/messages/agent/",
            "/messages/send/",
            "/messages/send/agent/",
            "/messages/ack/agent/",
            "/messages/agent/ack/",
            "/messages//ack",
            "/messages/status/x/",
            "/messages/agent/more",
            "/health/",
            "//health",
            "/Health",
            "/mesh",
            "/mesh/",
            "/registry%2Fagents",
        ):
            for method in ("GET", "POST", "DELETE"):
                assert_error(await caller.ask(method, path), 404)
        assert await caller.listed() == ["agent", "node-a", "node-b"]


async def test_a_method_that_a_path_does_not_have_is_405_with_those_it_has() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        await caller.register("agent")
        for path, allowed in PATHS.items():
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"):
                if method in allowed:
                    continue
                response = await caller.ask(method, path)
                assert response.status_code == 405, (method, path)
                assert {*response.headers["allow"].split(", ")} == allowed, (method, path)
                if method != "HEAD":
                    assert_error(response, 405, method, path)
        assert await caller.listed() == ["agent", "node-a", "node-b"]


async def test_head_is_get_without_the_body() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for path in ("/registry/agents", "/registry/agents/node-a", "/registry/leader", "/health", "/livez", "/readyz"):
            for response in await caller.ask_each("HEAD", path):
                assert (response.status_code, response.content) == (200, b"")
                assert response.headers["content-type"] == "application/json"
                assert int(response.headers["content-length"]) > 2
        (response, _) = await caller.ask_each("HEAD", "/registry/agents/nobody")
        assert (response.status_code, response.content) == (404, b"")


IDS = [
    " ",
    "a b",
    "a/b",
    "/",
    "//",
    "a%2Fb",
    "%",
    "%zz",
    "?",
    "a?b=c&d#e",
    "#",
    "ü",
    "日本",
    "\U0001f600",
    "e\u0301",
    "é",
    "\u0000",
    "a\nb",
    "\u202e",
    "\\",
    '"',
    "<script>",
    "+",
    "a+b",
    "x" * 128,
    "ü" * 64,
    "\U0001f600" * 32,
    "register",
    "agents",
    "...",
]


@pytest.mark.parametrize("instance_id", IDS, ids=ascii)
async def test_any_id_can_be_registered_asked_for_and_deregistered(instance_id: str) -> None:
    quoted = quote(instance_id, safe="")
    async with calling("node-a", "node-b") as (caller, _):
        assert (await caller.register(instance_id))["instance_id"] == instance_id
        assert instance_id in await caller.listed()
        for response in await caller.ask_each("GET", f"/registry/agents/{quoted}"):
            assert response.json()["instance_id"] == instance_id
        assert (await caller.heartbeat(quoted))["acknowledged"]
        assert (await caller.heartbeat(quoted))["acknowledged"]
        assert await caller.deregister(quoted) == 204
        assert await caller.listed() == ["node-a", "node-b"]


async def test_the_ids_that_paths_take_for_directories_are_reached_with_escaped_dots() -> None:
    async with open_mesh("node-a") as (node,):
        for instance_id, quoted in ((".", "%2e"), ("..", "%2E%2e")):
            body = json.dumps(registration(instance_id)).encode()
            head = "POST /registry/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            assert (await ask_raw(node, request)).status == 200
            for path in (quoted, instance_id):
                answer = await ask_raw(
                    node, f"GET /registry/agents/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
                )
                assert json.loads(answer.body)["instance_id"] == instance_id


async def test_an_id_in_a_path_that_is_not_percent_encoded_utf_8_is_400() -> None:
    requests = ("GET /registry/agents/", "POST /registry/heartbeat/", "DELETE /registry/deregister/")
    async with open_mesh("node-a") as (node,):
        for escape in (
            "%",
            "%z",
            "%zz",
            "%1",
            "a%2",
            "%%41",
            "%+1",
            "%ff",
            "%c3",
            "%c0%af",
            "%ed%a0%80",
            "%u0041",
        ):
            for request in requests:
                body = b'{"status": "ok"}'
                head = f"{request}{escape} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                answer = await ask_raw(node, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                assert answer.status == 400, (request, escape)
                assert "instance_id" in answer.error


async def test_an_id_in_a_path_that_is_too_long_is_422() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for quoted in ("x" * 129, quote("ü" * 65), "%41" * 129):
            for method, path in (("GET", "agents"), ("POST", "heartbeat"), ("DELETE", "deregister")):
                options = {"json": {"status": "ok"}} if method == "POST" else {}
                assert_error(await caller.ask(method, f"/registry/{path}/{quoted}", **options), 422, "128")


async def test_a_query_or_a_fragment_changes_nothing_where_none_is_known() -> None:
    async with calling("node-a", "node-b") as (caller, _):
        for _ in range(2):
            assert (await caller.get("/registry/agents/node-a?x=/../%zz"))["instance_id"] == "node-a"
            assert (await caller.get("/health?"))["status"] == "healthy"


# Who may call


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
async def test_a_host_that_is_not_the_nodes_is_421_and_a_foreign_origin_403(path: str) -> None:
    async with calling("node-a", "node-b") as (caller, nodes):
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "0.0.0.0", "[::2]:1"):
            for response in await caller.ask_each("GET", path, headers={"host": host}):
                assert_error(response, 421, host)
        for origin in ("http://evil.example", "null", "https://127.0.0.1", "file://", "http://127.0.0.1.evil.example"):
            for response in await caller.ask_each("GET", path, headers={"origin": origin}):
                assert_error(response, 403, origin)
                assert not [name for name in response.headers if name.startswith("access-control")]
        for host in ("localhost", "LOCALHOST:1", "127.0.0.1", f"[::1]:{nodes[0].addresses[0].port}"):
            for response in await caller.ask_each("GET", path, headers={"host": host, "origin": f"http://{host}"}):
                assert response.status_code not in (421, 403)


async def test_a_host_that_was_allowed_and_the_present_name_of_the_machine_reach_the_routes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshp2p.node.interface_monitor.LOOK_INTERVAL", 0.02)
    async with calling("node-a", "node-b", allow_hosts=["Board.example"]) as (caller, nodes):

        async def statuses(host: str) -> set[int]:
            return {answer.status_code for answer in await caller.ask_each("GET", "/health", headers={"host": host})}

        assert await statuses("board.example:443") == {200}
        assert await statuses("new-name") == {421}
        monkeypatch.setattr(socket, "gethostname", lambda: "new-name")
        for node in nodes:
            while {member.hostname for member in node.members()} != {"new-name"}:
                await caller.get("/health")
        assert await statuses("New-Name.local:80") == {200}
        assert await statuses("new-name") == {200}


async def test_an_origin_that_was_allowed_may_read_the_answers() -> None:
    origin = "https://board.example:8443"
    async with calling("node-a", "node-b", allow_origins=[origin]) as (caller, _):
        for response in await caller.ask_each("GET", "/registry/agents", headers={"origin": origin}):
            assert response.status_code == 200
            assert response.headers["access-control-allow-origin"] == origin
        preflight = {"origin": origin, "access-control-request-method": "POST"}
        for response in await caller.ask_each("OPTIONS", REGISTER, headers=preflight):
            assert response.status_code == 204
        for response in await caller.ask_each("GET", "/health", headers={"origin": "https://board.example"}):
            assert_error(response, 403)
