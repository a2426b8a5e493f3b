"""The networks that the tests are run on: what a cut cuts, and that nothing is left however a run ends."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from simulations.lan.http import ask
from simulations.lan.lab import open_lab
from simulations.lan.network import SWITCH_HOSTS_MAX, Host, open_switch
from simulations.namespaces import NamespacesUnavailable
from tests.hosts.programs import open_program, router, switch

pytestmark = pytest.mark.slow

HEAR = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('', 9))\nprint('open', flush=True)"
HEAR += "\nwhile True: print(s.recv(99).decode(), flush=True)"


def say(host: Host, text: str, to: str) -> None:
    code = "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    code += "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\ns.sendto(sys.argv[1].encode(), (sys.argv[2], 9))"
    host.namespace.run(sys.executable, "-c", code, text, to)


async def test_a_cut_stops_packets_both_ways_a_deaf_host_only_hears_nothing_and_healing_ends_both() -> None:
    with trio.fail_after(60), switch("a", "b") as network:
        a, b = network.hosts.values()
        async with (
            open_program(*a.command(sys.executable, "-c", HEAR)) as at_a,
            open_program(*b.command(sys.executable, "-c", HEAR)) as at_b,
        ):
            await at_a.wait_for_line("open")
            await at_b.wait_for_line("open")
            network.cut(["a"], ["b"])
            say(a, "cut", b.address)
            say(b, "cut", a.address)
            network.heal()
            network.deafen("a", "b")
            say(a, "to b", b.address)
            say(b, "to a", a.address)
            network.heal()
            network.stop_broadcast()
            say(b, "broadcast", "10.9.0.255")
            network.heal()
            say(a, "last", b.address)
            say(b, "last", a.address)
            assert await at_a.wait_for_line("") == "last"
            assert await at_b.wait_for_line("") == "to b"
            assert await at_b.wait_for_line("last") == "last"


async def test_two_networks_with_the_same_addresses_do_not_meet() -> None:
    with trio.fail_after(100), switch("a", "b") as one, router("a", "b") as other:
        async with open_lab(one) as here, open_lab(other) as there:
            here.start("a", "b")
            there.start("a", "b", seeds=["a"])
            await here.reach("whole", ["a", "b"])
            await there.reach("whole", ["a", "b"])
            status, _ = await ask(one.hosts["a"], "GET", "/health")
            assert status == 200


def test_a_switch_takes_no_more_hosts_than_the_kernel_has_neighbours_for() -> None:
    with pytest.raises(NamespacesUnavailable, match="at most 30"), open_switch(*map(str, range(SWITCH_HOSTS_MAX + 1))):
        pass


KILLED = """
import trio
from simulations.lan.lab import open_lab
from simulations.lan.network import open_switch

async def main():
    with open_switch("a", "b") as network:
        async with open_lab(network) as lab:
            lab.start("a", "b")
            await lab.reach("whole", ["a", "b"])
            print("pids", *(node._program.pid for node in lab.nodes.values()), flush=True)
            await trio.sleep_forever()

trio.run(main)
"""


async def test_nothing_is_left_of_a_run_that_is_killed() -> None:
    with trio.fail_after(60), switch("a"):  # which skips where there are no namespaces
        async with open_program(sys.executable, "-c", KILLED) as running:
            pids = [int(word) for word in (await running.wait_for_line("pids")).split()[1:]]
            namespaces = {_namespace_of(Path(f"/proc/{pid}")) for pid in pids}
            assert len(namespaces) == 2
            running.send_signal(signal.SIGKILL)
            for pid in pids:
                await _wait_for_end(pid)
        assert not namespaces & _all_namespaces()


async def _wait_for_end(pid: int) -> None:
    """Of a process that is not ours to wait for."""
    try:
        file = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(file)
    finally:
        os.close(file)


def _all_namespaces() -> set[Path]:
    return {_namespace_of(process) for process in Path("/proc").glob("[0-9]*")} - {Path()}


def _namespace_of(process: Path) -> Path:
    try:
        return (process / "ns" / "net").readlink()
    except OSError:
        return Path()
