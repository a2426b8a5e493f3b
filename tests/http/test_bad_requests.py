"""What a bad request gets, row by row of the contract's table, and that nothing is kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from meshp2p import ProtocolConfig
from tests.http.meshes import ask_raw, open_mesh, registration

REGISTER, HEARTBEAT, SEND = "/registry/register", "/registry/heartbeat/agent", "/messages/send/agent"
ACKS = ("/messages/ack/agent", "/messages/agent/ack")
GOOD: dict[str, Any] = {
    REGISTER: registration("new"),
    HEARTBEAT: {"status": "seen"},
    SEND: {"target_instance": "agent", "message_type": "Query", "payload": 1},
    **{path: {"message_ids": []} for path in ACKS},
}
"""A right body for each path that takes one."""

Asked = tuple[str, str, dict[str, str], bytes | None]


def asked(method: str, path: str, body: bytes | None = None, **headers: str) -> Asked:
    given = {"content-type": "application/json"} if body is not None else {}
    given.update({name.replace("_", "-"): value for name, value in headers.items()})
    return method, path, {name: value for name, value in given.items() if value != "-"}, body


def everywhere(body: bytes | None = None, **headers: str) -> Iterator[Asked]:
    """A POST to each path that takes a body: a right one, or this."""
    for path, right in GOOD.items():
        yield asked("POST", path, json.dumps(right).encode() if body is None else body, **headers)


def changed(path: str, **changes: Any) -> Asked:
    return asked("POST", path, json.dumps({**GOOD[path], **changes}).encode())


def in_payload(value: bytes) -> list[Asked]:
    return [
        asked("POST", SEND, b'{"target_instance":"agent","message_type":"Query","payload":%s}' % value),
        asked("POST", HEARTBEAT, b'{"status":"seen","metrics":{"a":%s}}' % value),
        asked("POST", REGISTER, json.dumps(GOOD[REGISTER]).encode()[:-1] + b',"unknown":%s}' % value),
    ]


NOT_JSON = [b"", b" ", b"{", b"{}}", b"\xef\xbb\xbf{}", b'{"status":"\xff"}', b"nul", b"{'a':1}", b"[" * 60_000]
NOT_JSON_VALUES = [
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e309", b"9" * 400, b"1.7976931348623158e308"),
    *(rb'"\ud800"', rb'{"\udc00":1}', b'"\xed\xa0\x80"', b"[" * 122 + b"]" * 122, b'{"a":' * 122 + b"1" + b"}" * 122),
]
LATER_TYPES = ["CapabilityUpdate", "CapabilityQuery", "LearningShare", "ProposalSubmit", "ProposalVote"]
LATER_TYPES += ["WorkflowAssignment", "WorkflowStageResult"]
NAMES = ("capabilities", "agent_profiles")

TABLE: dict[str, tuple[int, list[Asked]]] = {
    "a Content-Encoding": (415, [*everywhere(content_encoding="gzip"), *everywhere(content_encoding="br")]),
    "a charset other than UTF-8": (
        415,
        [
            *everywhere(content_type="application/json; charset=latin-1"),
            *everywhere(content_type='application/json; charset="utf-16"'),
        ],
    ),
    "no or another Content-Type": (
        415,
        [
            request
            for said in ("-", "text/plain", "text/json", "multipart/form-data", "application/x-www-form-urlencoded")
            for request in everywhere(content_type=said)
        ],
    ),
    "not JSON": (400, [request for body in NOT_JSON for request in everywhere(body)]),
    "a value that some client cannot read": (400, [one for value in NOT_JSON_VALUES for one in in_payload(value)]),
    "a wrong type or a missing key": (
        422,
        [
            *everywhere(b"null"),
            *everywhere(b"[]"),
            *everywhere(b"{}"),
            *(changed(path, **{key: None}) for path in (REGISTER, *ACKS) for key in GOOD[path]),
            *(changed(path, **{key: {}}) for path in GOOD for key in GOOD[path] if key != "payload"),
            *(changed(REGISTER, port=port) for port in (70_000, -1, "1", 1.5)),
            *(changed(SEND, message_type=kind) for kind in (*LATER_TYPES, "query", "Custom", "", {"Custom": None})),
            *(changed(REGISTER, instance_id=wrong) for wrong in ("", "x" * 129, "ü" * 65)),
            *(changed(SEND, target_instance=wrong) for wrong in ("", "x" * 129)),
            asked("GET", "/messages/" + "x" * 129),
            asked("GET", "/messages/" + "%41" * 2_700),
        ],
    ),
    "names or fields past their limit": (
        422,
        [
            *(changed(REGISTER, **{key: ["x"] * 257}) for key in NAMES),
            *(changed(REGISTER, **{key: ["x" * 1025]}) for key in NAMES),
            changed(REGISTER, hostname="x" * 1025),
            changed(HEARTBEAT, status="x" * 1025),
            changed(SEND, correlation_id="x" * 1025),
            changed(SEND, message_type={"Custom": "x" * 1025}),
        ],
    ),
    "a body past the limit": (
        413,
        [
            *(asked("POST", path, json.dumps(GOOD[path]).encode().ljust(65_537)) for path in (REGISTER, HEARTBEAT)),
            asked("POST", SEND, json.dumps(GOOD[SEND]).encode().ljust(2 * 1024 * 1024 + 1)),
        ],
    ),
    "a record, metrics or a mesh that is too large": (
        413,
        [
            changed(REGISTER, capabilities=["x" * 1000] * 40),
            changed(HEARTBEAT, metrics={"a": "x" * 9000}),
            changed(REGISTER),
        ],
    ),
    "a target that is too long": (414, [asked("GET", "/registry/agents?x=" + "x" * 8192)]),
    "a transfer coding that there is not": (501, [asked("POST", REGISTER, None, transfer_encoding="gzip, chunked")]),
    "an unknown path, a trailing slash, an empty id": (
        404,
        [
            asked(method, path)
            for method in ("GET", "POST", "DELETE")
            for path in ("/nothing", "/registry/agents/", "/registry/heartbeat/", "/messages/", "/messages//ack", "//")
        ],
    ),
    "a path or a query that is not percent-encoded UTF-8": (
        400,
        [
            *(asked("GET", "/messages/" + wrong) for wrong in ("%", "%f", "%zz", "%ff", "%c3%28", "%ed%a0%80")),
            *(asked("DELETE", "/registry/deregister/" + wrong) for wrong in ("%ff", "%+1")),
            *(
                asked("GET", "/registry/agents?capability=" + wrong)
                for wrong in ("%", "%zz", "%ff", "%E9", "caf%e9", "a%c0%af")
            ),
            asked("GET", "/registry/agents?%ff=1"),
            asked("GET", "/messages/agent?wait=%ff"),
        ],
    ),
    "a query of more values than any client sends": (
        400,
        [asked("GET", path + "&".join(["x"] * 65)) for path in ("/registry/agents?", "/messages/agent?")],
    ),
    "a head that is too large": (
        431,
        [
            asked("GET", "/health", None, x="x" * 16_384),
            asked("GET", "/health", None, **{f"x{number}": "" for number in range(130)}),
        ],
    ),
}


def raw(request: Asked) -> bytes:
    method, path, headers, body = request
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


@pytest.mark.parametrize("row", TABLE)
async def test_each_row_has_its_status_and_nothing_is_kept(row: str) -> None:
    status, requests = TABLE[row]
    async with open_mesh("node", protocol=ProtocolConfig(settle_timeout=0.05, members_max=2)) as (node,):
        await ask_raw(node, raw(asked("POST", REGISTER, json.dumps(registration("agent")).encode())))
        for request in requests:
            answer = await ask_raw(node, raw(request))
            assert answer.status == status, (request[:3], (request[3] or b"")[:100], answer.body)
            assert answer.error
        assert [member.id for member in node.members()] == ["agent", "node"]
        agent = node.member("agent")
        assert agent is not None
        assert (agent.status, agent.hostname) == ("", "h")
        assert (await ask_raw(node, raw(asked("GET", "/messages/agent")))).body == b'{"messages":[]}'
