"""The OpenAPI description: made from the table of routes, complete, without loose ends, and true of a real node."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from meshp2p.core.message import CUSTOM, KINDS
from meshp2p.http.openapi import describe
from meshp2p.http.route import Route
from meshp2p.http.routes import BODY_REFUSALS, REFUSALS, ROUTES
from meshp2p.version import __version__
from tests.http.meshes import calling, open_mesh, registration

SPEC = describe("1.2.3")


def operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = SPEC["paths"][route.path][route.method.lower()]
    return found


def all_within(value: Any) -> Iterator[Any]:
    yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from all_within(child)


def resolve(reference: str) -> Any:
    found: Any = SPEC
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_there_is_one_operation_for_each_route_and_no_other() -> None:
    operations = [one for path in SPEC["paths"].values() for one in path.values()]
    assert sorted(one["operationId"] for one in operations) == sorted(route.name for route in ROUTES)
    assert (SPEC["openapi"], SPEC["info"]["version"]) == ("3.1.0", "1.2.3")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_an_operation_has_every_status_of_its_route_and_every_parameter(route: Route) -> None:
    found = operation(route)
    shared = REFUSALS.keys() | (BODY_REFUSALS.keys() if route.body is not None else set())
    assert {int(status) for status in found["responses"]} == route.answers.keys() | shared
    assert ("requestBody" in found) == (route.body is not None)
    assert all("description" in (resolve(one["$ref"]) if "$ref" in one else one) for one in found["responses"].values())
    places = [(parameter["in"], parameter["name"]) for parameter in found["parameters"]]
    assert places == [
        *(("path", name) for name in re.findall(r"\{(\w+)\}", route.path)),
        *(("query", parameter.name) for parameter in route.query),
        *(("header", header.name) for header in route.headers),
    ]
    scope = "admin" if route.scope in ("local", "owner") else route.scope
    assert found.get("security") == (None if scope is None else [{}, {"bearer": [scope]}])


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    references = {one["$ref"] for one in all_within(SPEC) if isinstance(one, dict) and "$ref" in one}
    for reference in references:
        resolve(reference)
    components = SPEC["components"]
    defined = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in components[kind]}
    assert defined == references


def test_descriptions_are_plain_text() -> None:
    for one in all_within(SPEC):
        if isinstance(one, dict) and isinstance(text := one.get("description"), str):
            assert "``" not in text
            assert ":class:" not in text
            assert text == " ".join(text.split())


async def test_a_node_serves_it() -> None:
    async with open_mesh("a") as [node], httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{node.url}/openapi.json")
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
        assert response.json() == json.loads(json.dumps(describe(__version__)))


def check_declared(route: Route, response: httpx.Response) -> None:
    """A real answer has a status and a type that its route declares."""
    answer = route.answers.get(response.status_code)
    if answer is None:
        assert response.status_code in REFUSALS | BODY_REFUSALS
        return
    if answer.body is None:
        assert response.content == b""
    elif isinstance(answer.body, str):
        assert response.headers["content-type"] == answer.body
    else:
        shapes = answer.body if isinstance(answer.body, tuple) else (answer.body,)
        fitting = []
        for shape in shapes:
            try:
                decoded: Any = msgspec.json.decode(response.content, type=shape)
            except msgspec.ValidationError:
                continue
            if json.loads(msgspec.json.encode(decoded)) == response.json():  # no key is left out of the type
                fitting.append(shape)
        assert fitting, response.text


SEEN_IN_A_SECURED_MESH = {
    ("make_admin_key", 200),
    ("invite", 200),
    ("invitation", 200),
    ("end_invitation", 204),
    ("revoke", 200),
}
"""Statuses of answers that ``tests/node/test_administration.py`` checks."""


async def test_real_answers_are_those_that_are_declared() -> None:
    by_name = {route.name: route for route in ROUTES}
    unseen = {(route.name, status) for route in ROUTES for status in route.answers if status < 400 or status == 404}
    async with calling("a", "b") as (caller, _):

        async def ask(name: str, path: str = "", body: Any = None) -> Any:
            route = by_name[name]
            response = await caller.ask(route.method, path or route.path, **({} if body is None else {"json": body}))
            check_declared(route, response)
            unseen.discard((name, response.status_code))
            return response.json() if response.content and response.headers["content-type"].endswith("json") else None

        await ask("register", body=registration("x"))
        await ask("heartbeat", "/registry/heartbeat/x", {"status": "busy", "metrics": {"n": 1}})
        await ask("heartbeat", "/registry/heartbeat/nobody", {"status": "busy"})
        for query in ("", "?detail=true", "?leader=true", "?capability=c&profile=p&status=s"):
            await ask("list_agents", f"/registry/agents{query}")
        for name in ("x", "a", "nobody"):
            await ask("show_agent", f"/registry/agents/{name}")
            await ask("ping", f"/registry/agents/{name}/ping")
        await ask("show_leader")
        sent = await ask("send", "/messages/send/a", {"target_instance": "x", "message_type": "Query", "payload": [1]})
        for kind in ({"Custom": "mine"}, {"Query": None}):
            await ask("send", "/messages/send/a", {"message_type": kind, "payload": None})
        await ask("send", "/messages/send/a", {"target_instance": "no", "message_type": "Query", "payload": 1})
        for query in ("", "?detail=true", "?wait=0.01&limit=1"):
            await ask("fetch", f"/messages/x{query}")
        for message_id in (sent["message_id"], "nothing"):
            await ask("show_status", f"/messages/status/{message_id}")
        for name, path in (("acknowledge", "/messages/ack/x"), ("acknowledge_in_mailbox", "/messages/x/ack")):
            await ask(name, path, {"message_ids": [sent["message_id"]]})
        for name in ("x", "x", "a"):
            await ask("deregister", f"/registry/deregister/{name}")
        for name in ("health", "livez", "readyz", "metrics", "recording", "status", "page", "openapi", "make_session"):
            await ask(name)
        await ask("open_session", "/session/nothing")
        for name in ("make_admin_key", "invite", "invitation", "end_invitation"):
            await ask(name)
        await ask("revoke", "/revoke/a")
    assert unseen == {("events", 200), ("open_session", 303), *SEEN_IN_A_SECURED_MESH}


def test_a_message_type_is_a_standard_name_or_one_of_the_sender() -> None:
    for name in ("SendMessageRequest", "AgentMessage"):
        schema = SPEC["components"]["schemas"][name]["properties"]["message_type"]
        assert "anyOf" not in schema
        [plain, custom] = schema["oneOf"]
        assert plain["enum"] == [kind for kind in KINDS if kind != CUSTOM]
        assert list(custom["properties"]) == [CUSTOM]


def test_the_schemas_tell_generators_of_clients_all_they_need() -> None:
    requests = {route.body.__name__ for route in ROUTES if route.body is not None}
    for one in all_within(SPEC):
        if not isinstance(one, dict):
            continue
        if isinstance(one.get("enum"), list):
            assert one["type"] == "string", one
        if one.get("type") == "object":
            assert "properties" in one or "additionalProperties" in one, one
        assert one.get("default", "none") is not None, one  # a default of null makes a key one that must be given
    for name, schema in SPEC["components"]["schemas"].items():
        if name not in requests and "properties" in schema:
            may_be_absent = schema["properties"].keys() - schema["required"]
            assert may_be_absent == ({"lost"} if name == "ReadyzResponse" else set()), name
