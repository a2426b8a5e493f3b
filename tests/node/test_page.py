"""The live page in a real browser, served by real nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import pytest
import trio

from meshp2p import MeshNode, ReceivedMessage
from meshp2p.node.verdict import find_problems, judge
from meshp2p.wire.status_contract import (
    BlockedLink,
    Finding,
    HandlerStatus,
    LeaderTerm,
    NetworkStatus,
    NodeStatus,
    QueryStatus,
    StatusResponse,
    TaskStatus,
    Verdict,
    WatchStatus,
    WorkStatus,
)
from tests.browser import Tab, needs_browser, open_browser
from tests.http.meshes import calling, open_mesh, registration
from tests.node.test_revocation import until_listed
from tests.node.test_verdict import FAULTS
from tests.simulation.pictures.images import count_colours

pytestmark = [pytest.mark.slow, needs_browser]

HOSTILE = "</script><img src=x onerror=\"document.documentElement.dataset.error='ran'\"><b>&amp;"
SENTENCE = "document.getElementById('sentence').textContent"
ERROR = "document.documentElement.dataset.error || ''"


@asynccontextmanager
async def opened(node: MeshNode, directory: Path, **options: Any) -> AsyncIterator[Tab]:
    """The page of a node, once it shows the status. At the end, nothing must have failed."""
    async with open_browser(directory) as tab:
        await tab.open(f"{node.url}/", **options)
        await tab.wait_for("document.documentElement.dataset.ready")
        yield tab
        assert await tab.evaluate(ERROR) == ""
        assert tab.problems == []


async def text_of(tab: Tab, selector: str) -> list[str]:
    found: list[str] = await tab.evaluate(f"[...document.querySelectorAll({selector!r})].map((one) => one.textContent)")
    return found


@asynccontextmanager
async def running(*arguments: str, stdout: int = subprocess.DEVNULL) -> AsyncIterator[trio.Process]:
    """A command of meshp2p in a process of its own."""
    command = [sys.executable, "-m", "meshp2p", *arguments]
    process = await trio.lowlevel.open_process(command, stdout=stdout, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


def process(node: MeshNode, *arguments: str) -> AbstractAsyncContextManager[trio.Process]:
    """A node in a process of its own, which joins this one."""
    seed = str(node.addresses[0])
    return running("up", "--mesh", "default", "--no-mdns", "--port", "0", "--join", seed, *arguments)


async def test_it_shows_the_mesh_and_nothing_fails(tmp_path: Path) -> None:
    async with calling("painter-1", "writer-1", capabilities=("paint",)) as (caller, nodes):
        await caller.register("translator", capabilities=["translate"])
        await caller.heartbeat("translator", status="reading", metrics={"queue": 3})
        async with opened(nodes[0], tmp_path) as tab:
            await tab.wait_for(f"{SENTENCE}.startsWith('3 agents; both nodes agree; painter-1 leads')")
            assert await tab.evaluate("document.title") == "default – meshp2p"
            assert await text_of(tab, "#rows .name .cut") == ["painter-1", "translator", "writer-1"]
            assert await text_of(tab, "#map text") == ["painter-1", "writer-1"]
            assert len(await text_of(tab, ".graph")) >= 20
            await tab.wait_for("document.getElementById('events-note').textContent === 'as they happen'")
            await tab.wait_for("document.getElementById('events').textContent.includes('writer-1 joined')")
            await caller.register("late")
            await tab.wait_for("document.getElementById('events').textContent.includes('late joined')")
            await tab.wait_for(f"{SENTENCE}.startsWith('4 agents')")


async def test_hostile_ids_are_shown_and_do_nothing(tmp_path: Path) -> None:
    async with calling("a") as (caller, [node]):
        await caller.register(HOSTILE, capabilities=[HOSTILE])
        await caller.heartbeat("%3C%2Fscript%3E", status="x")
        response = await caller.ask("POST", "/messages/send/a", json={
            "target_instance": HOSTILE, "message_type": "Query", "payload": HOSTILE,
        })  # fmt: skip
        assert response.status_code == 200
        async with opened(node, tmp_path) as tab:
            await tab.wait_for("document.querySelectorAll('#rows .item').length === 2")
            await tab.evaluate("for (const row of document.querySelectorAll('.row')) row.click()")
            assert HOSTILE in await text_of(tab, "#rows .name .cut")
            assert await tab.evaluate("document.images.length") == 0
            assert await tab.evaluate("document.scripts.length") == 1


def poisoned(value: Any, key: str = "") -> Any:
    """Return a status in which a hostile member chose every text."""
    if isinstance(value, dict):
        return {name: poisoned(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one, key) for one in value]
    chosen = isinstance(value, str) and key not in ("at", "severity", "state", "trouble", "how", "unit", "home")
    return f"{HOSTILE}\u202e" if chosen else value


async def test_no_text_of_the_mesh_is_markup_or_reverses_a_sentence(tmp_path: Path) -> None:
    finding = Finding("x", "error", "x", "x", ("x",))
    work = WorkStatus([QueryStatus("x", "x", 1)], [TaskStatus("x", "x", "x", "x", 1)], [
        HandlerStatus("x", ("x",), "x", 1, 1, 1, 1, 1, 1, 1)
    ])  # fmt: skip
    nodes = [NodeStatus(name, "x", "alive", number, 1, True, 1, "x", 1, 1, 1, 1) for number, name in enumerate("ab")]
    network = NetworkStatus(
        2,
        nodes,
        [WatchStatus("a", "b", 1)],
        [BlockedLink("a", "b", "relayed", "x", "x")],
        [LeaderTerm("2026-01-01T00:00:00Z", "x", 1)],
    )
    event = {"at": "2026-01-01T00:00:00Z", "id": "x", "by": "x", "evidence": "x", "reason": "x", "advice": "x"}
    member = {"instance_id": "x", "home": "x", "address": "x", "capabilities": ["x"], "status": "x"}
    types = ["joined", "updated", "suspected", "recovered", "died", "left"]
    told = [{"type": f"member_{name}", "instance": {**member, "status": name}, **event} for name in types]
    told += [{"type": name, **event} for name in ("storage_failed", "peer_unreachable", "network_problem_found")]
    told += [{"type": "leader_changed", "leader": {"instance_id": "x"}, "previous_id": "y", **event}]
    async with calling("a") as (caller, [node]):
        await caller.heartbeat("a", status="x", metrics={"x": "x"})
        async with opened(node, tmp_path) as tab:
            local = cast("Any", node)._node
            made = msgspec.json.decode(b"".join(await local.make_status(has_series=True)), type=StatusResponse)
            agent = msgspec.structs.replace(made.agents[0], metrics={"x": "x"}, capabilities=("x",), profiles=("x",))
            shown = msgspec.structs.replace(
                made, verdict=Verdict("error", "x", "x"), findings=[finding], work=work, network=network, agents=[agent]
            )
            hostile = poisoned(msgspec.to_builtins(shown))

            async def canned(*_: object) -> tuple[bytes]:
                return (msgspec.json.encode(hostile),)

            local.make_status = canned
            await tab.evaluate("seriesAt = 0, poll()")
            await tab.wait_for(f"{SENTENCE}.startsWith('</script>')")
            await tab.evaluate("for (const row of document.querySelectorAll('.row')) row.click()")
            await tab.evaluate("byId('kinds').value = 'all'")
            for heard in told:
                poison = {name: one if name == "type" else poisoned(one, name) for name, one in heard.items()}
                await tab.evaluate(f"hear({json.dumps(poison)})")
            await tab.evaluate("showEvents(), lost(), refused(403, last.verdict.text)")
            text = await tab.evaluate("document.documentElement.textContent")
            assert text.count(HOSTILE) > 30
            assert "\u202e" not in text
            assert await tab.evaluate("document.images.length") == 0
            assert await tab.evaluate("document.scripts.length") == 1
            assert await tab.evaluate("document.querySelectorAll('b').length") == await tab.evaluate(
                "document.querySelectorAll('#remedy b, .graph b, #where b, #banner b').length"
            )


async def test_a_long_list_of_handlers_is_drawn_only_as_far_as_it_is_shown(tmp_path: Path) -> None:
    names = [f"c{number:02}" for number in range(50)]
    handlers = [HandlerStatus("a", tuple(names), "q", 1, 1, 1, 1, 1, 1, 1)] * 150
    work = msgspec.json.encode(WorkStatus([], [], handlers)).decode()
    async with open_mesh("a") as [node], opened(node, tmp_path) as tab:
        made = await tab.evaluate(f"""(() => {{
            let made = 0;
            const create = document.createElement;
            document.createElement = (tag) => {{ made += 1; return create.call(document, tag); }};
            showWork({work});
            document.createElement = create;
            return made;
        }})()""")
        assert made < 1000
        shown = await text_of(tab, "#handlers li")
        assert (len(shown), shown[0], shown[151]) == (200, "c00", "c01")


async def test_a_dead_agent_is_named_within_seconds(tmp_path: Path) -> None:
    async with open_mesh("a") as [node], opened(node, tmp_path) as tab, process(node, "--id", "b") as other:
        await tab.wait_for(f"{SENTENCE}.startsWith('2 agents')")
        await tab.evaluate("document.getElementById('events').dataset.cleared = 'yes'")
        os.kill(other.pid, signal.SIGKILL)
        await tab.wait_for(f"{SENTENCE}.startsWith('b died')")
        assert "its process is gone, found by a" in await tab.evaluate("document.getElementById('events').textContent")
        assert await tab.evaluate("document.getElementById('remedy').textContent") == (
            "What to do: start b again; an agent that ends on purpose leaves or deregisters first"
        )
        assert (await text_of(tab, "#rows .name .cut"))[0] == "b"
        assert (await tab.evaluate("document.title")).startswith("1 ⚠")


async def test_a_slow_handler_and_a_stuck_mailbox_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshp2p.node.verdict.UNREAD_SECONDS", 1.0)
    async with calling("a", "b", capabilities=("paint",)) as (caller, [a, b]):

        @b.handler("Query")
        async def answer(message: ReceivedMessage) -> object:
            await trio.sleep(message.payload)
            return None

        for _ in range(3):
            await a.query("b", 0, timeout=9)
        await caller.register("hosted")
        await a.send("hosted", "hello")
        async with opened(a, tmp_path) as tab, trio.open_nursery() as nursery:
            nursery.start_soon(lambda: a.query("b", 600, timeout=600))
            await tab.wait_for(f"{SENTENCE}.includes('hosted has not read 1 message')")
            await tab.wait_for(f"{SENTENCE}.includes('slow handler')")
            await tab.wait_for("document.getElementById('findings').textContent.includes('the Query handler of b')")
            assert any(line.startswith("a asked b") for line in await text_of(tab, "#open li"))
            nursery.cancel_scope.cancel()


async def test_every_finding_is_shown_with_its_remedy(tmp_path: Path) -> None:
    """The page judges nothing itself: it shows what the node found."""
    async with open_mesh("a") as [node], opened(node, tmp_path) as tab:
        local = cast("Any", node)._node
        made = msgspec.json.decode(b"".join(await local.make_status(has_series=False)), type=StatusResponse)
        shown = made

        async def canned(*_: object) -> tuple[bytes]:
            return (msgspec.json.encode(shown),)

        local.make_status = canned
        for facts, _, text, remedy in FAULTS.values():
            findings = find_problems(facts)
            shown = msgspec.structs.replace(made, findings=findings, verdict=judge(facts, findings))
            await tab.evaluate("poll()")
            await tab.wait_for(f"{SENTENCE}.includes({text!r})")
            assert remedy in await tab.evaluate("document.getElementById('remedy').textContent")


async def test_islands_and_blocked_links_are_drawn(tmp_path: Path) -> None:
    async with open_mesh("a") as [node], opened(node, tmp_path) as tab:
        local = cast("Any", node)._node
        made = msgspec.json.decode(b"".join(await local.make_status(has_series=False)), type=StatusResponse)
        nodes = [NodeStatus(name, None, "alive", 0, 0.001, agrees=True) for name in ("a", "b", "c", "d")]
        nodes += [NodeStatus(name, None, "dead", 1, None) for name in ("e", "f")]
        watches = [WatchStatus("a", "b", 0.001), WatchStatus("b", "c", 0.002), WatchStatus("c", "d", None)]
        blocked = [BlockedLink("a", "c", "relayed", "b", None), BlockedLink("d", "a", "unreachable", None, "timed out")]
        leaders = [LeaderTerm(made.at, "a", 7)]
        network = NetworkStatus(6, nodes, watches, blocked, leaders)
        encoded = msgspec.json.encode(msgspec.structs.replace(made, network=network))

        async def canned(*_: object) -> tuple[bytes]:
            return (encoded,)

        local.make_status = canned
        await tab.evaluate("poll()")
        await tab.wait_for("document.querySelectorAll('#map ellipse.island').length === 2")
        assert set(await text_of(tab, "#map text")) == {
            "a",
            "b",
            "c",
            "d",
            "e",
            "f",
            "this side",
            "not reached from here",
        }
        assert await text_of(tab, "#map .blocked title") == ["a calls c through b", "d cannot call a"]
        assert await tab.evaluate("document.querySelectorAll('#map .watch').length") == 3
        assert await tab.evaluate("document.querySelectorAll('#map .node.dead').length") == 2


async def test_the_leader_is_killed_while_the_page_is_open(tmp_path: Path) -> None:
    """The page is served by another node: it goes on, and names the new leader."""
    async with open_mesh("b") as [node], opened(node, tmp_path) as tab, process(node, "--id", "a") as leader:
        await tab.wait_for(f"{SENTENCE}.includes('a leads, epoch')")
        os.kill(leader.pid, signal.SIGKILL)
        await tab.wait_for("document.getElementById('events').textContent.includes('b leads')")
        await tab.wait_for("document.querySelector('.tag.leads:not([hidden])').parentNode.textContent.startsWith('b')")


async def test_the_serving_node_is_killed_and_comes_back(tmp_path: Path) -> None:
    async with open_mesh("z") as [other], open_browser(tmp_path) as tab:
        port = 47931
        arguments = ("--id", "a", "--port", str(port), "--data-dir", str(tmp_path / "data"))
        async with process(other, *arguments) as serving:
            await other.wait_for_members(2)
            await tab.open(f"http://127.0.0.1:{port}/")
            await tab.wait_for(f"{SENTENCE}.startsWith('2 agents')")
            os.kill(serving.pid, signal.SIGKILL)
            banner = "document.getElementById('banner')"
            await tab.wait_for(f"!{banner}.hidden && {banner}.textContent.startsWith('a does not answer')")
            links = await tab.evaluate(f"[...{banner}.querySelectorAll('a')].map((one) => one.href)")
            assert links == [f"{other.url}/"]
        async with process(other, *arguments):
            await tab.wait_for(f"{banner}.hidden")
            await tab.wait_for("document.getElementById('events-note').textContent === 'as they happen'")
        assert await tab.evaluate(ERROR) == ""
        assert all("net::ERR" in problem for problem in tab.problems)  # the browser's own words about a lost connection


async def test_a_test_query_and_a_notification_are_sent(tmp_path: Path) -> None:
    async with calling("a", "b") as (caller, [a, b]):

        @b.handler("Query")
        async def answer(message: ReceivedMessage) -> object:
            return {"heard": message.payload}

        await caller.register("hosted")
        async with opened(a, tmp_path) as tab:

            async def send(name: str, kind: str, payload: str) -> str:
                await tab.evaluate(f"""(() => {{
                    const named = (item) => item.textContent.startsWith({name!r});
                    const item = [...document.querySelectorAll('.item')].find(named);
                    if (item.querySelector('.detail').hidden) item.querySelector('.row').click();
                    item.querySelector('select').value = {kind!r};
                    item.querySelector('form input').value = {payload!r};
                    window.outcome = item.querySelector('form + pre');
                    outcome.textContent = '';
                    item.querySelector('form').requestSubmit();
                }})()""")
                told: str = await tab.wait_for("outcome.textContent !== 'Sending…' && outcome.textContent")
                return told

            await tab.wait_for("document.querySelectorAll('.item').length === 3")
            assert (await send("b", "Query", '"ping"')).endswith('{\n  "heard": "ping"\n}')
            assert "is no JSON" in await send("b", "Query", "ping")
            assert "It waits in the mailbox of hosted" in await send("hosted", "Notification", '{"x": 1}')
            [message] = (await caller.get("/messages/hosted"))["messages"]
            assert message["payload"] == {"x": 1}
        assert {one.id for one in a.members()} == {"a", "b", "hosted"}  # the page's own agent is gone


async def test_the_agent_of_a_page_does_not_lead(tmp_path: Path) -> None:
    async with calling("x", "y") as (caller, [x, _]), open_browser(tmp_path) as tab:
        assert (await caller.get("/registry/leader"))["leader_id"] == "x"
        await tab.open(f"{x.url}/")
        await tab.wait_for("document.documentElement.dataset.ready")
        await tab.evaluate("void send('y', 'Query', 1).catch(() => {})")  # y has no handler: it waits for 10 s
        await x.wait_for_members(3)
        assert [member.id[:6] for member in x.members()] == ["x", "y", "~page-"]
        assert (await caller.get("/registry/leader"))["leader_id"] == "x"


async def test_a_page_that_is_closed_leaves_no_agent_behind(tmp_path: Path) -> None:
    async with calling("a", "b") as (caller, [a, _]), open_browser(tmp_path) as tab:
        await tab.open(f"{a.url}/")
        await tab.wait_for("document.documentElement.dataset.ready")
        await tab.evaluate("void send('b', 'Query', 1).catch(() => {})")  # b has no handler: it waits for 10 s
        await a.wait_for_members(3)
        await tab.ask("Page.navigate", url="about:blank")
        await until_listed(a, "a", "b")
        status = await caller.get("/status")
        assert "dead_agent" not in {finding["name"] for finding in status["findings"]}


async def test_the_keyboard_leads_everywhere(tmp_path: Path) -> None:
    async with calling("a", "b") as (caller, [a, _]):
        await caller.register("hosted", capabilities=["sing"])
        async with opened(a, tmp_path) as tab:
            await tab.wait_for("document.querySelectorAll('.item').length === 3")
            await tab.press("/")
            assert await tab.evaluate("document.activeElement.id") == "filter"
            for key in "sing":
                await tab.press(key)
            await tab.wait_for("document.querySelectorAll('.item').length === 1")
            await tab.press("Escape")
            await tab.wait_for("document.querySelectorAll('.item').length === 3")
            await tab.evaluate("document.querySelector('.row').focus()")
            await tab.ask(
                "Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
            )
            assert await tab.evaluate("document.querySelector('.row').getAttribute('aria-expanded')") == "true"
            await tab.press("5")
            await tab.wait_for("document.getElementById('network').getBoundingClientRect().top < 300")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_it_fits_the_screen_in_both_themes(tmp_path: Path, scheme: str, width: int) -> None:
    long = "x" * 128
    async with calling("a", long) as (caller, [a, _]):
        await caller.register(f"hosted-{long[:100]}", capabilities=[long] * 3)
        async with opened(a, tmp_path, width=width, height=844, scheme=scheme) as tab:
            await tab.wait_for("document.querySelectorAll('.item').length === 3")
            await tab.evaluate("document.querySelector('.row').click()")
            assert await tab.evaluate("document.documentElement.scrollWidth") == width
            colours = count_colours(await tab.screenshot())
            ground = max(colours, key=lambda colour: colours[colour])
            assert (sum(ground) > 600) == (scheme == "light")
            assert len(colours) > 50


async def test_two_hundred_members_are_listed(tmp_path: Path) -> None:
    async with open_mesh("a", "b", "c") as nodes, httpx.AsyncClient(trust_env=False) as client:
        for number in range(197):
            body = registration(f"agent-{number:03}")
            await client.post(f"{nodes[number % 3].url}/registry/register", json=body)
        async with opened(nodes[0], tmp_path) as tab:
            await tab.wait_for(f"{SENTENCE}.startsWith('200 agents')")
            assert await tab.evaluate("document.querySelectorAll('.item').length") == 60
            await tab.evaluate("document.getElementById('all').click()")
            assert await tab.evaluate("document.querySelectorAll('.item').length") == 200
