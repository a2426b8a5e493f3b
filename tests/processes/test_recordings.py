"""Real processes that are recorded: what each went through replays on this machine."""

from __future__ import annotations

import random
import secrets
import signal
from pathlib import Path

import pytest
import trio

from meshp2p.cli import main
from tests.processes.mesh_processes import open_ups

pytestmark = pytest.mark.slow

RUNS = 100


async def test_what_a_process_saw_of_a_killed_one_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = ("--mesh", f"test-{secrets.token_hex(8)}", "--no-mdns", "--no-beacon", "--port", "0")
    asked = tmp_path / "asked.recording"
    with trio.fail_after(100):
        async with open_ups() as up:
            a = await up(*alone, "--id", "a", "--data-dir", str(tmp_path))
            b = await up(*alone, "--id", "b", "--join", a.ready["url"])
            for one in (a, b):
                await one.until_sees("a", "b")
            await b.end(signal.SIGKILL)
            await a.until_sees("a")
            recorded = ["record", "--node", a.ready["url"], "--save", str(asked)]
            assert await trio.to_thread.run_sync(main, recorded) == 0
            assert await trio.to_thread.run_sync(main, recorded) == 2  # the file exists
            assert "the last" in capsys.readouterr().out
            await a.end(signal.SIGTERM)
    (kept,) = (tmp_path / "recordings").iterdir()
    assert kept.name.endswith("-death.recording")
    for path in (asked, kept):
        assert main(["simulate", "--replay", str(path)]) == 0
        shown = capsys.readouterr().out
        assert "declares b dead: its host refused a" in shown
        assert "the same effects and states" in shown


async def record_through_faults(seed: int, directory: Path) -> list[Path]:
    """Run five nodes through signals that this seed draws, and return the recordings of those that live."""
    names = [f"n{number}" for number in range(5)]
    draw = random.Random(seed)
    alone = ("--mesh", f"test-{secrets.token_hex(8)}", "--no-mdns", "--no-beacon", "--port", "0")
    paths: list[Path] = []
    with trio.fail_after(110):
        async with open_ups() as up:
            ups = {"n0": await up(*alone, "--id", "n0")}
            for name in names[1:]:
                ups[name] = await up(*alone, "--id", name, "--join", ups["n0"].ready["url"])
            for one in ups.values():
                await one.until_sees(*names)
            for name in draw.sample(names, draw.randrange(1, 4)):
                await ups.pop(name).end(draw.choice([signal.SIGKILL, signal.SIGTERM]))
            for name, one in ups.items():
                await one.until_sees(*ups)
                path = directory / f"{name}.recording"
                recorded = ["record", "--node", one.ready["url"], "--save", str(path)]
                assert await trio.to_thread.run_sync(main, recorded) == 0
                paths.append(path)
    return paths


@pytest.mark.long
@pytest.mark.parametrize("seed", range(RUNS))
async def test_processes_that_signals_end_at_random_replay(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in await record_through_faults(seed, tmp_path):
        assert main(["simulate", "--replay", str(path)]) == 0, capsys.readouterr().out
