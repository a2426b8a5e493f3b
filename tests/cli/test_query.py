"""``meshp2p query``: a question to an agent, and its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshp2p import MeshNode, ReceivedMessage
from meshp2p.cli import ask, messages
from meshp2p.errors import Unreachable
from meshp2p.node.config import NodeConfig
from tests.cli.shells import Shell
from tests.http.meshes import open_mesh


@asynccontextmanager
async def answering(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[tuple[Shell, MeshNode]]:
    """A node whose agent answers queries."""
    async with open_mesh("echo") as (node,):

        @node.handler("Query")
        async def answer(message: ReceivedMessage) -> Any:
            if message.payload == "boom":
                raise ValueError("no \x1b[31m boom")
            return {"said": message.payload, "to": message.source}

        yield Shell(node.url, capsys), node


async def test_an_agent_answers_one_that_is_registered_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    async with answering(capsys) as (sh, node):
        code, out, err = await sh.run("query", "echo", '{"a": "\\u202e"}')
        assert (code, err) == (0, "")
        assert out.startswith('{"said":{"a":"\\u202e"},"to":"~query-')
        assert [member.id for member in node.members()] == ["echo"]
        told = await sh.json("query", "echo", "1", "--from", "echo")
        assert told == {"answer": {"said": 1, "to": "echo"}}


# A heartbeat is cancelled while httpx sends its body.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*ByteStream.__aiter__:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Async generator .*ByteStream.__aiter__:ResourceWarning")
async def test_errors_name_the_cause_and_leave_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_HEARTBEAT_SECONDS", 0.01)
    async with answering(capsys) as (sh, node):
        for words, code, told in (
            (("echo", '"boom"'), 1, "'echo' answered with an error: ValueError: no \\x1b[31m boom"),
            (("ecko", "1"), 1, "no agent 'ecko' is in the mesh: did you mean echo?"),
            (("echo", "1", "--from", "nobody"), 1, "no agent 'nobody' is in the mesh"),
            (("echo", "x"), 2, "PAYLOAD is not JSON"),
        ):
            found, out, err = await sh.run("query", *words)
            assert (found, out, told in err) == (code, "", True), err
            assert err.removesuffix("\n").isprintable()
        assert [member.id for member in node.members()] == ["echo"]


async def test_an_agent_that_does_not_answer_is_waited_for_only_so_long(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_mesh("mute") as (node,):
        code, out, err = await Shell(node.url, capsys).run("query", "mute", "1", "--timeout", "0.05")
        assert (code, out) == (1, "")
        assert "'mute' did not answer within 0.05 s: it may read no messages, or have no handler for queries" in err
        assert [member.id for member in node.members()] == ["mute"]


async def test_a_command_that_finds_only_a_node_of_another_mesh_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find_none(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return []

    async def count_none(_: str) -> int:
        return 0

    monkeypatch.setattr(ask, "find_announced", find_none)
    monkeypatch.setattr(ask, "count_secured", count_none)
    async with open_mesh("a") as (node,):
        monkeypatch.setattr(ask, "DEFAULT_PORT", node.addresses[0].port)
        with pytest.raises(Unreachable, match=r"a node of another mesh is at .* \(`meshp2p meshes` lists them\)"):
            await ask.find_nodes(NodeConfig(mesh="somewhere-else"), enough=1)
