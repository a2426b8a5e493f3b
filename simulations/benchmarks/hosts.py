"""Hosts for a benchmark: network namespaces on one router, and a cable that can be cut without a word.

Each host is a namespace with a ``/32`` address and a cable (veth) to a router, which is a namespace as well. Nothing
has a name: a namespace lives as long as this process holds it open, so that nothing is left, however the process ends.

A cut is a routing rule of the router that discards what comes from and goes to the host. Nobody is told: no ICMP, no
refusal, and no ARP that fails, since the router still answers. The routed LAN is chosen over a bridge because that
needs nothing of the kernel but veth and routing rules. It carries no multicast: ``switch`` has hosts that hear one
another's. What is dropped by kind, chance or group is dropped by iptables of the router.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = [
    "HOSTS_MAX",
    "NETWORK",
    "Host",
    "HostsUnavailable",
    "Lan",
    "add_host",
    "dropping",
    "explaining",
    "ip",
    "open_lan",
    "open_namespaces",
    "set_option",
]

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
NETWORK: Final = ipaddress.IPv4Network("10.77.0.0/16")
NUMBER_OF_FIRST: Final = 1
_ROUTER: Final = str(NETWORK[-2])
HOSTS_MAX: Final = 1024
"""Chosen, not measured."""


class HostsUnavailable(Exception):
    """Network namespaces cannot be made here; the text says what is needed."""


class Host:
    """A machine of its own, as far as the network goes. It outlives the processes that run on it."""

    def __init__(self, number: int, namespace: int) -> None:
        self.number = number
        self.address = str(NETWORK[NUMBER_OF_FIRST + number])
        self.namespace = namespace

    def command(self, *command: str) -> list[str]:
        """How to run ``command`` on this host. It keeps the pid it is started with, and dies with this process."""
        # The signal comes when the *thread* that started it ends: start it from the main one.
        return [*_enter(self.namespace), "setpriv", "--pdeathsig", "KILL", "--", *command]

    def open_tap(self) -> socket.socket:
        """A socket that receives a copy of each IPv4 packet of this host, those of its loopback among them."""
        return _open_tap(self.namespace)


class Lan:
    """The hosts and what connects them. Made by :func:`open_lan`."""

    def __init__(self, router: int, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._router = router

    def cut(self, host: Host) -> None:
        """Discard all packets from and to this host, and tell nobody."""
        ip(self._router, _rules("add", host))

    def mend(self, host: Host) -> None:
        ip(self._router, _rules("del", host))

    def parted(self) -> contextlib.AbstractContextManager[None]:
        """While the block lasts, hosts of even numbers reach only one another, and so do those of odd ones.

        Raises :class:`HostsUnavailable` where there is no iptables.
        """
        even, odd = (f"0.0.0.{(NUMBER_OF_FIRST + side) % 2}/0.0.0.1" for side in (0, 1))
        return dropping(self._router, f"FORWARD -s {even} -d {odd}", f"FORWARD -s {odd} -d {even}")

    def lossy(self, share: float) -> contextlib.AbstractContextManager[None]:
        """While the block lasts, each datagram of UDP is lost with this probability. Raises as :meth:`parted` does."""
        return dropping(self._router, f"FORWARD -p udp -m statistic --mode random --probability {share}")

    def open_tap(self) -> socket.socket:
        """A socket that receives a copy of each IPv4 packet that passes the router, once as it comes in
        (``PACKET_HOST``) and once as it goes out."""
        return _open_tap(self._router)


@contextlib.contextmanager
def dropping(namespace: int, *rules: str) -> Iterator[None]:
    """Have iptables drop what these rules match (a chain, then matches). Raises :class:`HostsUnavailable`."""
    with contextlib.ExitStack() as held:
        for rule in rules:
            words = [*rule.split(), "-j", "DROP"]
            try:
                _run(namespace, ["iptables", "-w", "-A", *words])
            except (OSError, subprocess.CalledProcessError) as error:
                detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
                raise HostsUnavailable(f"iptables cannot drop packets here: {detail}") from error
            held.callback(_run, namespace, ["iptables", "-w", "-D", *words])
        yield


@contextlib.contextmanager
def open_lan(count: int) -> Iterator[Lan]:
    """So many hosts that reach one another.

    Raises :class:`HostsUnavailable` where this user or this machine may not; then nothing was made.
    """
    with open_namespaces(count) as (router, namespaces):
        with explaining():
            set_option(router, "net/ipv4/ip_forward", "1")
            ip(router, ["link set lo up", f"address add {_ROUTER}/32 dev lo"])
            hosts = []
            for number, namespace in enumerate(namespaces):
                host = add_host(router, number, namespace, bits=32)
                ip(namespace, [f"route add default via {_ROUTER} dev lan onlink"])
                ip(router, [f"route add {host.address}/32 dev host{number}"])
                hosts.append(host)
        yield Lan(router, hosts)


@contextlib.contextmanager
def open_namespaces(count: int) -> Iterator[tuple[int, list[int]]]:
    """A namespace for what connects the hosts, and one for each of them. Raises :class:`HostsUnavailable`."""
    if not 1 <= count <= HOSTS_MAX:
        raise HostsUnavailable(f"{count} hosts: expected 1 to {HOSTS_MAX}")
    with contextlib.ExitStack() as held:
        namespaces = []
        with explaining():
            for _ in range(1 + count):
                namespaces.append(_open_namespace())
                held.callback(os.close, namespaces[-1])
        yield namespaces[0], namespaces[1:]


@contextlib.contextmanager
def explaining() -> Iterator[None]:
    """What keeps the block from setting up a network becomes :class:`HostsUnavailable`."""
    try:
        yield
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise HostsUnavailable(
            f"cannot make network namespaces: {detail}. Needed: Linux, iproute2, util-linux, and root"
            " (or `unshare --map-root-user --net` before the command)"
        ) from error


def add_host(middle: int, number: int, namespace: int, *, bits: int) -> Host:
    """Lay its cable, called ``host`` and its number in the namespace ``middle`` and ``lan`` in its own."""
    host = Host(number, namespace)
    cable = f"host{number}"
    ip(
        middle,
        [
            f"link add {cable} type veth peer name lan netns /proc/{os.getpid()}/fd/{namespace}",
            f"link set {cable} up",
        ],
    )
    broadcast = "" if bits == 32 else " broadcast +"
    ip(namespace, ["link set lo up", f"address add {host.address}/{bits}{broadcast} dev lan", "link set lan up"])
    return host


def _rules(verb: str, host: Host) -> list[str]:
    return [f"rule {verb} {side} {host.address}/32 priority 100 blackhole" for side in ("from", "to")]


def _enter(namespace: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}", "--"]


def ip(namespace: int, commands: Sequence[str]) -> None:
    """Have ``ip`` of iproute2 do these. Raises ``OSError`` and ``CalledProcessError``."""
    _run(namespace, ["ip", "-batch", "-"], "\n".join(commands))


def set_option(namespace: int, name: str, value: str) -> None:
    """Set an option of the kernel, called as its file in ``/proc/sys``. Raises ``CalledProcessError``."""
    _run(namespace, ["sh", "-c", f"echo {value} > /proc/sys/{name}"])


def _run(namespace: int, command: Sequence[str], text: str = "") -> None:
    subprocess.run([*_enter(namespace), *command], input=text, capture_output=True, text=True, check=True)


def _open_namespace() -> int:
    def make() -> int:
        _call("unshare", _CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(make)


def _open_tap(namespace: int) -> socket.socket:
    return _in_namespace(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800)))


def _in_namespace(namespace: int, function: Callable[[], T]) -> T:
    def enter() -> T:
        _call("setns", namespace, _CLONE_NEWNET)
        return function()

    return _in_thread(enter)


def _in_thread(function: Callable[[], T]) -> T:
    """Run it in a thread of its own: a namespace is entered by one thread alone, and this one is over then."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(function).result()


def _call(name: str, *arguments: int) -> None:
    """A function of the C library that returns 0. Python has these from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
