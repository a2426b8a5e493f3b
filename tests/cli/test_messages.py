"""The commands for messages: what they accept, print and return, against a real node."""

from __future__ import annotations

import io

import pytest

from meshp2p import MemberDied, MeshClient, ProtocolConfig
from meshp2p.cli import main
from tests.cli.shells import Shell, shell
from tests.http.meshes import open_mesh


async def test_a_message_is_sent_read_acknowledged_and_its_status_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async with shell(capsys) as sh:
        code, out, _ = await sh.run("send", "--from", "node", "--to", "agent", '{"b": 1, "a": "ü"}', "--kind", "Query")
        message_id = out.strip()
        assert code == 0
        code, out, _ = await sh.run("messages", "agent")
        assert code == 0
        assert out.startswith(f"{message_id}  20")
        assert out.endswith('Z  node  Query  {"b":1,"a":"ü"}\n')
        code, out, _ = await sh.run("status", message_id)
        assert (code, out.split()[:2]) == (0, ["agent", "delivered"])
        assert (await sh.run("messages", "agent", "--ack"))[1].startswith(message_id)
        assert await sh.run("messages", "agent", "--ack", "--wait", "0.01") == (0, "", "")
        assert (await sh.run("status", message_id))[1].split()[:2] == ["agent", "acknowledged"]


async def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    async with shell(capsys) as sh:
        sent = await sh.json(
            "send", "--from", "agent", "--to", "node", "7", "--kind", "Custom:Paid", "--correlation-id", "c"
        )
        (message,) = (await sh.json("messages", "node", "--limit", "1", "--wait", "60"))["messages"]
        assert (message["kind"], message["payload"], message["correlation_id"]) == ("Paid", 7, "c")
        assert (await sh.json("messages", "node", "--after", message["id"]))["messages"] == []
        status = await sh.json("status", sent["id"])
        assert [receipt["recipient"] for receipt in status["receipts"]] == ["node"]


async def test_a_message_goes_to_all_others_only_if_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    async with shell(capsys) as sh:
        code, out, _ = await sh.run("send", "--from", "agent", "--all", "7")
        assert code == 0
        assert (await sh.run("status", out.strip()))[1].split()[:2] == ["node", "delivered"]


async def test_who_is_there_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    async with shell(capsys) as sh:
        agent, node = (await sh.json("agents"))["instances"]
        assert (agent["instance_id"], agent["state"], agent["addresses"], agent["is_leader"]) == (
            "agent",
            "alive",
            [],
            True,
        )
        assert (node["instance_id"], node["home"], node["metrics"], node["epoch"]) == ("node", "node", None, 0)
        assert (await sh.json("leader"))["instance_id"] == "agent"
        assert (await sh.run("leader"))[1].startswith("agent (epoch ")


async def test_a_payload_is_read_from_standard_input_where_it_is_a_dash(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'["from a file"]\n')))
    async with shell(capsys) as sh:
        assert (await sh.run("send", "--from", "node", "--to", "agent", "-"))[0] == 0
        assert '["from a file"]' in (await sh.run("messages", "agent"))[1]


async def test_what_a_terminal_would_obey_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    async with shell(capsys) as sh:
        await sh.run("send", "--from", "\x1b[31m", "--to", "agent", '"a\u202eb"')
        _, out, _ = await sh.run("messages", "agent")
        assert out.isascii()
        assert "\x1b" not in out


async def test_a_message_waits_for_an_agent_that_is_held_dead(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ProtocolConfig(instance_timeout=1.0)
    async with open_mesh("node", protocol=quick) as (node,), MeshClient(node.url) as client:
        sh = Shell(node.url, capsys)
        events = node.events()
        await client.register("agent", "h", 1)
        while not isinstance(await anext(events), MemberDied):
            pass
        assert (await sh.run("send", "--from", "node", "--to", "agent", "1"))[0] == 1
        code, out, _ = await sh.run("send", "--from", "node", "--to", "agent", "1", "--if-absent", "queue")
        message_id = out.strip()
        assert code == 0
        assert (await sh.run("status", message_id))[1].split()[:2] == ["agent", "queued"]
        await client.register("agent", "h", 1)
        assert (await sh.run("messages", "agent"))[1].startswith(message_id)


async def test_what_the_node_refuses_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async with shell(capsys) as sh:
        code, out, err = await sh.run("send", "--from", "node", "--to", "agnt", "1")
        assert (code, out, err) == (1, "", "meshp2p: no agent 'agnt' is in the mesh: did you mean agent?\n")
        code, out, err = await sh.run("messages", "agnt")
        assert (code, out, err) == (1, "", "meshp2p: no agent 'agnt' is in the mesh: did you mean agent?\n")
        code, out, err = await sh.run("status", "none")
        assert (code, out, err) == (1, "", "meshp2p: message 'none': no node knows it, or remembers it any longer\n")
        code, _, err = await sh.run("messages", "agent", "--after", "x")
        assert (code, "after='x'" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["send", "--from", "a", "--to", "b", "hello"], "PAYLOAD is not JSON"),
        (["send", "--from", "a", "--to", "b", ""], "PAYLOAD is empty"),
        (["send", "--from", "a", "--to", "b", "1e999"], "PAYLOAD holds a number that no double holds: '1e999'"),
        (["send", "--from", "a", "--to", "b", "1", "--kind", "query"], "--kind 'query': expected one of Query, "),
        (["send", "--from", "a", "--to", "b", "1", "--kind", "Custom"], "or Custom:NAME"),
        (["send", "--from", "a", "--to", "b", "1", "--kind", "Query:x"], "--kind 'Query:x'"),
        (["send", "--from", "a", "--to", "b", "1", "--kind", "Custom:Query"], "--kind 'Custom:Query'"),
        (["send", "--from", "a", "--all", "1", "--if-absent", "queue"], "--if-absent: expected only with --to"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_before_a_node_is_asked(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--node", "http://127.0.0.1:1"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("meshp2p: ")
    assert expected in printed.err


@pytest.mark.parametrize(
    "words",
    [
        ["send", "1"],
        ["send", "1", "--from", "a"],
        ["send", "1", "--from", "a", "--to", "b", "--all"],
        ["send", "1", "--from", "\udcff"],
        ["messages"],
        ["status"],
    ],
    ids=ascii,
)
def test_what_argparse_refuses_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
