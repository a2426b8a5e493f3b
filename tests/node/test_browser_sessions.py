"""Browsers of a secured mesh: one-time links and sessions, with real sockets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

import meshp2p
from meshp2p import MeshNode
from meshp2p.cli import main
from meshp2p.client import MeshClient
from meshp2p.errors import MeshError, RequestRefused
from meshp2p.store.credentials import CredentialDirectory
from tests.browser import needs_browser, open_browser
from tests.node.test_http_callers import ACTS, OPTIONS, calling, revoke_token, token_of
from tests.node.users import Users


@pytest.fixture
async def anna(users: Users) -> CredentialDirectory:
    return users.found("anna")[1]


@contextlib.asynccontextmanager
async def browsing(node: MeshNode) -> AsyncIterator[httpx.AsyncClient]:
    """A browser on the machine of the node: it has cookies, and no certificate."""
    url = f"http://127.0.0.1:{node.addresses[0].port}"
    async with httpx.AsyncClient(base_url=url, trust_env=False) as browser:
        yield browser


async def link_of(node: MeshNode, token: str) -> str:
    async with MeshClient(f"127.0.0.1:{node.addresses[0].port}", token=token) as client:
        return await client.session_link()


async def test_a_link_gives_a_browser_the_rights_of_a_token_once(anna: CredentialDirectory) -> None:
    token = token_of(anna, "read", "agent:painter")
    async with meshp2p.open_node(**OPTIONS, require_token=True) as node, browsing(node) as browser:
        origin = {"origin": str(browser.base_url)}
        assert (await browser.get("/registry/agents")).status_code == 401
        link = await link_of(node, token)
        assert token not in link
        assert (await browser.head(link)).status_code == 404, "a preview does not use it up"
        opened = await browser.get(link)
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        assert opened.headers["cache-control"] == "no-store"
        assert token not in opened.headers["set-cookie"]
        assert (await browser.get("/registry/agents")).status_code == 200
        for act in ACTS:
            method, path, body = act
            headers = origin if method != "GET" else {}
            assert (await browser.request(method, path, json=body, headers=headers)).is_success, act
        assert (await browser.get("/messages/home")).status_code == 403
        async with browsing(node) as second:
            again = await second.get(link)
            assert again.status_code == 404
            assert "run meshp2p open again" in again.json()["error"]
            assert (await second.get("/registry/agents")).status_code == 401


async def test_a_page_of_another_port_cannot_use_the_session(anna: CredentialDirectory) -> None:
    token = token_of(anna, "read", "agent:painter")
    async with meshp2p.open_node(**OPTIONS, require_token=True) as node, browsing(node) as browser:
        assert (await browser.get(await link_of(node, token))).status_code == 303
        method, path, body = ACTS[0]
        for headers, status in (
            ({"origin": "http://127.0.0.1:9999", "sec-fetch-site": "same-site"}, 403),
            ({"origin": "null", "sec-fetch-site": "same-site"}, 403),
            ({"sec-fetch-site": "same-site"}, 401),
            ({}, 401),  # as the form of an old browser
        ):
            assert (await browser.request(method, path, json=body, headers=headers)).status_code == status, headers
        assert (await browser.get("/registry/agents", headers={"sec-fetch-site": "same-site"})).status_code == 401


async def test_a_session_ends_with_its_token(anna: CredentialDirectory) -> None:
    token = token_of(anna, "read")
    async with meshp2p.open_node(**OPTIONS, require_token=True) as node, browsing(node) as browser:
        assert (await browser.get(await link_of(node, token))).status_code == 303
        assert (await browser.get("/registry/agents")).status_code == 200
        revoke_token(anna, token)
        with trio.fail_after(60):
            while (await browser.get("/registry/agents")).status_code != 401:  # it is read from the disk
                await trio.testing.wait_all_tasks_blocked(0.05)


async def test_who_needs_no_token_needs_no_session(users: Users, anna: CredentialDirectory) -> None:
    async with meshp2p.open_node(**OPTIONS) as node, calling(node, anna, plain=True) as caller:
        assert (await caller.ask("POST", "/session")).json() == {"path": "/"}
        async with calling(node, anna, shows=anna) as certified:
            refused = await certified.ask("POST", "/session")
            assert (refused.status_code, "needs a token" in refused.text) == (400, True)
    users.act("nobody")
    async with meshp2p.open_node(**{**OPTIONS, "mesh": "open"}) as node:
        async with MeshClient(str(node.addresses[0])) as client:
            assert await client.session_link() == f"http://{node.addresses[0]}/"
        async with browsing(node) as browser:
            assert (await browser.get("/session/x")).status_code == 404


@pytest.mark.parametrize("path", ["@evil.example/", ".evil.example/", "1/", "", "/\x1b[2J", "/\u202e"])
async def test_a_link_leads_only_to_the_node_that_was_asked(path: str) -> None:
    body = json.dumps({"path": path}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        async with MeshClient(f"127.0.0.1:{listener.socket.getsockname()[1]}") as client:
            with pytest.raises(MeshError, match="path"):
                await client.session_link()
        nursery.cancel_scope.cancel()


async def test_meshp2p_open_prints_a_link_without_a_secret_of_others(
    anna: CredentialDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with meshp2p.open_node(**OPTIONS, require_token=True) as node, browsing(node) as browser:
        where = f"127.0.0.1:{node.addresses[0].port}"
        run: Callable[[], int] = lambda: main(["open", "--print", "--node", where, "--mesh", "studio"])  # noqa: E731
        assert await trio.to_thread.run_sync(run) == 0
        [link] = capsys.readouterr().out.split()
        assert link.startswith(f"http://{where}/session/")
        assert (await browser.get(link)).status_code == 303
        assert (await browser.get("/registry/agents")).status_code == 200

        monkeypatch.setenv("MESHP2P_TOKEN", token_of(anna, "agent:painter"))
        with pytest.raises(RequestRefused, match="403"):
            await link_of(node, token_of(anna, "agent:painter"))
        assert await trio.to_thread.run_sync(run) != 0


# A real browser

EVIL = """HTTP/1.1 200 OK\r
Content-Type: text/html\r
Connection: close\r
\r
<script>
const body = JSON.stringify({instance_id: "evil", hostname: "h", port: 1, capabilities: [], agent_profiles: []});
const ask = (method, path, more) => fetch(NODE + path, {method, credentials: "include", ...more}).then(
  async (answer) => `${answer.type} ${answer.status} ${await answer.text()}`, (error) => "failed");
Promise.all([
  ask("GET", "/status"), ask("GET", "/registry/agents", {mode: "no-cors"}),
  ask("POST", "/registry/register", {body, headers: {"Content-Type": "application/json"}}),
  ask("POST", "/registry/register", {body, mode: "no-cors"}), ask("POST", "/session", {mode: "no-cors"}),
]).then((answers) => { window.answers = answers; });
</script>
"""


@pytest.mark.slow
@needs_browser
async def test_a_real_browser_keeps_the_session_from_a_page_of_another_port(
    anna: CredentialDirectory, tmp_path: Path
) -> None:
    token = token_of(anna, "read", "agent:*")
    seen = bytearray()

    async def serve(stream: trio.SocketStream) -> None:
        seen.extend(await stream.receive_some())
        await stream.send_all(EVIL.replace("NODE", repr(node_url)).encode())
        await stream.aclose()

    async with meshp2p.open_node(**OPTIONS, require_token=True) as node, open_browser(tmp_path) as tab:
        node_url = f"http://127.0.0.1:{node.addresses[0].port}"
        await tab.ask("Page.enable")
        await tab.ask("Page.navigate", url=await link_of(node, token))
        await tab.wait_for(f"location.href === {node_url + '/'!r} && document.documentElement?.dataset.ready")
        assert await tab.evaluate("document.cookie") == "", "scripts do not see it"
        registered = await tab.evaluate(
            """fetch("/registry/register", {method: "POST", headers: {"Content-Type": "application/json"}, body:
            JSON.stringify({instance_id: "mine", hostname: "h", port: 1, capabilities: [], agent_profiles: []})})
            .then((answer) => answer.status)"""
        )
        assert registered == 200
        async with trio.open_nursery() as nursery:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            await tab.ask("Page.navigate", url=f"http://127.0.0.1:{listener.socket.getsockname()[1]}/")
            answers = await tab.wait_for("window.answers")
            nursery.cancel_scope.cancel()
        assert set(answers) <= {"failed", "opaque 0 "}
        assert {member.id for member in node.members()} == {"home", "mine"}
        assert token.encode() not in seen


def test_the_link_of_an_admin_takes_no_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESHP2P_TOKEN", "x")
    assert main(["open", "--admin", "--node", "127.0.0.1:1"]) == 2
    assert "unset MESHP2P_TOKEN" in capsys.readouterr().err
