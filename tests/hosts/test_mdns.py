"""Real multicast between hosts: two network namespaces on one cable, and Avahi as the judge of what we announce."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from simulations.lan.network import Host
from tests.hosts.programs import open_program, peer_command, two_hosts

DBUS_CONFIG = """
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow user="*"/><allow own="*"/>
    <allow send_type="method_call"/><allow send_type="method_return"/>
    <allow send_type="error"/><allow send_type="signal"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/>
    <allow receive_type="error"/><allow receive_type="signal"/>
  </policy>
</busconfig>
"""

AVAHI_CONFIG = """
[server]
host-name=watcher
[wide-area]
enable-wide-area=no
[publish]
disable-publishing=yes
"""


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("10.9.0.1/24",), ("10.9.0.2/24",)),
        (("fd00:9::1/64",), ("fd00:9::2/64",)),
        (("10.9.0.1/24", "fd00:9::1/64"), ("10.9.0.2/24", "fd00:9::2/64")),
    ],
    ids=["ipv4", "ipv6", "both"],
)
async def test_two_hosts_on_one_cable_see_each_other_at_all_their_addresses(
    left: tuple[str, ...], right: tuple[str, ...]
) -> None:
    hosts_of = {side: [address.partition("/")[0] for address in side] for side in (left, right)}
    with trio.fail_after(30):
        async with (
            two_hosts(left, right) as (one, other),
            open_program(*one.command(*peer_command("one", "lab", 7700, *hosts_of[left]))) as first,
        ):
            await first.wait_for_line("started")
            async with open_program(*other.command(*peer_command("other", "lab", 7700, *hosts_of[right]))) as second:
                assert {*await first.wait_for_sighting("other")} == {in_url(host) for host in hosts_of[right]}
                assert {*await second.wait_for_sighting("one")} == {in_url(host) for host in hosts_of[left]}


async def test_a_host_whose_interface_is_down_at_first_is_seen_once_it_is_up() -> None:
    with trio.fail_after(60):
        async with two_hosts(["10.9.0.1/24"], ["10.9.0.2/24"]) as (one, other):
            # Its address stays, so that multicast is set up and every packet is refused: "Network is unreachable".
            other.namespace.ip("link set lan down")
            async with (
                open_program(*one.command(*peer_command("one", "lab", 7700, "10.9.0.1"))) as first,
                open_program(*other.command(*peer_command("other", "lab", 7700, "10.9.0.2"))) as second,
            ):
                await first.wait_for_line("started")
                await second.wait_for_line("started")
                other.namespace.ip("link set lan up")
                assert await first.wait_for_sighting("other") == ["10.9.0.2:7700"]
                assert await second.wait_for_sighting("one") == ["10.9.0.1:7700"]


async def test_a_host_that_gets_its_address_later_is_seen_then() -> None:
    with trio.fail_after(60):
        async with (
            two_hosts(["10.9.0.1/24"], []) as (one, other),
            open_program(*one.command(*peer_command("one", "lab", 7700, "10.9.0.1"))) as first,
            open_program(*other.command(*peer_command("other", "lab", 7700, "10.9.0.2"))) as second,
        ):
            await first.wait_for_line("started")
            await second.wait_for_line("started")
            other.namespace.ip("address add 10.9.0.2/24 dev lan")
            second.write("refresh")
            assert await first.wait_for_sighting("other") == ["10.9.0.2:7700"]
            assert await second.wait_for_sighting("one") == ["10.9.0.1:7700"]


async def test_hosts_whose_first_packets_were_lost_see_each_other_all_the_same() -> None:
    with trio.fail_after(60):
        async with two_hosts(["10.9.0.1/24"], ["10.9.0.2/24"]) as (one, other):
            for host in (one, other):
                host.discard("-i lan")
            async with (
                open_program(*one.command(*peer_command("one", "lab", 7700, "10.9.0.1"))) as first,
                open_program(*other.command(*peer_command("other", "lab", 7700, "10.9.0.2"))) as second,
            ):
                await first.wait_for_line("started")
                await second.wait_for_line("started")
                for host in (one, other):
                    host.firewall("-F CUT")
                assert await first.wait_for_sighting("other") == ["10.9.0.2:7700"]
                assert await second.wait_for_sighting("one") == ["10.9.0.1:7700"]


async def test_avahi_on_another_host_sees_a_node_with_its_id_mesh_version_and_port(tmp_path: Path) -> None:
    missing = [name for name in ("avahi-daemon", "avahi-browse", "dbus-daemon") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: avahi-daemon, avahi-utils, dbus)")
    with trio.fail_after(60):
        async with (
            two_hosts(["10.9.0.1/24"], ["10.9.0.2/24"]) as (one, other),
            open_avahi(other, tmp_path) as environment,
            open_program(*one.command(*peer_command("agent-7", "lab", 7712, "10.9.0.1"))) as node,
        ):
            await node.wait_for_line("started")
            browse = other.command("stdbuf", "--output=L", "avahi-browse", "--resolve", "--parsable", "_meshp2p._tcp")
            async with open_program(*browse, env=environment) as browser:
                line = await browser.wait_for_line("=;lan;IPv4;meshp2p-")
    *_, service_type, domain, host, address, port, text = line.split(";")
    assert (service_type, domain, address, port) == ("_meshp2p._tcp", "local", "10.9.0.1", "7712")
    assert host.startswith("meshp2p-")
    assert {'"id=agent-7"', '"mesh=lab"', '"v=1"', '"port=7712"'} <= {*text.split()}


@asynccontextmanager
async def open_avahi(host: Host, directory: Path) -> AsyncIterator[dict[str, str]]:
    """Run avahi-daemon on ``host`` with a bus of its own, and yield the environment that leads to it."""
    bus = directory / "bus"
    dbus_config, avahi_config = directory / "dbus.conf", directory / "avahi.conf"
    await trio.Path(dbus_config).write_text(DBUS_CONFIG.format(socket=bus))
    await trio.Path(avahi_config).write_text(AVAHI_CONFIG)
    environment = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
    dbus = host.command("dbus-daemon", f"--config-file={dbus_config}", "--nofork", "--nopidfile", "--print-address")
    # `--no-rlimits` and the rest: it is started as root, and stays it, in a mount namespace of its own.
    daemon = ("avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", f"--file={avahi_config}")
    own_run = 'mount -t tmpfs tmpfs /run && exec "$0" "$@" 2>&1'
    avahi = host.command("unshare", "--mount", "sh", "-c", own_run, *daemon)
    async with open_program(*dbus) as bus_program:
        await bus_program.wait_for_line("unix:")
        async with open_program(*avahi, env=environment) as avahi_program:
            await avahi_program.wait_for_line("Server startup complete")
            yield environment


def in_url(host: str) -> str:
    return f"[{host}]:7700" if ":" in host else f"{host}:7700"
