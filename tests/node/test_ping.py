"""GET /registry/agents/ID/ping: the round trip of a call to the home of an instance, in virtual time."""

from __future__ import annotations

import math

import pytest

from meshp2p import MeshClient
from meshp2p.client.node_requests import decode, made
from meshp2p.errors import RequestRefused, Unreachable
from meshp2p.testing import VirtualMesh, run
from meshp2p.wire.contract import PingResponse


async def ping(client: MeshClient, instance_id: str) -> PingResponse:
    response = await client._requests.send("GET", f"/registry/agents/{instance_id}/ping", None)
    return made(response, lambda: decode(response, PingResponse))


def test_a_ping_takes_the_time_of_a_call_there_and_back() -> None:
    async def main(mesh: VirtualMesh) -> None:
        await mesh.start("a", "b", "c")
        await mesh.wait_until_whole()
        async with mesh.client("b", at="b") as client:
            await client.register("hosted", "h", 1)
        async with mesh.client("a", at="a") as client:
            await mesh.wait_until(lambda: mesh.nodes["a"].member("hosted") is not None)
            with mesh.delay(0.05):
                await ping(client, "b")
                for name in ("b", "hosted"):
                    pinged = await ping(client, name)
                    assert (pinged.instance_id, pinged.home, pinged.via) == (name, "b", None)
                    assert math.isclose(pinged.seconds, 0.1, rel_tol=0.2)
            assert await ping(client, "a") == PingResponse("a", "a", None, 0.0)
            with pytest.raises(RequestRefused, match="404: Instance 'nobody' not found"):
                await ping(client, "nobody")

    run(main)


def test_a_ping_goes_through_another_node_if_it_must_and_says_why_it_fails() -> None:
    async def main(mesh: VirtualMesh) -> None:
        await mesh.start("a", "b", "c")
        await mesh.wait_until_whole()
        async with mesh.client("a", at="a") as client:
            with mesh.partition(["a"], ["b"]):
                await mesh.sleep(10)
                assert (await ping(client, "b")).via == "c"
            with mesh.partition(["a"], ["b", "c"]), pytest.raises(Unreachable, match="node 'b' does not answer: "):
                await ping(client, "b")

    run(main)
