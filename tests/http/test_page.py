"""GET /: one small file that loads nothing from elsewhere, under a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import get_args

import httpx

from meshp2p.core.events import Evidence
from meshp2p.http.page import page_response
from meshp2p.wire.event_contract import EVIDENCE_TEXTS
from tests.http.meshes import open_mesh

PAGE = b"".join(page_response().parts).decode()
KIB = 1024


async def test_each_node_serves_it_to_a_browser() -> None:
    async with open_mesh("a") as [node], httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{node.url}/")
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert response.text == PAGE
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert (await client.head(f"{node.url}/")).content == b""
        assert (await client.post(f"{node.url}/")).status_code == 405


def test_it_is_small() -> None:
    assert len(PAGE.encode()) < 64 * KIB


def test_its_words_for_evidence_are_those_of_events_and_of_the_verdict() -> None:
    found = re.search(r"const EVIDENCE = (\{.*?\});", PAGE)
    assert found is not None
    assert json.loads(found.group(1)) == EVIDENCE_TEXTS
    assert EVIDENCE_TEXTS.keys() == set(get_args(Evidence))


def test_it_loads_nothing_from_elsewhere() -> None:
    addresses = set(re.findall(r"https?:[^\s\"'`]+", PAGE))
    assert addresses == {"http://www.w3.org/2000/svg"}, "only the name of a namespace, which nobody loads"
    assert not re.search(r"<(?:img|iframe|object|embed|base|form)\b|@import|\burl\((?!#)", PAGE)
    assert not re.search(r"<script[^>]+src=|<link(?! rel=\"icon\" href=\"data:)", PAGE)


def test_nothing_from_the_mesh_can_become_markup_or_code() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|setHTML"
    assert not re.search(forbidden, PAGE)
    assert not re.search(r"\son[a-z]+=|\sstyle=", PAGE)


def test_the_policy_allows_this_style_and_this_script_and_the_node_alone() -> None:
    headers = dict(page_response().headers)
    policy = dict(part.split(" ", 1) for part in headers[b"content-security-policy"].decode().split("; "))
    assert policy.pop("default-src") == "'none'"
    for tag in ("style", "script"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert policy == {
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
