"""The examples of docs/examples run, end by themselves, and say what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import meshp2p

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = ROOT / "docs" / "examples.md"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MESHP2P_")} | {
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
}


async def run_example(*command: str, directory: Path) -> str:
    """What it prints; it must end with exit status 0 and nothing on standard error."""
    with trio.fail_after(100):
        result = await trio.run_process(
            [*command], cwd=directory, env=ENVIRONMENT, capture_stdout=True, capture_stderr=True, check=False
        )
    assert (result.returncode, result.stderr.decode()) == (0, ""), result.stdout.decode() + result.stderr.decode()
    return str(result.stdout.decode())


async def run_program(name: str, directory: Path) -> str:
    return await run_example(sys.executable, "-W", "error", str(EXAMPLES / name), directory=directory)


def shown_for(name: str) -> str:
    """What the page says that the example prints: the text block after its listing."""
    found = re.search(
        rf"literalinclude}} examples/{re.escape(name)}\n.*?```text\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert found is not None, f"{PAGE}: no listing of {name} with a text block after it"
    return found[1]


def test_the_page_lists_each_example() -> None:
    listed = re.findall(r"literalinclude} examples/(\S+)\n", PAGE.read_text())
    assert sorted(listed) == sorted(path.name for path in EXAMPLES.iterdir() if path.is_file())


@pytest.mark.parametrize("name", ["two_agents.py", "plain_script.py", "web_agent.py"])
async def test_an_example_prints_what_the_page_shows(name: str, tmp_path: Path) -> None:
    assert await run_program(name, tmp_path) == shown_for(name)


async def test_a_queue_of_work_survives_the_death_of_its_leader(tmp_path: Path) -> None:
    printed = (await run_program("work_queue.py", tmp_path)).splitlines()
    killed = printed[[line.startswith("killed ") for line in printed].index(True)].removeprefix("killed ")
    *_, leads_now, total = printed
    assert re.fullmatch(r"agent-\d leads; \d+ of 12 are done", leads_now)
    assert not leads_now.startswith(killed)
    assert total == f"sum of squares: {sum(n * n for n in range(12))}" == shown_for("work_queue.py").splitlines()[-1]


async def test_an_agent_without_python_asks_one_that_embeds_a_node(tmp_path: Path) -> None:
    async with meshp2p.open_node(in_loop=True, id="painter", port=0, mdns=False) as painter:

        @painter.handler("Query")
        async def paint(scene: dict[str, str], message: meshp2p.ReceivedMessage) -> dict[str, Any]:
            askers.append(message.source)
            return {"picture": f"{scene['title']}, calm"}

        askers: list[str] = []
        command = ("sh", str(EXAMPLES / "agent.sh"), painter.url, "painter", '{"title": "A harbour"}')
        assert await run_example(*command, directory=tmp_path) == shown_for("agent.sh")
        [asker] = askers
        assert asker.startswith("shell-")
        assert [instance.id for instance in painter.members()] == ["painter"]
        assert await painter._node.fetch(asker, 10) == ()


def test_the_test_of_an_agent_passes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / "test_agent.py")]
    result = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_says_first_what_it_is(path: Path) -> None:
    assert path.read_text().startswith('"""')
