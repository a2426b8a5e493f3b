"""A LAN: hosts on one switch, or each on a cable of its own to a router.

::

    open_switch: 10.9.0.1 (a) ──┐ bridge          open_router: 10.9.1.2 (a) ── 10.9.1.1 ──┐ router
                 10.9.0.2 (b) ──┘                              10.9.2.2 (b) ── 10.9.2.1 ──┘

The interface of each host is called ``lan``. What is cut or lost is discarded without a word by the host that would
receive it, before anything on it sees the packet; faults of the switch itself are options of its ports.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import trio

from simulations.namespaces import Namespace, NamespacesUnavailable, explaining, open_namespaces

__all__ = ["SWITCH_HOSTS_MAX", "Host", "Network", "open_router", "open_switch"]

SWITCH_HOSTS_MAX: Final = 30
"""The maximum number of hosts on a switch. If all of them talk to each other, they fill the kernel's table of
neighbours, which all namespaces share, with N x (N - 1) entries: it holds 1,024."""

_HAS_IPV6: Final = Path("/proc/sys/net/ipv6").exists()


class Host:
    """A machine, as far as the network is concerned. ``port`` names its cable in the namespace of the switch or
    router."""

    def __init__(self, name: str, namespace: Namespace, address: str, port: str) -> None:
        self.name = name
        self.namespace = namespace
        self.address = address
        """The IPv4 address on ``lan``."""
        self.port = port

    def command(self, *command: str) -> list[str]:
        """See :meth:`~simulations.namespaces.Namespace.command`."""
        return self.namespace.command(*command)

    def firewall(self, *rules: str) -> None:
        """Have iptables take these rules, a line each, as the administrator of this host would."""
        self.namespace.run("iptables-restore", "--noflush", text="\n".join(["*filter", *rules, "COMMIT", ""]))

    def discard(self, *matches: str) -> None:
        """Discard, without a word, what comes to this host and matches one of these, until :meth:`Network.heal`."""
        self.firewall(*(f"-A CUT {match} -j DROP" for match in matches))

    def admit_nothing(self, *, answers: bool = True) -> None:
        """A firewall on this host admits only answers to what the host sent. Without ``answers`` it admits only
        segments of TCP connections that the host opened."""
        established = "-m conntrack --ctstate ESTABLISHED"
        passing = f"{established},RELATED" if answers else f"-p tcp {established}"
        self.firewall("-A INPUT -i lo -j ACCEPT", f"-A INPUT {passing} -j ACCEPT", "-A INPUT -j DROP")

    def begin_nothing(self) -> None:
        """A firewall on this host lets only answers out: the host cannot begin a conversation."""
        self.firewall("-A OUTPUT -o lan -m conntrack --ctstate NEW -j DROP")

    async def wait_for_link(self, state: str, name: str = "lan") -> None:
        """Wait until ``ip link`` shows this state of an interface. The kernel notices a change of the carrier late."""
        while state not in self.namespace.run("ip", "link", "show", name):
            await trio.lowlevel.checkpoint()

    def move(self, address: str) -> None:
        """Replace its address by this one (``ADDRESS/BITS``)."""
        self.namespace.ip("address flush dev lan scope global", f"address add {address} broadcast + dev lan")
        self.address = address.partition("/")[0]


class Network:
    """The hosts by their names, and the namespace of the switch or router between them."""

    def __init__(self, middle: Namespace, hosts: Iterable[Host]) -> None:
        self.middle = middle
        self.hosts: dict[str, Host] = {host.name: host for host in hosts}

    # Cuts

    def cut(self, *sides: Sequence[str]) -> None:
        """No packet passes between hosts of different sides, in either direction."""
        for side in sides:
            for name in side:
                self.deafen(name, *(other for others in sides if others is not side for other in others))

    def isolate(self, name: str) -> None:
        """No packet passes between this host and the others."""
        self.cut([name], [other for other in self.hosts if other != name])

    def deafen(self, name: str, *speakers: str) -> None:
        """This host receives nothing from those; they still receive what it sends."""
        if speakers:
            self.hosts[name].discard(f"-s {','.join(self.hosts[other].address for other in speakers)}")

    def lose(self, share: float, *matches: str) -> None:
        """Each packet that comes to any host and matches (``-p udp``) is lost with this probability."""
        chance = f"-m statistic --mode random --probability {share}"
        for host in self.hosts.values():
            host.discard(*(f"-i lan {match} {chance}" for match in matches or ("",)))

    def heal(self) -> None:
        """End all cuts and losses."""
        for host in self.hosts.values():
            host.firewall("-F CUT")

    # Cables and ports

    async def unplug(self, name: str) -> None:
        """Pull the cable of this host, and wait until its interface has no carrier."""
        host = self.hosts[name]
        self.middle.ip(f"link set {host.port} down")
        await host.wait_for_link("NO-CARRIER")

    def plug(self, name: str) -> None:
        """Put the cable of this host back."""
        self.middle.ip(f"link set {self.hosts[name].port} up")

    def stop_multicast(self) -> None:
        """The switch passes no multicast on; broadcast passes."""
        for host in self.hosts.values():
            self.middle.ip(f"link set {host.port} type bridge_slave mcast_flood off")

    def stop_broadcast(self) -> None:
        """The switch passes no broadcast on, except ARP. A host hears its own."""
        for host in self.hosts.values():
            everybody = host.address.rpartition(".")[0] + ".255"
            host.discard(*(f"-i lan -d {to} ! -s {host.address}" for to in (everybody, "255.255.255.255")))

    # The router

    def hide(self, name: str) -> None:
        """Put this host behind NAT: others see the router's address, and cannot connect to the host."""
        host = self.hosts[name]
        network = host.address.rpartition(".")[0] + ".0/24"
        self.middle.run("iptables", *f"-t nat -A POSTROUTING -s {network} -j MASQUERADE".split())
        established = "-m conntrack --ctstate ESTABLISHED,RELATED"
        self.middle.run("iptables", *f"-A FORWARD -d {network} {established} -j ACCEPT".split())
        self.middle.run("iptables", *f"-A FORWARD -d {network} -j DROP".split())

    def forward(self, name: str, *, port: int = 7700) -> str:
        """What comes to this port of the router goes to the one of this host, which is behind NAT; returns the address
        of the router at which all hosts reach it."""
        host = self.hosts[name]
        gateway = host.address.rpartition(".")[0] + ".1"
        for protocol in ("tcp", "udp"):
            matches = f"-d {gateway} -p {protocol} --dport {port}"
            self.middle.run(
                "iptables", *f"-t nat -A PREROUTING {matches} -j DNAT --to-destination {host.address}".split()
            )
            admitted = f"-d {host.address} -p {protocol} --dport {port} -m conntrack --ctstate DNAT"
            self.middle.run("iptables", *f"-I FORWARD {admitted} -j ACCEPT".split())
        return gateway

    def narrow(self, name: str, mtu: int = 1280) -> None:
        """Drop larger packets on the path to this host, without telling the sender."""
        self.middle.ip(f"link set {self.hosts[name].port} mtu {mtu}")
        self.middle.run("iptables", "-A", "OUTPUT", "-p", "icmp", "-j", "DROP")


@contextlib.contextmanager
def open_switch(*names: str, ipv4: bool = True, ipv6: bool = False) -> Iterator[Network]:
    """These hosts on one switch, with addresses of these families. Raises
    :class:`~simulations.namespaces.NamespacesUnavailable`."""
    if len(names) > SWITCH_HOSTS_MAX:
        raise NamespacesUnavailable(f"{len(names)} hosts: expected at most {SWITCH_HOSTS_MAX} on a switch")
    with _open_hosts(names, "10.9.0.{}") as network:
        with explaining():
            network.middle.ip("link add switch type bridge mcast_snooping 0", "link set switch up")
            for number, host in enumerate(network.hosts.values(), 1):
                network.middle.ip(f"link set {host.port} master switch")
                addresses = [f"{host.address}/24 broadcast +"] if ipv4 else []
                addresses += [f"fd00:9::{number}/64"] if ipv6 else []
                host.namespace.ip(*(f"address add {address} dev lan" for address in addresses), "link set lan up")
                host.namespace.ip("route add 224.0.0.0/4 dev lan")  # for multicast that names no interface
        yield network


@contextlib.contextmanager
def open_router(*names: str) -> Iterator[Network]:
    """These hosts, each on a network of its own, and a router. Raises
    :class:`~simulations.namespaces.NamespacesUnavailable`."""
    with _open_hosts(names, "10.9.{}.2") as network:
        with explaining():
            network.middle.set_option("net/ipv4/ip_forward", "1")
            for number, host in enumerate(network.hosts.values(), 1):
                network.middle.ip(f"address add 10.9.{number}.1/24 dev {host.port}")
                host.namespace.ip(f"address add {host.address}/24 dev lan", "link set lan up")
                host.namespace.ip(f"route add default via 10.9.{number}.1")
        yield network


@contextlib.contextmanager
def _open_hosts(names: Sequence[str], address: str) -> Iterator[Network]:
    """Hosts with a cable each to the middle, whose addresses, not yet set, are ``address`` with 1, 2 and so on."""
    with open_namespaces(1 + len(names)) as (middle, *namespaces):
        hosts = [
            Host(name, namespace, address.format(number), f"port{number}")
            for number, (name, namespace) in enumerate(zip(names, namespaces, strict=True), 1)
        ]
        with explaining():
            middle.ip("link set lo up")
            for host in hosts:
                if _HAS_IPV6:
                    for which in ("all", "default"):  # else an IPv6 address cannot be used for a second or two
                        host.namespace.set_option(f"net/ipv6/conf/{which}/accept_dad", "0")
                middle.ip(f"link add {host.port} type veth peer name lan netns {host.namespace.path}")
                middle.ip(f"link set {host.port} up")
                host.namespace.ip("link set lo up")
                host.firewall(":CUT - [0:0]", "-A INPUT -j CUT")
        yield Network(middle, hosts)
