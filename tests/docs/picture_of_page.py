"""Makes the pictures of the live page in the docs: ``PYTHONPATH=. python tests/docs/picture_of_page.py``."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import httpx
import trio

from meshp2p import MeshNode, ProtocolConfig, ReceivedMessage
from tests.browser import open_browser
from tests.http.meshes import open_mesh, registration

DOCS = Path(__file__).parents[2] / "docs"
IDS = ("editor-1", "painter-1", "painter-2", "translator-1", "writer-1")
HOSTED = {"critic-1": "review", "critic-2": "review", "reader-1": "summarize", "sculptor-1": "sculpt"}
STATUSES = ("busy", "idle", "thinking", "idle", "busy")


async def answer(message: ReceivedMessage) -> object:
    await trio.sleep(message.payload)
    return None


async def fill(nodes: list[MeshNode], client: httpx.AsyncClient) -> None:
    """Let agents do something, for ever. The agent ``sculptor-1`` dies."""
    for place, (name, capability) in enumerate(HOSTED.items()):
        await client.post(
            f"{nodes[place].url}/registry/register", json={**registration(name), "capabilities": [capability]}
        )
    for _ in range(20):
        await client.post(
            f"{nodes[0].url}/messages/send/editor-1",
            json={"target_instance": "reader-1", "message_type": "Notification", "payload": "page"},
        )
    while True:
        for name in list(HOSTED)[:-1]:
            await client.post(f"{nodes[0].url}/registry/heartbeat/{name}", json={"status": "reading"})
        for one, other in zip(nodes, (*nodes[1:], nodes[0]), strict=True):
            await one.query(other.id, 0.1, timeout=9)


async def main() -> None:
    quick = ProtocolConfig(settle_timeout=0.05, instance_timeout=30.0)
    async with (
        open_mesh(*IDS, mesh="studio", protocol=quick) as nodes,
        httpx.AsyncClient(trust_env=False) as client,
        trio.open_nursery() as nursery,
    ):
        for node, status in zip(nodes, STATUSES, strict=True):
            node.handler("Query")(answer)
            await node.set_status(status)
        nursery.start_soon(fill, nodes, client)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            async with open_browser(Path(directory)) as tab:
                await tab.open(f"{nodes[0].url}/", width=1100, height=760)
                await tab.wait_for("document.getElementById('sentence').textContent.startsWith('sculptor-1 died')", 90)
                await trio.sleep(30)  # for the graphs
                for name, place in (("light", "verdict"), ("network", "network")):
                    await tab.evaluate(f"document.getElementById({place!r}).scrollIntoView({{behavior: 'instant'}})")
                    shot = await tab.ask("Page.captureScreenshot", format="webp", quality=85)
                    (DOCS / f"page-{name}.webp").write_bytes(base64.b64decode(shot["data"]))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
