"""Pages that are made from the code when the docs are built, so that they are never out of date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshp2p.http.openapi import describe
from meshp2p.version import __version__

__all__ = ["DOCS", "describe_http", "write_llms"]

DOCS = Path(__file__).parent


def describe_http() -> str:
    """The routes, bodies and events of the HTTP API as Markdown, from its OpenAPI description."""
    api = describe(__version__)
    lines: list[str] = []
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            lines += _operation(f"{method.upper()} {path}", operation)
    lines += [
        "## Any request",
        "",
        "Any request may get one of these answers too.",
        "",
        "| status | cause |",
        "|---|---|",
    ]
    refusals = api["components"]["responses"].items()
    lines += [f"| {name.removeprefix('Refused')} | {answer['description']} |" for name, answer in refusals]
    lines += ["", "## Types", ""]
    for name, shape in sorted(api["components"]["schemas"].items()):
        lines += _shape(name, shape)
    return "\n".join(lines)


def _operation(title: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "", operation["summary"], "")
    scopes = (
        [scope for ways in operation["security"] for scope in ways.get("bearer", ())] if "security" in operation else []
    )
    if scopes:
        yield from (f"Scope in a secured mesh: `{scopes[0]}`.", "")
    body = operation.get("requestBody")
    parameters = operation.get("parameters", [])
    if parameters or body:
        yield from ("| parameter | in | type | what it is |", "|---|---|---|---|")
        for parameter in parameters:
            where, what = parameter["in"], parameter.get("description", "")
            yield f"| `{parameter['name']}` | {where} | {_type(parameter['schema'])} | {_cell(what)} |"
        if body:
            yield f"| | body | {_content(body)} | |"
        yield ""
    yield from ("| answer | body | what it is |", "|---|---|---|")
    for status, answer in operation["responses"].items():
        if "$ref" not in answer:
            yield f"| {status} | {_content(answer)} | {_cell(answer['description'])} |"
    yield ""


def _content(holder: dict[str, Any]) -> str:
    kinds = holder.get("content", {})
    shown = [_type(kind["schema"]) if "schema" in kind else f"`{name}`" for name, kind in kinds.items()]
    return ", ".join(shown)


def _shape(name: str, shape: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {name}", "", shape.get("description", ""), "")
    if shape.get("properties"):
        yield from ("| key | type | may be absent |", "|---|---|---|")
        for key, kind in shape["properties"].items():
            optional = "" if key in shape.get("required", ()) else "yes"
            yield f"| `{key}` | {_type(kind)} | {optional} |"
        yield ""
    else:
        yield from (_type(shape), "")


def _type(schema: dict[str, Any]) -> str:
    """A schema as the text of a cell."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[choice]))
    kind = str(schema.get("type", "any JSON"))
    return f"array of {_type(schema['items'])}" if kind == "array" and "items" in schema else kind


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def write_llms() -> str:
    """The file ``llms.txt`` of the site: the front page for programs, without its lists for people."""
    page = (DOCS / "index.md").read_text()
    page = re.sub(r"^(```\{toctree\}.*?^```|!\[.*?)\n", "", page, flags=re.MULTILINE | re.DOTALL)
    page = re.sub(r"\{term\}`([^`<]+)`", r"\1", page)
    title, summary, rest = page.split("\n\n", 2)
    text = f"{title}\n\n> {' '.join(summary.split())}\n\n{rest}"
    text = re.sub(r"\]\(([\w/-]+)\.md\)", r"](\1.html)", text)
    return re.sub(r"\n{3,}", "\n\n", text)
