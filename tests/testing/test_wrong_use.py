"""What makes no sense is refused, with what would."""

from __future__ import annotations

import asyncio

import pytest
import trio
import trio.testing

import meshp2p
from meshp2p.testing import NotConverged, VirtualMesh, run
from meshp2p.virtual import faults


async def test_an_unknown_host_is_named_with_those_that_exist(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b")
    expected = r"there is no host 'x': expected one of 'a', 'b' \(start\(\) and add_hosts\(\) make hosts\)"
    for use in (
        lambda: virtual_mesh.partition(["a"], ["x"]),
        lambda: virtual_mesh.isolate("x"),
        lambda: virtual_mesh.cut("x", to="a"),
        lambda: virtual_mesh.loss(0.5, "x"),
        lambda: virtual_mesh.kill("x"),
        lambda: virtual_mesh.pause("x", 1),
        lambda: virtual_mesh.clock_step("x", 1),
        lambda: virtual_mesh.client("x"),
        lambda: virtual_mesh["x"],
    ):
        with pytest.raises(meshp2p.ConfigError, match=expected):
            use()
    with pytest.raises(meshp2p.ConfigError, match=expected):
        await virtual_mesh.restart("x")
    with pytest.raises(meshp2p.ConfigError, match=expected):
        await virtual_mesh.wait_until_whole("x")


async def test_a_host_is_started_once(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a")
    with pytest.raises(meshp2p.LocalProtocolError, match="host 'a' is already running: stop"):
        await virtual_mesh.start("b", "a")
    assert list(virtual_mesh.nodes) == ["a"]
    with pytest.raises(meshp2p.ConfigError, match="each only once"):
        await virtual_mesh.start("c", "c")
    with pytest.raises(meshp2p.ConfigError, match="id = 'd' for 2 nodes"):
        await virtual_mesh.start("d", "e", id="d")
    with pytest.raises(meshp2p.ConfigError, match="unknown option 'colour'"):
        await virtual_mesh.start("d", colour="red")  # type: ignore[call-arg]


async def test_what_does_not_run_is_not_stopped_killed_or_paused(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a")
    virtual_mesh.kill("a")
    with pytest.raises(meshp2p.LocalProtocolError, match="host 'a' is killed already: restart"):
        virtual_mesh.kill("a")
    with pytest.raises(meshp2p.LocalProtocolError, match="cannot be paused"):
        virtual_mesh.pause("a", 1)
    with pytest.raises(meshp2p.LocalProtocolError, match="runs nothing that start"):
        await virtual_mesh.stop("a")
    with pytest.raises(meshp2p.LocalProtocolError, match="restart\\(\\) it first"), virtual_mesh.host("a"):
        pass
    with pytest.raises(meshp2p.LocalProtocolError, match="no node is open on host 'a'"):
        virtual_mesh["a"]


async def test_values_out_of_range_and_faults_of_another_kind_are_refused(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b")
    with pytest.raises(meshp2p.ConfigError, match="expected 0 to 1"):
        virtual_mesh.loss(10)
    with pytest.raises(meshp2p.ConfigError, match="two groups"):
        virtual_mesh.partition("a", ["a", "b"])
    with pytest.raises(meshp2p.ConfigError, match="Crash is not a fault of the network"):
        virtual_mesh.fault(faults.Crash(node="a"))
    with pytest.raises(meshp2p.ConfigError, match="no host is named"):
        virtual_mesh.isolate()
    with pytest.raises(meshp2p.ConfigError, match="expected a number above 0"):
        virtual_mesh.pause("a", 0)
    with pytest.raises(meshp2p.ConfigError, match="1 to 63 ASCII"):
        virtual_mesh.add_hosts("")


async def test_a_wait_that_fails_says_what_each_node_sees(virtual_mesh: VirtualMesh) -> None:
    await virtual_mesh.start("a", "b")
    await virtual_mesh.wait_until_whole()
    virtual_mesh.partition("a", "b")
    await virtual_mesh.sleep(20)
    with pytest.raises(NotConverged) as caught:
        await virtual_mesh.wait_until_whole(timeout=20)
    message = str(caught.value)
    assert message.startswith("the mesh did not converge in 20 s of virtual time: 'a' does not list a, b as alive")
    leader = virtual_mesh["b"].leader
    assert leader is not None
    assert f"b: lists b; leader b (epoch {leader.epoch})" in message
    assert "Partition  A: a | B: b" in message
    assert f"(seed {virtual_mesh.seed})" in message


def test_a_mesh_that_is_not_running_says_how_to_run_it() -> None:
    with pytest.raises(meshp2p.LocalProtocolError, match="is not running: use it in an async test"):
        VirtualMesh().partition("a")


def test_a_mesh_on_real_time_is_refused() -> None:
    async def main() -> None:
        async with VirtualMesh():
            pass

    with pytest.raises(meshp2p.LocalProtocolError, match="needs virtual time"):
        trio.run(main)


def test_a_test_that_waits_for_ever_ends() -> None:
    async def wait_for_a_third(mesh: VirtualMesh) -> None:
        a, _ = await mesh.start("a", "b")
        await a.wait_for_members(3)

    with pytest.raises(NotConverged, match="still running after 600 s of virtual time"):
        run(wait_for_a_third, seconds_max=600)


def test_what_an_agent_raises_ends_the_test_bare() -> None:
    async def agent() -> None:
        async with meshp2p.open_node():
            raise ValueError("my own fault")

    async def main(mesh: VirtualMesh) -> None:
        mesh.launch("a", agent)
        await mesh.sleep(100)

    with pytest.raises(ValueError, match="my own fault"):
        run(main)


def test_what_the_test_raises_comes_out_bare_and_a_value_is_returned() -> None:
    async def fail(mesh: VirtualMesh) -> None:
        await mesh.start("a", "b")
        raise AssertionError("as it is")

    async def answer(mesh: VirtualMesh) -> float:
        await mesh.sleep(5)
        return mesh.now

    with pytest.raises(AssertionError, match="as it is"):
        run(fail)
    assert run(answer) == pytest.approx(5)


def test_an_agent_that_awaits_asyncio_is_told_to_use_trio_or_anyio() -> None:
    async def agent() -> None:
        await asyncio.sleep(1)

    async def main(mesh: VirtualMesh) -> None:
        mesh.launch("a", agent)
        await mesh.sleep(5)

    with pytest.raises((RuntimeError, AttributeError, ExceptionGroup)) as caught:
        run(main)
    error: BaseException = caught.value
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert "await anyio or trio functions" in error.__notes__[0]
