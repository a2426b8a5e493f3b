"""Queries to and from agents that speak only HTTP are mail, and errors are marked in it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import meshp2p
from meshp2p import errors
from meshp2p.testing import VirtualMesh, run

LOOKS = {"error": {"type": "ValueError", "message": "is a value"}}


def run_hosted(test: Any) -> None:
    """Run it with the nodes ``a`` and ``b``, and a client of ``b`` that registered the instance ``hosted``."""

    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()
        async with mesh.client("b") as client, trio.open_nursery() as nursery:
            await client.register("hosted", "host", 0)

            async def beat() -> None:
                while True:
                    await mesh.sleep(4)
                    await client.heartbeat("hosted")

            nursery.start_soon(beat)
            await mesh.wait_until(lambda: a.member("hosted") is not None)
            await test(mesh, a, b, client)
            nursery.cancel_scope.cancel()

    run(main)


def test_a_query_to_an_agent_that_speaks_only_http_is_in_its_mailbox_and_its_response_is_the_reply() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, _b: Any, client: meshp2p.MeshClient) -> None:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await a.query("hosted", {"n": 1}, timeout=20))
            answers.extend([part async for part in a.ask("hosted", {"n": 2}, timeout=20)])

        async def answer(payload: Any, is_error: bool = False) -> None:
            (message,) = await client.messages("hosted", wait=30)
            assert (message.source, message.target, message.kind) == ("a", "hosted", "Query")
            assert message.correlation_id
            async with mesh.client("a") as other:  # any node takes it
                await other.send(
                    "a",
                    payload,
                    source="hosted",
                    kind="Response",
                    correlation_id=message.correlation_id,
                    is_error=is_error,
                )
            await message.acknowledge()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await answer(LOOKS)  # which is a value, whatever it looks like
            await answer([2])
        assert answers == [LOOKS, [2]]

        for payload, expected in ((LOOKS, "ValueError: is a value"), ("sorry", 'Error: "sorry"')):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer, payload, True)
                with pytest.raises(errors.RemoteError) as caught:
                    await a.query("hosted", 1, timeout=20)
            assert str(caught.value) == expected
        assert await a._node.fetch("a", 10) == ()

    run_hosted(test)


def test_a_query_in_a_mailbox_expires_with_its_deadline() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, _b: Any, client: meshp2p.MeshClient) -> None:
        with pytest.raises(errors.QueryTimeout, match="'hosted' did not answer within 3 s"):
            await a.query("hosted", 1, timeout=3)
        await mesh.sleep(1)
        assert await client.messages("hosted") == []
        with trio.move_on_after(1):
            await a.query("hosted", 1, timeout=5)
        (message,) = await client.messages("hosted")
        await client.send("a", 1, source="hosted", kind="Response", correlation_id=message.correlation_id)
        await mesh.sleep(6)
        assert await client.messages("hosted") == []
        assert await a._node.fetch("a", 10) == ()  # nobody waited for the answer, and it was thrown away

    run_hosted(test)


def test_a_query_to_an_agent_that_is_deregistered_ends() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, _b: Any, client: meshp2p.MeshClient) -> None:
        async def leave() -> None:
            await mesh.sleep(1)
            await client.deregister("hosted")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            with pytest.raises(errors.ConnectionLost, match="'hosted' died or left"):
                await a.query("hosted", 1, timeout=1000)
        await client.register("hosted", "host", 0)

    run_hosted(test)


def test_a_query_over_http_is_mail_for_the_same_handler_and_so_is_its_response() -> None:
    async def test(mesh: VirtualMesh, a: meshp2p.MeshNode, _b: Any, client: meshp2p.MeshClient) -> None:
        @a.handler("Query")
        async def answer(question: str, message: meshp2p.ReceivedMessage) -> Any:
            seen.append((message.correlation_id, message.kind))
            if question == "raise":
                raise ValueError("is a value")
            return LOOKS if question == "value" else None

        seen: list[Any] = []
        sent = await client.send("a", "value", source="hosted", kind="Query", correlation_id="c")
        await client.send("a", "raise", source="hosted", kind="Query", correlation_id="d")
        last = await client.send("a", "nothing", source="hosted", kind="Query")
        await mesh.wait_until(lambda: len(seen) == 3)
        await mesh.sleep(1)
        messages = sorted(await client.messages("hosted"), key=lambda one: one.correlation_id or "")
        assert [(one.kind, one.payload, one.is_error) for one in messages] == [
            ("Response", None, False),
            ("Response", LOOKS, False),
            ("Response", LOOKS, True),
        ]
        assert [one.correlation_id for one in messages] == [last, "c", "d"]
        (receipt,) = await client.message_status(sent)
        assert receipt == (await a.message_status(sent))[0]
        assert receipt.status is meshp2p.CopyStatus.ACKNOWLEDGED

    run_hosted(test)


def test_an_answer_that_looks_like_an_error_is_the_result_of_a_task() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b", capabilities=["look"])
        await mesh.wait_until_whole()

        @b.handler("TaskDelegation")
        async def work(is_error: bool) -> Any:
            if is_error:
                raise KeyError("mine")
            return LOOKS

        assert await a.delegate(False, capability="look") == LOOKS
        with pytest.raises(errors.DelegationFailed, match="KeyError: 'mine'"):
            await a.delegate(True, capability="look")
        await a.send("b", False, kind="TaskDelegation")
        await a.send("b", True, kind="TaskDelegation")
        async with a.inbox() as inbox:
            answers = [await anext(inbox), await anext(inbox)]
        assert sorted((answer.is_error, "type" in str(answer.payload)) for answer in answers) == [
            (False, True),
            (True, True),
        ]

    run(main)


def test_an_error_that_cannot_be_described_is_an_answer_all_the_same() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ValueError("it has no text")

    long = type("L" * 2000, (Exception,), {})

    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b", capabilities=["fail"])
        await mesh.wait_until_whole()

        async def fail(which: int) -> None:
            raise (Unspeakable(), long("\ud800" * 100_000))[which]

        b.handler("Query")(fail)
        b.handler("TaskDelegation")(fail)
        for which, kind in ((0, "Unspeakable"), (1, "L" * 1024)):
            with pytest.raises(errors.RemoteError) as caught:
                await a.query("b", which)
            assert caught.value.kind == kind
            with pytest.raises(errors.DelegationFailed, match=kind):
                await a.delegate(which, capability="fail")
            assert await b._node.fetch("b", 10) == ()

    run(main)


def test_a_mark_survives_the_restart_of_both_ends() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()

        @b.handler("TaskDelegation")
        async def work(_message: Any) -> None:
            done.set()
            raise ValueError("no")

        done = trio.Event()
        await a.send("b", 1, kind="TaskDelegation")
        await done.wait()
        await mesh.sleep(1)
        mesh.kill("a")
        mesh.kill("b")
        a = await mesh.restart("a")  # type: ignore[assignment]
        async with a.inbox() as inbox:
            answer = await anext(inbox)
        assert (answer.kind, answer.is_error) == ("TaskResult", True)

    run(main)
