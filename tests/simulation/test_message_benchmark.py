"""The benchmark of messages: that it measures what it says, and goes on without what is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from simulations.benchmarks.__main__ import main
from simulations.benchmarks.couriers.courier import PAYLOAD_BYTES, make_payload, sent_at
from simulations.benchmarks.message_parties import PartyFailed, open_parties
from simulations.benchmarks.message_systems import MESSAGE_PEERS, MeshMessages
from simulations.benchmarks.messages import rows
from simulations.benchmarks.report import Row, Run, table
from simulations.benchmarks.systems import PeerUnavailable
from tests.simulation.refusals import assert_refused

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "simulations.benchmarks", "messages"]


@pytest.mark.parametrize("now", [0.0, 12.25, 98_765_432.125])
def test_a_payload_is_a_kilobyte_of_json_that_bears_its_time(now: float) -> None:
    payload = make_payload(now)
    assert len(payload) == PAYLOAD_BYTES
    assert sent_at(payload) == float(json.loads(payload)["sent_at"]) == now


def test_of_a_rate_the_least_is_the_worst() -> None:
    run = Run("ours", "1", 2)
    run.add("rate", 100.0, 300.0, 200.0)
    assert table([Row("rate", "rate, /s", is_rate=True)], [run]).splitlines()[1].split()[-2:] == ["200", "(100)"]


@pytest.mark.parametrize("name", ["redis-everysec", "redis-always", "jetstream"])
def test_a_peer_that_is_not_installed_says_what_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PeerUnavailable, match=rf"^{name}: not installed \(Debian: "):
        MESSAGE_PEERS[name].prepare()


async def test_a_broker_that_does_not_run_fails_its_system_alone(tmp_path: Path) -> None:
    class Broken(MeshMessages):
        name = "broken"
        needs_port = True

        def broker(self, port: int, directory: Path) -> list[str]:
            return [sys.executable, "-c", "raise SystemExit('no')"]

    with trio.fail_after(60), pytest.raises(ExceptionGroup) as raised:
        async with open_parties(Broken(), tmp_path):
            pass
    assert raised.group_contains(PartyFailed, match="broken's broker does not listen")
    assert (tmp_path / "broker.log").read_text() == "no\n"


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--peers", "kafka"], "kafka"), (["--repeats", "0"], "0")], ids=["peers", "repeats"]
)
def test_a_wrong_option_is_named_with_what_is_allowed(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(main, ["messages", *arguments], named, capsys)


@pytest.mark.long
def test_the_quick_benchmark_finds_every_figure_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    arguments = ["--quick", "--peers", "none", "--directory", str(tmp_path), "--json", str(path)]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report["is_complete"]
    figures = [run["figures"] for run in report["runs"]]
    for row in rows((10, 200)):
        assert any(row.key in measured and measured[row.key]["values"] for measured in figures), row.key
        assert row.title in done.stdout
    assert list(tmp_path.iterdir()) == [path]
