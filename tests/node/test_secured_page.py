"""The live page of a secured mesh in a real browser: what it shows to whom, and how it invites and revokes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import trio

import meshp2p
from meshp2p import Revoked
from meshp2p.cli import main
from meshp2p.store.credentials import Credentials
from meshp2p.store.user_data import meshes_directory
from tests.browser import needs_browser, open_browser
from tests.http.meshes import open_mesh
from tests.node.test_administration import join
from tests.node.test_http_callers import OPTIONS as SECURED
from tests.node.test_page import ERROR, SENTENCE, opened
from tests.node.test_revocation import live
from tests.node.users import Users

pytestmark = [pytest.mark.slow, needs_browser]


async def test_a_caller_without_rights_is_told_why(tmp_path: Path, users: Users) -> None:
    users.found("anna")
    async with (
        meshp2p.open_node(**SECURED, require_token=True) as node,
        open_browser(tmp_path / "browser") as tab,
    ):
        await tab.open(f"http://127.0.0.1:{node.addresses[0].port}/")
        await tab.wait_for("!document.getElementById('banner').hidden")
        told = await tab.evaluate("document.getElementById('banner').textContent")
        assert told.startswith("This browser may not read the status of the mesh.")
        assert "meshp2p token" in told


@pytest.mark.parametrize(
    ("length", "version", "digest"),
    [
        (17, 1, "87c75fa4000fa17d"),
        (20, 2, "38435773c0615a5b"),
        (40, 3, "683f63b962398543"),
        (60, 4, "cd2d36f58ce830f1"),
        (106, 5, "e57c1d643007d416"),
    ],
)
async def test_qr_codes_are_those_of_another_library(tmp_path: Path, length: int, version: int, digest: str) -> None:
    """The digests are of what qrcode 8.2 makes of these texts, with level L and mask 0."""
    async with open_mesh("a") as [node], opened(node, tmp_path) as tab:
        cells = await tab.evaluate(f"qrOf({('abc-' * 30)[:length]!r})")
        assert len(cells) == 17 + 4 * version
        bits = "".join(str(int(cell)) for row in cells for cell in row)
        assert hashlib.sha256(bits.encode()).hexdigest()[:16] == digest
        assert await tab.evaluate("qrOf('x'.repeat(107))") == []


async def test_a_machine_is_invited_and_revoked_from_the_page(
    tmp_path: Path, users: Users, capsys: pytest.CaptureFixture[str]
) -> None:
    users.found("anna")
    async with (
        meshp2p.open_node(**SECURED) as node,
        open_browser(tmp_path / "browser") as tab,
        trio.open_nursery() as nursery,
    ):
        address = f"127.0.0.1:{node.addresses[0].port}"
        command = ["open", "--admin", "--node", address, "--mesh", "studio"]
        assert await trio.to_thread.run_sync(main, command) == 0
        [link] = capsys.readouterr().out.split()
        await tab.open("about:blank")
        await tab.ask("Page.navigate", url=link)
        await tab.wait_for("document.documentElement?.dataset.ready && !byId('invite').hidden")
        assert await tab.evaluate("location.href") == f"http://{address}/", "no token in the history"
        await tab.evaluate("byId('invite').click()")
        line = await tab.wait_for("byId('command').textContent")
        assert len(await tab.evaluate("byId('qr').lastChild.getAttribute('d')")) > 1000
        assert (await tab.evaluate("byId('code').textContent")) in line
        assert "within 10 min" in await tab.evaluate("byId('invitation-state').textContent")
        credential = await join(line)
        await tab.wait_for("byId('notes').textContent.startsWith('bert joined')")
        assert await tab.evaluate("byId('invitation-state').textContent") == "This invitation has ended."
        shown = "['qr', 'code', 'command'].map((part) => getComputedStyle(byId(part)).display)"
        assert await tab.evaluate(shown) == ["none"] * 3
        await tab.evaluate("byId('close').click()")
        await tab.wait_for("byId('invitation').hidden")

        async def revoke_bert() -> None:
            await tab.wait_for("rows.has('two')")
            await tab.evaluate("rows.get('two').row.click()")
            button = "rows.get('two').revocation.querySelector('button')"
            await tab.evaluate(f"{button}.click()")
            assert "for ever" in await tab.evaluate(f"{button}.textContent")
            assert [one.id for one in node.members()] == ["home", "two"], "it asks once more"
            await tab.evaluate(f"{button}.click()")

        users.act("bert")
        Credentials(meshes_directory()).add(credential)
        with pytest.raises(Revoked):
            await live(node, "home", "two", then=lambda: nursery.start_soon(revoke_bert))
        await tab.wait_for(f"{SENTENCE}.includes('was revoked')")
        assert [one.id for one in node.members()] == ["home"]
        assert await tab.evaluate(ERROR) == ""
        assert tab.problems == []


async def test_a_reader_sees_no_actions(tmp_path: Path, users: Users) -> None:
    users.found("anna")
    async with (
        meshp2p.open_node(**SECURED) as node,
        open_browser(tmp_path / "browser") as tab,
    ):
        await tab.open(f"http://127.0.0.1:{node.addresses[0].port}/")
        await tab.wait_for("document.documentElement.dataset.ready")
        await tab.evaluate("rows.get('home').row.click()")
        assert await tab.evaluate("byId('invite').hidden && rows.get('home').revocation.hidden")
        refused = await tab.evaluate("call('POST', '/invitation').catch((error) => error.message)")
        assert "meshp2p open --admin" in refused
        assert [json.loads(problem)["text"] for problem in tab.problems] == [
            "Failed to load resource: the server responded with a status of 403 (Forbidden)"
        ]
