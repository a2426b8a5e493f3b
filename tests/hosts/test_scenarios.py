"""A mesh on a LAN through faults of the network and of processes. The times: ``python -m simulations lan``."""

from __future__ import annotations

import pytest

from simulations.lan.command import Outcome, perform, table_lines
from simulations.lan.nodes import Meshp2pNode, Node, SerfNode
from simulations.lan.scenarios import SCENARIOS
from tests.hosts.programs import skip_without_namespaces

pytestmark = pytest.mark.slow

SHORT = {
    "halves": 4,
    "killed process": 3,
    "restarts under message load": 2,
}
"""Those that `make test` runs, and on how many hosts."""


async def run(name: str, system: type[Node] = Meshp2pNode, hosts: int = 0) -> Outcome:
    with skip_without_namespaces():
        return await perform(SCENARIOS[name], system, hosts)


@pytest.mark.parametrize(("name", "hosts"), SHORT.items())
async def test_a_small_mesh_comes_to_the_right_views(name: str, hosts: int) -> None:
    outcome = await run(name, hosts=hosts)
    assert (outcome.failure, outcome.wrongly_dead) == ("", [])
    assert name in "\n".join(table_lines([outcome], ["meshp2p"]))


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_mesh_comes_to_the_right_views(name: str) -> None:
    outcome = await run(name)
    assert (outcome.failure, outcome.wrongly_dead) == ("", [])


@pytest.mark.long
@pytest.mark.parametrize("name", ["halves", "killed process"])
async def test_serf_goes_through_the_same(name: str) -> None:
    """So that a fault of a scenario is not taken for one of ours."""
    if not SerfNode.is_here():
        pytest.skip("needs serf (Debian: serf)")
    assert (await run(name, SerfNode, 4)).failure == ""
