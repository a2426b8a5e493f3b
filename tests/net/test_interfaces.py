"""Which addresses of a machine are advertised."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable

import pytest

from meshp2p.net.interfaces import (
    ADVERTISED_MAX,
    UNREPORTED_SECONDS,
    Interface,
    InterfaceLister,
    advertised_addresses,
    list_interfaces,
)
from meshp2p.net.netlink import read_addresses

LO = Interface("lo", ("127.0.0.1", "::1"))
ETH0 = Interface("eth0", ("192.0.2.7", "2001:db8::7", "fe80::7"))
WLAN0 = Interface("wlan0", ("198.51.100.7",))
DOCKER0 = Interface("docker0", ("172.17.0.1",))
SELF_ASSIGNED = Interface("eth1", ("169.254.3.4", "fe80::3"))


def machine(*interfaces: Interface) -> Callable[[], tuple[Interface, ...]]:
    return lambda: interfaces


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.0.2.7", "172.17.0.1", "2001:db8::7"])
def test_a_concrete_address_is_advertised_alone(host: str) -> None:
    assert advertised_addresses(host, machine(LO, ETH0, WLAN0)) == (host,)


def test_a_wildcard_advertises_every_network_ipv4_first() -> None:
    assert advertised_addresses("::", machine(LO, ETH0, WLAN0)) == ("192.0.2.7", "198.51.100.7", "2001:db8::7")


def test_an_ipv4_wildcard_advertises_ipv4_alone() -> None:
    assert advertised_addresses("0.0.0.0", machine(LO, ETH0, WLAN0)) == ("192.0.2.7", "198.51.100.7")


def test_the_order_does_not_depend_on_the_order_of_the_system() -> None:
    assert advertised_addresses("::", machine(LO, ETH0, WLAN0)) == advertised_addresses("::", machine(WLAN0, ETH0, LO))


@pytest.mark.parametrize(
    "name",
    [
        *("docker0", "docker_gwbridge", "br-1f2e3d4c5b6a", "virbr0", "virbr0-nic", "veth12ab", "cni0", "cni-podman0"),
        *("lxcbr0", "podman1", "vEthernet (WSL)", "cali0123456789a", "flannel.1", "kube-ipvs0", "vnet3", "incusbr0"),
    ],
)
def test_a_bridge_to_containers_is_not_advertised(name: str) -> None:
    assert advertised_addresses("0.0.0.0", machine(LO, Interface(name, ("172.17.0.1",)), ETH0)) == ("192.0.2.7",)


@pytest.mark.parametrize(
    "name",
    [
        *("br0", "br-lan", "br-mgmt", "br-1f2e3d", "br-1f2e3d4c5b6a.7", "br-guest0000000", "docker-lab", "dockerlan"),
        *("virbr-lan", "cni-lan", "calibration", "vnet-lab", "lxc-lan", "podman-net", "kube-lan", "flannel"),
    ],
)
def test_a_bridge_with_a_name_that_a_person_gave_is_a_lan(name: str) -> None:
    lan = Interface(name, ("192.0.2.9",))
    assert advertised_addresses("0.0.0.0", machine(LO, lan, DOCKER0)) == ("192.0.2.9",)
    assert advertised_addresses("0.0.0.0", machine(LO, lan, WLAN0)) == (
        ("192.0.2.9", "198.51.100.7") if name < "wlan0" else ("198.51.100.7", "192.0.2.9")
    )


def test_an_interface_without_carrier_comes_after_all_that_have_one() -> None:
    unplugged = Interface("eth0", ("192.0.2.7",), flags=("up", "broadcast", "multicast"))
    down = Interface("eth2", ("192.0.2.8",), flags=("broadcast", "running"))
    plugged = Interface("wlan0", ("198.51.100.7",), flags=("up", "running"))
    for other in (plugged, WLAN0, DOCKER0, SELF_ASSIGNED):
        expected = (other.addresses[0],)
        assert advertised_addresses("0.0.0.0", machine(LO, unplugged, down, other)) == expected
    assert advertised_addresses("0.0.0.0", machine(LO, unplugged)) == ("192.0.2.7",), "it does not move"


def test_a_global_address_on_loopback_is_advertised() -> None:
    lo = Interface("lo", ("127.0.0.1", "192.0.2.99"))
    assert advertised_addresses("0.0.0.0", machine(lo)) == ("192.0.2.99",)


def test_self_assigned_addresses_come_before_bridges_and_after_networks() -> None:
    assert advertised_addresses("::", machine(LO, DOCKER0, SELF_ASSIGNED)) == ("169.254.3.4",)
    assert advertised_addresses("::", machine(LO, DOCKER0, SELF_ASSIGNED, WLAN0)) == ("198.51.100.7",)


def test_a_bridge_is_better_than_loopback() -> None:
    assert advertised_addresses("0.0.0.0", machine(LO, DOCKER0)) == ("172.17.0.1",)


@pytest.mark.parametrize("interfaces", [(), (LO,), (LO, Interface("eth0", ("fe80::7",)))])
def test_with_nothing_up_it_is_loopback(interfaces: tuple[Interface, ...]) -> None:
    assert advertised_addresses("0.0.0.0", machine(*interfaces)) == ("127.0.0.1",)
    assert advertised_addresses("::", machine(*interfaces)) == ("127.0.0.1", "::1")


def test_many_addresses_are_cut_and_one_that_is_on_two_interfaces_counts_once() -> None:
    many = Interface("eth0", tuple(f"192.0.2.{number}" for number in range(1, 100)))
    assert len(advertised_addresses("0.0.0.0", machine(LO, many))) == ADVERTISED_MAX
    twin = Interface("eth1", ETH0.addresses)
    assert advertised_addresses("0.0.0.0", machine(LO, ETH0, twin)) == ("192.0.2.7",)


def test_this_machine_has_a_loopback_and_advertises_something() -> None:
    addresses = [host for interface in list_interfaces() for host in interface.addresses]
    assert "127.0.0.1" in addresses
    assert not any("%" in host for host in addresses)
    (loopback,) = (interface for interface in list_interfaces() if "127.0.0.1" in interface.addresses)
    assert {"up", "loopback", "running"} <= {*loopback.flags}
    assert loopback.has_carrier
    assert not loopback.is_down
    assert set(advertised_addresses("::")) <= {*addresses, "::1"}


@pytest.mark.parametrize(
    ("host", "prefix", "expected"),
    [
        ("192.0.2.7", 24, "192.0.2.255"),
        ("10.1.2.3", 8, "10.255.255.255"),
        ("192.0.2.7", 31, None),
        ("192.0.2.7", 32, None),
        ("2001:db8::7", 64, None),
    ],
)
def test_a_network_of_ipv4_has_a_broadcast_address_where_it_has_room_for_one(
    host: str, prefix: int, expected: str | None
) -> None:
    assert Interface("eth0", ("192.0.2.1", host), (24, prefix), 2).broadcast_of(host) == expected
    assert Interface("eth0", (host,)).broadcast_of(host) is None


def test_interfaces_are_listed_again_only_after_a_report() -> None:
    lister = InterfaceLister()
    system, reports = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    reports.setblocking(False)
    lister.close()
    lister._reports = reports
    with system:
        listed = lister.list()
        assert lister.list() is listed
        system.send(b"something changed")
        again = lister.list()
        assert again is not listed
        assert lister.list() is again == list_interfaces()
    lister.close()
    assert lister.list() is not lister.list(), "no report can be read any more"


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
@pytest.mark.parametrize("refused", ["__init__", "bind"])
def test_interfaces_are_listed_each_time_if_no_reports_can_be_had(
    refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("not in this sandbox")

    with monkeypatch.context() as sandbox:
        sandbox.setattr(socket, "socket", type("Sandboxed", (socket.socket,), {refused: refuse}))
        lister = InterfaceLister()
    assert lister.list() is not lister.list()
    lister.close()


def test_interfaces_are_listed_again_at_times_if_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    lister = InterfaceLister()
    listed = lister.list()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + UNREPORTED_SECONDS + 1)
    assert lister.list() is not listed
    lister.close()


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
@pytest.mark.parametrize(
    "answer",
    [
        b"\x18",  # no header
        struct.pack("=IHHII", 18, 20, 0, 1, 0) + bytes(2),  # no whole address
        struct.pack("=IHHIIBBBBIHH", 28, 20, 0, 1, 0, socket.AF_INET, 8, 0, 0, 1, 4, 1),  # an address of no bytes
        struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -(1 << 31)),  # no number of an error
        struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1),  # not permitted
    ],
)
def test_an_answer_of_the_kernel_that_cannot_be_read_is_an_error_of_the_system(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kernel(socket.socket):
        def send(self, *_: object) -> int:
            return 0

        def recv(self, *_: object) -> bytes:
            return answer

    monkeypatch.setattr(socket, "socket", Kernel)
    with pytest.raises(OSError, match=r"malformed answer of the kernel|not permitted"):
        read_addresses()
