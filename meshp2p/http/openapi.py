"""The OpenAPI 3.1 description of all that a node serves, made from the table of routes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import msgspec

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.http.body import encode_json
from meshp2p.http.route import Answer, Parameter, Route
from meshp2p.http.routes import BODY_REFUSALS, EVENTS_TYPE, JSON_TYPE, REFUSALS, ROUTES
from meshp2p.wire.contract import ErrorBody
from meshp2p.wire.event_contract import StreamedEvent

__all__ = ["describe", "encoded_description"]

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_ID: Final = {"type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX}
_DESCRIPTION: Final = (
    "Any node answers for the whole mesh. GET answers HEAD too. An id has at most 128 bytes of UTF-8, which is fewer"
    " characters if they are not ASCII."
)


def describe(version: str) -> Json:
    """Return the description as JSON."""
    types = [ErrorBody, StreamedEvent, *_types()]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(types, schemas, strict=True))
    requests = {route.body.__name__ for route in ROUTES if route.body is not None}
    for name, component in components.items():
        component["description"] = " ".join(component["description"].split()).replace("``", "`")
        properties, required = component["properties"], component["required"]
        if name not in requests:  # an answer has each key that has a default
            component["required"] = [key for key, one in properties.items() if key in required or "default" in one]
        for schema in properties.values():
            schema.pop("default", None)
    components["StreamedEvent"] = by_type[StreamedEvent] | {"description": "Any event."}
    by_type[StreamedEvent] = {"$ref": _REF.format(name="StreamedEvent")}
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    refusals = {
        f"Refused{status}": _response(Answer(what), by_type) for status, what in (REFUSALS | BODY_REFUSALS).items()
    }
    bearer = {"type": "http", "scheme": "bearer", "description": "A token of `meshp2p token`: in a secured mesh."}
    description: Json = {
        "openapi": "3.1.0",
        "info": {"title": "meshp2p", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components, "responses": refusals, "securitySchemes": {"bearer": bearer}},
    }
    _complete(description)
    return description


@cache
def encoded_description(version: str) -> bytes:
    """Return the description as bytes, made when it is first asked for."""
    return encode_json(describe(version))


def _complete(schema: Any) -> None:
    """Complete each schema in it for generators of clients: an enumeration has a type, an object without properties
    allows any keys, and ``oneOf`` replaces ``anyOf``, which comes from the declared type and is wider."""
    if isinstance(schema, list):
        for child in schema:
            _complete(child)
    elif isinstance(schema, dict):
        _complete([*schema.values()])
        if "enum" in schema:
            schema.setdefault("type", "string")
        if schema.get("type") == "object" and "properties" not in schema:
            schema.setdefault("additionalProperties", True)
        if "oneOf" in schema:
            schema.pop("anyOf", None)


def _types() -> Iterator[Any]:
    """Return all types of bodies and parameters in the table."""
    for route in ROUTES:
        for body in (route.body, *(answer.body for answer in route.answers.values())):
            yield from (one for one in (body if isinstance(body, tuple) else (body,)) if isinstance(one, type))
        yield from (parameter.shape for parameter in (*route.query, *route.headers))


def _operation(route: Route, by_type: dict[Any, Json]) -> Json:
    shared = REFUSALS | (BODY_REFUSALS if route.body is not None else {})
    responses = {status: {"$ref": f"#/components/responses/Refused{status}"} for status in shared}
    responses |= {status: _response(answer, by_type) for status, answer in route.answers.items()}
    operation: Json = {
        "operationId": route.name,
        "summary": route.what,
        "tags": [route.path.split("/")[1] if route.path.count("/") > 1 else "node"],
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _ID} for name in route.path_names),
            *(_parameter(parameter, "query", by_type) for parameter in route.query),
            *(_parameter(header, "header", by_type) for header in route.headers),
        ],
        "responses": {str(status): response for status, response in sorted(responses.items())},
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON_TYPE: {"schema": by_type[route.body]}}}
    if route.scope is not None:
        operation["security"] = [{}, {"bearer": ["admin" if route.scope in ("local", "owner") else route.scope]}]
    return operation


def _parameter(parameter: Parameter, place: str, by_type: dict[Any, Json]) -> Json:
    schema = by_type[parameter.shape]
    return {
        "name": parameter.name,
        "in": place,
        "description": parameter.what,
        "schema": {"type": "array", "items": schema} if parameter.repeats else schema,
    }


def _response(answer: Answer, by_type: dict[Any, Json]) -> Json:
    media_type = answer.body if isinstance(answer.body, str) else JSON_TYPE
    match answer.body:
        case None:
            return {"description": answer.what}
        case str():
            schema: Json = {"type": "object" if media_type == JSON_TYPE else "string"}
            if media_type == EVENTS_TYPE:
                schema |= {"contentMediaType": JSON_TYPE, "contentSchema": by_type[StreamedEvent]}
        case tuple():
            schema = {"anyOf": [by_type[one] for one in answer.body]}
        case _:
            schema = by_type[answer.body]
    return {"description": answer.what, "content": {media_type: {"schema": schema}}}
