"""A sweep on a Dask cluster: one of this machine, on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from meshp2p.errors import ConfigError
from meshp2p.simulation.scenarios import Options
from simulations import cluster as doorway
from simulations.__main__ import main
from simulations.cluster import code_fingerprint, open_cluster, run_same_code
from simulations.sweep import sweep

ROOT = Path(__file__).parents[2]


def a_cluster(workers: int) -> LocalCluster:
    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    )


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The scheduler of a cluster with two workers, each a process."""
    with a_cluster(2) as cluster:
        yield cluster.scheduler_address


def test_a_sweep_on_a_cluster_is_the_sweep_on_one_process(address: str) -> None:
    options = Options(seed=4, duration=20.0)
    with open_cluster(address) as cluster:
        spread = sweep("partition", options, 10, spread=cluster.map)
    here = sweep("partition", options, 10)
    assert [seed.seed for seed in spread.seeds] == list(range(4, 14))
    digests = [[seed.result.digest for seed in outcome.seeds if seed.result is not None] for outcome in (here, spread)]
    assert digests[0] == digests[1]


def test_the_command_line_sweeps_on_a_cluster(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--scenario", "crash", "--seeds", "3", "--duration", "30", "--failures", str(tmp_path)]
    assert main(["sweep", *options, "--scheduler", address]) == 0
    assert "crash: 3 seeds from 0, 0 failed" in capsys.readouterr().out


def test_a_worker_with_other_sources_refuses(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "code_fingerprint", lambda: "other")
    with open_cluster(address) as cluster, pytest.raises(ConfigError, match="other sources of meshp2p"):
        list(cluster.map(len, [(1, 2)]))


def test_work_is_done_where_the_sources_are_the_same() -> None:
    assert run_same_code((code_fingerprint(), len, (1, 2))) == 2


def test_what_fails_on_a_worker_is_one_line(address: str) -> None:
    with open_cluster(address) as cluster, pytest.raises(ConfigError) as refused:
        list(cluster.map(int, ["no number"]))
    assert (
        str(refused.value) == f"cluster at {address}: ValueError: invalid literal for int() with base 10: 'no number'"
    )


def test_a_cluster_that_gets_no_worker_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "WORKERS_TIMEOUT", 0.1)
    with (
        a_cluster(0) as without,
        open_cluster(without.scheduler_address) as cluster,
        pytest.raises(ConfigError, match=r"no worker within 0\.1 s"),
    ):
        list(cluster.map(len, [(1, 2)]))


@pytest.mark.parametrize("wrong", ["tcp://127.0.0.1:1", "nonsense", "relay_selector-pigeon://127.0.0.1:1"])
def test_an_address_without_a_scheduler_gets_one_line_and_status_2(
    wrong: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorway, "CONNECT_TIMEOUT", 0.2)
    assert main(["sweep", "--seeds", "1", "--scheduler", wrong]) == 2
    shown = capsys.readouterr().err
    assert wrong in shown
    assert len(shown.splitlines()) == 1


def test_without_the_extra_the_line_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "simulations.cluster")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["sweep", "--seeds", "1", "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "pip install 'meshp2p[dask]'" in capsys.readouterr().err


def test_distributed_is_imported_only_for_a_scheduler() -> None:
    program = "import sys, simulations.__main__; sys.exit('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
