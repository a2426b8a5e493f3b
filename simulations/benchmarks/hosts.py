"""Hosts for a benchmark: network namespaces on one router, and a cable that can be cut without a word.

Each host is a namespace with a ``/32`` address and a cable (veth) to a router, which is a namespace as well. Nothing
has a name: a namespace lives as long as this process holds it open, so that nothing is left, however the process ends.

A cut is a routing rule of the router that discards what comes from and goes to the host. Nobody is told: no ICMP, no
refusal, and no ARP that fails, since the router still answers. The routed LAN is chosen over a bridge because that
needs nothing of the kernel but veth and routing rules.
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

__all__ = ["Host", "HostsUnavailable", "Lan", "open_lan"]

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_NETWORK: Final = ipaddress.IPv4Network("10.77.0.0/16")
_ROUTER: Final = str(_NETWORK[-2])
HOSTS_MAX: Final = 1024
"""Chosen, not measured."""


class HostsUnavailable(Exception):
    """Network namespaces cannot be made here; the text says what is needed."""


class Host:
    """A machine of its own, as far as the network goes. It outlives the processes that run on it."""

    def __init__(self, number: int, namespace: int) -> None:
        self.number = number
        self.address = str(_NETWORK[number + 1])
        self._namespace = namespace

    def command(self, *command: str) -> list[str]:
        """How to run ``command`` on this host. It keeps the pid it is started with, and dies with this process."""
        # The signal comes when the *thread* that started it ends: start it from the main one.
        return [*_enter(self._namespace), "setpriv", "--pdeathsig", "KILL", "--", *command]


class Lan:
    """The hosts and what connects them. Made by :func:`open_lan`."""

    def __init__(self, router: int, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._router = router

    def cut(self, host: Host) -> None:
        """Discard all packets from and to this host, and tell nobody."""
        _ip(self._router, _rules("add", host))

    def mend(self, host: Host) -> None:
        _ip(self._router, _rules("del", host))

    def open_tap(self) -> socket.socket:
        """A socket that receives a copy of each IPv4 packet that passes the router, once as it comes in
        (``PACKET_HOST``) and once as it goes out."""
        return _in_namespace(
            self._router, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
        )


@contextlib.contextmanager
def open_lan(count: int) -> Iterator[Lan]:
    """So many hosts that reach one another.

    Raises :class:`HostsUnavailable` where this user or this machine may not; then nothing was made.
    """
    if not 1 <= count <= HOSTS_MAX:
        raise HostsUnavailable(f"{count} hosts: expected 1 to {HOSTS_MAX}")
    with contextlib.ExitStack() as held:

        def make_namespace() -> int:
            namespace = _open_namespace()
            held.callback(os.close, namespace)
            return namespace

        try:
            router = make_namespace()
            _run(router, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
            _ip(router, ["link set lo up", f"address add {_ROUTER}/32 dev lo"])
            hosts = []
            for number in range(count):
                namespace = make_namespace()
                host = Host(number, namespace)
                hosts.append(host)
                cable = f"host{number}"
                _ip(
                    router,
                    [
                        f"link add {cable} type veth peer name lan netns /proc/{os.getpid()}/fd/{namespace}",
                        f"link set {cable} up",
                    ],
                )
                _ip(
                    namespace,
                    [
                        "link set lo up",
                        f"address add {host.address}/32 dev lan",
                        "link set lan up",
                        f"route add default via {_ROUTER} dev lan onlink",
                    ],
                )
                _ip(router, [f"route add {host.address}/32 dev {cable}"])
        except (OSError, subprocess.CalledProcessError) as error:
            detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
            raise HostsUnavailable(
                f"cannot make network namespaces: {detail}. Needed: Linux, iproute2, util-linux, and root"
                " (or `unshare --map-root-user --net` before the command)"
            ) from error
        yield Lan(router, hosts)


def _rules(verb: str, host: Host) -> list[str]:
    return [f"rule {verb} {side} {host.address}/32 priority 100 blackhole" for side in ("from", "to")]


def _enter(namespace: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}", "--"]


def _ip(namespace: int, commands: Sequence[str]) -> None:
    _run(namespace, ["ip", "-batch", "-"], "\n".join(commands))


def _run(namespace: int, command: Sequence[str], text: str = "") -> None:
    subprocess.run([*_enter(namespace), *command], input=text, capture_output=True, text=True, check=True)


def _open_namespace() -> int:
    def make() -> int:
        _call("unshare", _CLONE_NEWNET)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return _in_thread(make)


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
