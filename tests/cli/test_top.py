"""``meshp2p top``: the verdict and the agents, once, as JSON, and in place on a terminal."""

from __future__ import annotations

import os
import re
import signal
import sys

import msgspec
import pytest
import trio

from meshp2p import MeshClient
from meshp2p.cli import top
from meshp2p.cli.ask import read_status
from meshp2p.cli.top import lines_of
from meshp2p.wire.status_contract import Finding, StatusResponse, Verdict
from tests.cli.shells import Shell
from tests.cli.test_output import HOSTILE
from tests.http.meshes import open_mesh
from tests.processes.mesh_processes import ROOT


async def status_of(url: str) -> StatusResponse:
    async with MeshClient(url) as client:
        return await read_status(client)


async def test_it_is_printed_once_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_mesh("a", "b") as nodes, MeshClient(nodes[1].url) as client:
        await client.register("painter", "h", 1, ["paint"], ["artist"])
        await client.heartbeat("painter", "busy")
        await nodes[0].wait_for_members(3)
        sh = Shell(nodes[0].url, capsys)
        for words in (("top",), ("top", "--once")):
            code, out, err = await sh.run(*words)
            assert (code, err) == (0, "")
            lines = out.splitlines()
            assert lines[0].startswith("ok: 3 agents; both nodes agree; a leads, epoch ")
            assert lines[2].startswith("open mesh 'default' as a sees it at 20")
            assert lines[4].split()[:3] == ["AGENT", "STATE", "TROUBLE"]
            assert [line.split()[0] for line in lines[5:]] == ["*", "b", "painter"]
            assert lines[7].split()[:6] == ["painter", "alive", "-", "busy", "paint", "b"]
        told = await sh.json("top", "--once")
        assert told["verdict"]["severity"] == "ok"
        assert told.keys() == set(StatusResponse.__struct_fields__)


async def test_what_is_wrong_comes_first_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_mesh("a") as (node,):
        status = await status_of(node.url)
        found = [Finding(f"kind_{number}", "error", f"{number} {HOSTILE}", f"do {HOSTILE}") for number in range(9)]
        [agent] = status.agents
        agent = msgspec.structs.replace(
            agent, findings=("stuck_mailbox",), status=HOSTILE, pending=7, oldest_unread=90.0
        )
        verdict = Verdict("error", f"0 {HOSTILE} (also: more)", f"do {HOSTILE}")
        wrong = msgspec.structs.replace(status, verdict=verdict, findings=found, agents=[agent], agents_total=1200)
        lines = lines_of(wrong)
        assert all(line.isprintable() for line in lines)
        assert lines[0].startswith("error: 0 \\x1b]0;owned")
        assert lines[1].startswith("  -> do \\x1b")
        assert [line[:8] for line in lines[2:12:2]] == [f"error: {number}" for number in range(1, 6)]
        assert lines[12] == "and 3 more findings: --json shows all"
        assert "stuck mailbox" in lines[-2]
        assert re.split(r" {2,}", lines[-2])[-2:] == ["7", "90 s"]
        assert lines[-1] == "and 1199 more agents, without more trouble"

        async def read(client: MeshClient) -> StatusResponse:
            return wrong

        monkeypatch.setattr(top, "read_status", read)
        assert (await Shell(node.url, capsys).run("top", "--once"))[0] == 1
        assert (await Shell(node.url, capsys).run("top"))[0] == 0


def test_the_screen_has_as_much_as_fits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "8")
    top._draw(["error: " + "x" * 20 + " y", "  -> z"], [f"{number} {'t' * 40}" for number in range(20)], "error")
    drawn = capsys.readouterr().out
    assert drawn.startswith("\x1b[?25l\x1b[H\x1b[31;1merror: ")
    lines = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", drawn).splitlines()
    assert lines == [
        "error: xxxxxxxxxxxxxxxxxxxx y",
        "  -> z",
        *(f"{n} {'t' * 27}" for n in range(4)),
        "16 more lines: --once prints a"[:29],
    ]
    monkeypatch.setenv("NO_COLOR", "1")
    top._draw(["ok: " + "word " * 20], [], "ok")
    drawn = capsys.readouterr().out
    assert "\x1b[32m" not in drawn
    assert drawn.count("\n    word") >= 2


@pytest.mark.parametrize(("columns", "lines"), [("1", "24"), ("80", "1"), ("1", "1")])
def test_a_terminal_of_no_size_is_drawn_on(
    columns: str, lines: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", lines)
    top._draw(["error: it is down", "  -> start it"], ["agent"] * 50, "error")
    drawn = capsys.readouterr().out
    assert "error: it is down" in drawn
    assert drawn.count("\n") < max(4, int(lines))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_on_a_terminal_it_is_refreshed_in_place_until_it_is_ended(ending: signal.Signals) -> None:
    """A real process with a terminal: it draws at least twice, and gives back the cursor at the end."""
    async with open_mesh("a") as (node,):
        ours, theirs = os.openpty()
        command = [sys.executable, "-m", "meshp2p", "top", "--node", node.url, "--interval", "0.1"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "LINES": "20"}
        with trio.fail_after(60):
            process = await trio.lowlevel.open_process(command, stdout=theirs, stderr=theirs, env=environment)
            os.close(theirs)
            text = b""
            async with trio.lowlevel.FdStream(ours) as screen:
                while text.count(b"\x1b[H") < 3:
                    text += await screen.receive_some()
                process.send_signal(ending)
                while not text.endswith(b"\x1b[?25h"):
                    text += await screen.receive_some()
                assert await process.wait() == 130
        assert b"ok: 1 agent; this is the only node; a leads" in text
