"""What is printed: no text from elsewhere reaches a terminal as it is."""

from __future__ import annotations

import io
import json
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshp2p import MeshClient
from meshp2p.cli import output
from meshp2p.cli.output import printable, progress, to_json_line, warn
from tests.cli.shells import Shell
from tests.http.meshes import open_mesh

HOSTILE = "\x1b]0;owned\x07\x9b2J\u202e\u2066\x7f\r\n\u200bü"
"""Escape sequences, C1 controls, bidirectional overrides, and a character that is right."""


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_for_a_terminal_says_the_same(value: Any) -> None:
    line = to_json_line(value)
    assert line.isprintable()
    assert json.loads(line) == value


@given(st.text())
def test_text_for_a_terminal_is_printable(text: str) -> None:
    assert printable(text).isprintable()


def test_warnings_are_printable_too(capsys: pytest.CaptureFixture[str]) -> None:
    warn(HOSTILE)
    told = capsys.readouterr().err
    assert told.removesuffix("\n").isprintable()
    assert told.endswith("\\u200bü\n")
    warn("x" * 1_000_000)
    assert len(capsys.readouterr().err) < 5000


async def test_every_cell_of_the_table_is_escaped_and_cut(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_mesh("node") as (node,), MeshClient(node.url) as client:
        sh = Shell(node.url, capsys)
        long = "x" * 1000
        await client.register("~" + HOSTILE, HOSTILE, 1, [HOSTILE, long], [long])
        await client.heartbeat("~" + HOSTILE, HOSTILE, {HOSTILE: long})
        code, out, _ = await sh.run("agents")
        assert code == 0
        titles, first, second = out.splitlines()
        assert titles.split("  ")[1].strip() == "ID"
        assert first.startswith("* node")
        assert second.startswith("  ~\\x1b]0;owned\\x07\\x9b2J")
        assert second.isprintable()
        assert len(second) < 8 * 50
        listed = (await sh.json("agents"))["instances"]
        assert listed[1]["instance_id"] == "~" + HOSTILE
        assert listed[1]["agent_profiles"] == [long]
        code, out, err = await sh.run("messages", "no such " + HOSTILE)
        assert (code, out) == (1, "")
        assert err.removesuffix("\n").isprintable()


async def test_agents_have_a_column_for_each_thing(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_mesh("node") as (node,), MeshClient(node.url) as client:
        await client.register("agent", "h", 1, ["paint", "draw"], ["artist"])
        await client.heartbeat("agent", "busy", {"queue": 3})
        await node.set_status("idle")
        _, out, _ = await Shell(node.url, capsys).run("agents")
        titles, agent, own = (line.split() for line in out.splitlines())
        assert titles == ["ID", "STATE", "PLACE", "LAST", "HEARTBEAT", "CAPABILITIES", "PROFILES", "STATUS", "METRICS"]
        assert agent[:4] == ["*", "agent", "alive", "h:1"]
        assert agent[5:] == ["paint,", "draw", "artist", "busy", '{"queue":3}']
        assert own[0] == "node"
        assert own[4:] == ["-", "-", "idle", "-"]


class Screen(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, drawn = Screen(), threading.Event()

    def what() -> str:
        if "counting \\x1b" in screen.getvalue():
            drawn.set()
        return f"counting {HOSTILE}"

    monkeypatch.setattr(output, "_REDRAW_SECONDS", 0.001)
    monkeypatch.setattr(sys, "stderr", screen)
    with progress(what):
        assert drawn.wait(60)
    text = screen.getvalue()
    assert text.endswith("\r\x1b[K")
    assert text.replace("\r\x1b[K", "").isprintable()


def test_progress_is_not_shown_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("counting"):
        pass
    assert capsys.readouterr().err == ""
