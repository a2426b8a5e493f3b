"""Ten faults, and how long it takes until the live page, ``meshp2p top`` and ``meshp2p doctor`` name each.

``MESHP2P_WRITE_FAULTS=1 pytest tests/node/test_ten_faults.py`` writes the table in ``docs/page.md`` anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio

import meshp2p
from meshp2p import MeshNode, ReceivedMessage, StoreFull
from meshp2p.node.verdict import UNREAD_SECONDS
from tests.browser import Tab, needs_browser, open_browser
from tests.http.meshes import QUICK
from tests.node.test_page import process, running
from tests.node.test_revocation import revoke
from tests.node.users import Users

pytestmark = [pytest.mark.slow, pytest.mark.long, needs_browser]

PAGE = Path(__file__).parents[2] / "docs" / "page.md"
SEEN = "document.getElementById('verdict').textContent"
WATCHERS = ("page", "top", "doctor")
WRITES = os.environ.pop("MESHP2P_WRITE_FAULTS", "")  # the commands would refuse the variable


class Bench:
    """Three nodes, of which the page of "a" is open, and what a fault starts."""

    def __init__(self, nodes: list[MeshNode], stack: AsyncExitStack, nursery: trio.Nursery) -> None:
        self.nodes = nodes
        self.nursery = nursery
        self._stack = stack

    async def start(self, *arguments: str) -> trio.Process:
        """Run a node in a process of its own."""
        return await self._stack.enter_async_context(process(self.nodes[0], *arguments))


class Prepared:
    """A fault that is ready: ``make`` makes it, at this time, or at once."""

    def __init__(self, make: Callable[[], object], at: float = 0.0) -> None:
        self.make = make
        self.at = at


def inner(node: MeshNode) -> Any:
    return cast("Any", node)._node


async def dead_agent(bench: Bench) -> Prepared:
    agent = await bench.start("--id", "d")
    await bench.nodes[0].wait_for_members(4)
    return Prepared(agent.kill)


async def disagreeing_views(bench: Bench) -> Prepared:
    def disagree() -> None:  # what heals by itself within a second cannot be shown to last
        inner(bench.nodes[1])._machine._state.members.view ^= 1

    return Prepared(disagree)


async def stuck_mailbox(bench: Bench) -> Prepared:
    await bench.nodes[1].send("c", "hello")
    return Prepared(lambda: None, trio.current_time() + UNREAD_SECONDS)


async def one_way_link(bench: Bench) -> Prepared:
    _, b, c = bench.nodes
    datagrams, deaf = inner(b)._driver._datagrams, c.addresses[0]
    send_well = datagrams.send_nowait

    def cut() -> None:
        datagrams.send_nowait = lambda data, address: None if address == deaf else send_well(data, address)

    return Prepared(cut)


async def wrong_clock(bench: Bench) -> Prepared:
    reporter = inner(bench.nodes[1]).answering.report.__self__._reporter
    right = reporter._wall_ms
    return Prepared(lambda: setattr(reporter, "_wall_ms", lambda: right() + 3_600_000))


async def duplicate_id(bench: Bench) -> Prepared:
    return Prepared(lambda: bench.nursery.start_soon(bench.start, "--id", "b"))


async def full_disk(bench: Bench) -> Prepared:
    b = bench.nodes[1]

    async def refuse(*_: object) -> None:
        raise StoreFull("no space left on device")

    async def send() -> None:
        inner(b)._driver._stores._write_batches = refuse
        with pytest.raises(StoreFull):
            await b.send("c", "hello")

    return Prepared(lambda: bench.nursery.start_soon(send))


async def another_mesh(bench: Bench) -> Prepared:
    return Prepared(lambda: bench.nursery.start_soon(bench.start, "--id", "stranger", "--mesh", "another"))


async def slow_handler(bench: Bench) -> Prepared:
    a, b, _ = bench.nodes

    @b.handler("Query")
    async def answer(message: ReceivedMessage) -> object:
        await trio.sleep(cast("float", message.payload))
        return None

    for _ in range(3):
        await a.query("b", 0.1, timeout=9)
    return Prepared(lambda: bench.nursery.start_soon(lambda: a.query("b", 600, timeout=600)))


FAULTS: dict[str, tuple[Callable[[Bench], Awaitable[Prepared]], str, str]] = {
    "dead agent": (dead_agent, "d died", "the process of an agent is killed"),
    "disagreeing views": (disagreeing_views, "the nodes disagree", "a node lists something else"),
    "stuck mailbox": (stuck_mailbox, "c has not read", f"a message is unread, {UNREAD_SECONDS:g} s after it was sent"),
    "one-way link": (one_way_link, "packets from b do not reach c", "UDP packets of one node to another are lost"),
    "wrong clock": (wrong_clock, "the clock of b is 60 min", "the clock of a node is set by an hour"),
    "duplicate id": (duplicate_id, "uses the id b", "a second process is started with the id of another"),
    "full disk": (full_disk, "b stores nothing on disk", "the disk of a node is full, and a message is sent"),
    "another mesh": (another_mesh, "another mesh is on this network", "a node of another mesh is started"),
    "slow handler": (slow_handler, "the Query handler of b has worked", "a handler that took 0.1 s hangs"),
    "revoked machine": (dead_agent, "was revoked", "a machine is revoked"),
}


async def watch_page(tab: Tab, text: str) -> None:
    await tab.wait_for(f"{SEEN}.includes({text!r})", 60.0)


async def watch_top(process: trio.Process, text: str) -> None:
    """Return when a line of ``top --json`` has the text."""
    assert process.stdout is not None
    seen = b""
    async for piece in process.stdout:
        *lines, seen = (seen + piece).split(b"\n")
        if any(text.encode() in line for line in lines):
            return
    raise AssertionError("top ended")


async def watch_doctor(arguments: Sequence[str], text: str) -> None:
    """Run the doctor until it names the fault."""
    command = [sys.executable, "-m", "meshp2p", "doctor", "--json", *arguments]
    while True:
        done = await trio.run_process(command, check=False, capture_stdout=True)
        if any(text in check["text"] for check in json.loads(done.stdout)["checks"]):
            return


async def measure(
    tab: Tab, node: MeshNode, fault: Prepared, text: str, mesh: str, seed: Sequence[str]
) -> dict[str, float]:
    """Make the fault, and return how long it takes until each watcher names it, in seconds."""
    took: dict[str, float] = {}
    url = f"127.0.0.1:{node.addresses[0].port}"
    async with running("top", "--json", "--node", url, "--mesh", mesh, stdout=subprocess.PIPE) as top:
        assert top.stdout is not None
        await top.stdout.receive_some()  # it shows the mesh already

        async def note(name: str, watching: Awaitable[None]) -> None:
            await watching
            took[name] = trio.current_time() - began

        await trio.sleep_until(fault.at)
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                began = trio.current_time()
                fault.make()
                nursery.start_soon(note, "page", watch_page(tab, text))
                nursery.start_soon(note, "top", watch_top(top, text))
                nursery.start_soon(note, "doctor", watch_doctor(["--mesh", mesh, *seed], text))
    return took


@asynccontextmanager
async def open_three(tmp_path: Path, **options: Any) -> AsyncIterator[list[MeshNode]]:
    """Nodes that have watched one another for a while, on disk."""
    async with AsyncExitStack() as stack:
        nodes: list[MeshNode] = []
        for name in "abc":
            join = [str(nodes[0].addresses[0])] if nodes else []
            data = tmp_path / f"data-{name}"
            given = {"id": name, "port": 0, "mdns": False, "join": join, "protocol": QUICK, "data_dir": data, **options}
            nodes.append(await stack.enter_async_context(meshp2p.open_node(in_loop=True, **given)))
        for node in nodes:
            await node.wait_for_members(3)
            await node.wait_for_leader()
        yield nodes


async def measure_fault(tmp_path: Path, name: str) -> dict[str, float]:
    make, text, _ = FAULTS[name]
    async with (
        open_three(tmp_path) as nodes,
        open_browser(tmp_path / "browser") as tab,
        AsyncExitStack() as stack,
        trio.open_nursery() as nursery,
    ):
        fault = await make(Bench(nodes, stack, nursery))
        await tab.open(f"{nodes[0].url}/")
        await tab.wait_for("document.documentElement.dataset.ready")
        await trio.sleep(3)
        took = await measure(tab, nodes[0], fault, text, "default", ["--join", str(nodes[0].addresses[0])])
        nursery.cancel_scope.cancel()
    return took


async def measure_revocation(tmp_path: Path, users: Users) -> dict[str, float]:
    root_key, anna = users.found("anna")
    lost = users.invite(anna, "lost")
    options: dict[str, Any] = {"mesh": "studio", "port": 0, "mdns": False, "in_loop": True, "protocol": QUICK}
    users.act("anna")
    async with (
        meshp2p.open_node(id="a", **options) as node,
        open_browser(tmp_path / "browser") as tab,
        trio.open_nursery() as nursery,
    ):
        users.act("lost")

        async def live() -> None:
            with pytest.raises(meshp2p.Revoked):
                async with meshp2p.open_node(id="d", join=[str(node.addresses[0])], **options):
                    await trio.sleep_forever()

        nursery.start_soon(live)
        await node.wait_for_members(2)
        users.act("anna")
        url = f"127.0.0.1:{node.addresses[0].port}"
        await tab.open(f"http://{url}/")
        await tab.wait_for("document.documentElement.dataset.ready")
        await trio.sleep(3)
        fault = Prepared(lambda: revoke(root_key, anna, lost))
        took = await measure(tab, node, fault, FAULTS["revoked machine"][1], "studio", ["--join", url])
        nursery.cancel_scope.cancel()
    return took


def shown_table() -> dict[str, list[str]]:
    """The rows of the table in the docs, by fault."""
    table = re.search(r"<!-- faults -->\n\n(.*?)\n\n<!-- end of faults -->", PAGE.read_text(), re.DOTALL)
    assert table is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def write_row(name: str, took: dict[str, float]) -> None:
    rows = shown_table()
    rows[name] = [FAULTS[name][2], *(f"{took[watcher]:.1f} s" for watcher in WATCHERS)]
    lines = ["| fault | how it is made | page | `top` | `doctor` |", "|---|---|---|---|---|"]
    lines += [f"| {one} | {' | '.join(rows[one])} |" for one in FAULTS if one in rows]
    text = "<!-- faults -->\n\n" + "\n".join(lines) + "\n\n<!-- end of faults -->"
    PAGE.write_text(
        re.sub(r"<!-- faults -->.*<!-- end of faults -->", lambda _: text, PAGE.read_text(), flags=re.DOTALL)
    )


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_is_named_by_the_page_by_top_and_by_the_doctor(
    tmp_path: Path, users: Users, name: str
) -> None:
    took = await (measure_revocation(tmp_path, users) if name == "revoked machine" else measure_fault(tmp_path, name))
    assert took.keys() == set(WATCHERS)
    if WRITES:
        write_row(name, took)


def test_the_page_has_a_row_for_each_fault() -> None:
    assert list(shown_table()) == list(FAULTS)
