"""Checks whether multicast and broadcast pass on each network, at the port of the beacon and of multicast DNS.

Each packet has a number of its own. This machine hears its own packets unless its firewall drops them. Only an answer
shows that another machine heard one.
"""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence

import trio

from meshp2p.cli.doctor.findings import IS_BROKEN, IS_OK, IS_WARNING, Findings
from meshp2p.core.address import Address
from meshp2p.discovery.beacon import callable_at
from meshp2p.discovery.beacon_sockets import (
    BEACON_GROUP,
    BEACON_GROUP_IPV6,
    BEACON_PORT,
    join_group,
    open_listener,
    open_sender,
)
from meshp2p.discovery.endpoints import Link
from meshp2p.discovery.mdns_port import MDNS_PORT, open_shared, send_marked
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.wire.beacon import BEACON_BYTES_MAX, BeaconQuestion
from meshp2p.wire.codec import Codec
from meshp2p.wire.frame import FRAME_BYTES

__all__ = ["LinkTrial"]

Way = tuple[Link, str]
Take = Callable[[bytes, Address], None]
Offer = Callable[[tuple[Address, ...], str], None]


class LinkTrial:
    """One trial of all links. ``offer`` is given each node that was heard."""

    def __init__(
        self, links: Sequence[Link], codec: Codec, own_hosts: set[str], findings: Findings, offer: Offer
    ) -> None:
        self._links = tuple(links)
        self._codec = codec
        self._own_hosts = own_hosts
        self._findings = findings
        self._offer = offer
        self._asked: dict[int, Way] = {}
        self._markers: dict[bytes, Link] = {}
        self._refused: dict[Way, OSError] = {}
        self._heard: set[Way] = set()
        self._answered: dict[Way, str] = {}
        """The id of the node of another machine that answered first."""

    # Sending and hearing

    async def run(self, seconds: float) -> None:
        """Ask on every link twice, and listen for this long."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                listeners = {}
                for is_ipv6 in sorted({link.is_ipv6 for link in self._links}):
                    listener = self._open_listener(is_ipv6=is_ipv6)
                    if listener is not None:
                        listeners[is_ipv6] = listener
                        nursery.start_soon(_read, listener, self._receive)
                for _ in range(2):
                    for link in self._links:
                        self._ask(link, listeners.get(link.is_ipv6), nursery)
                    await trio.sleep(seconds / 3)
                await trio.sleep_forever()

    async def run_mdns(self, seconds: float) -> None:
        """Send a packet that every responder ignores to the port of multicast DNS on every IPv4 link, and listen."""
        links = [link for link in self._links if not link.is_ipv6]
        try:
            opened = open_shared([link.host for link in links])
        except OSError as error:
            self._findings.note("mdns port", IS_BROKEN, str(error), "which program has it, and does not share it?")
            return
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read, opened, self._receive_mdns)
                for _ in range(2):
                    for link in links:
                        marker = secrets.token_bytes(8)
                        self._markers[marker] = link
                        try:
                            send_marked(opened, link.host, marker)
                        except OSError as error:
                            self._refused[link, "mdns"] = error
                    await trio.sleep(seconds / 3)
                await trio.sleep_forever()
        failed = [link for link in links if (link, "mdns") not in self._heard]
        if not failed:
            self._findings.note(
                "mdns port", IS_OK, f"UDP {MDNS_PORT}: multicast can be sent and is heard on this machine"
            )
            return
        words = [f"{link}: {self._refused.get((link, 'mdns')) or 'sent, not heard'}" for link in failed]
        text = f"UDP {MDNS_PORT}: {'; '.join(words)}"
        self._findings.note("mdns port", IS_BROKEN, text, f"a firewall of this machine: allow UDP {MDNS_PORT}")

    def _open_listener(self, *, is_ipv6: bool) -> socket.socket | None:
        version = "IPv6" if is_ipv6 else "IPv4"
        try:
            listener = open_listener(is_ipv6=is_ipv6)
        except OSError as error:
            text = f"UDP {BEACON_PORT}: {error}"
            self._findings.note(f"beacon port {version}", IS_BROKEN, text, "which program has it?")
            return None
        self._findings.note(f"beacon port {version}", IS_OK, f"UDP {BEACON_PORT} can be listened to")
        return listener

    def _ask(self, link: Link, listener: socket.socket | None, nursery: trio.Nursery) -> None:
        for kind, host in _ways(link):
            try:
                if listener is not None:
                    join_group(listener, link)
                sender = open_sender(link)
                nursery.start_soon(_read, sender, self._receive)
                number = secrets.randbits(64)
                self._asked[number] = (link, kind)
                sender.sendto(self._codec.encode(BeaconQuestion(number, 0)), (host, BEACON_PORT))
            except OSError as error:
                self._refused[link, kind] = error

    def _receive(self, data: bytes, source: Address) -> None:
        try:
            message = self._codec.decode_beacon_untrusted(data)
        except RemoteProtocolError as error:
            if error.reason is Refusal.OTHER_MESH:
                self._findings.other_tags.add(data[4:FRAME_BYTES])
            return
        way = self._asked.get(message.number)
        if way is not None and isinstance(message, BeaconQuestion):
            self._heard.add(way)
        elif way is not None and source.host not in self._own_hosts:
            self._answered.setdefault(way, message.id)
        if message.id and (isinstance(message, BeaconQuestion) or way is not None):
            self._offer(callable_at(message, source), message.id)

    def _receive_mdns(self, data: bytes, _source: Address) -> None:
        link = self._markers.get(data[-8:])
        if link is not None:
            self._heard.add((link, "mdns"))

    # Judging

    def judge(self, reached: Sequence[tuple[str, str]]) -> None:
        """Note what passes on each link. ``reached`` are the ids and hosts of nodes of other machines that a call
        reached."""
        for link in self._links:
            self._judge_here(link)
            if not link.is_loopback and all((link, kind) in self._heard for kind, _ in _ways(link)):
                self._judge_network(link, [(name, host) for name, host in reached if _is_on(link, host)])

    def _judge_here(self, link: Link) -> None:
        ways = [kind for kind, _ in _ways(link)]
        works = [kind for kind in ways if (link, kind) in self._heard]
        errors = [error for (at, kind), error in self._refused.items() if at == link and kind in ways]
        if len(works) == len(ways):
            (passes, is_heard) = ("passes", "is heard") if len(ways) == 1 else ("pass", "are heard")
            where = passes if link.is_loopback else f"can be sent and {is_heard} on this machine"
            self._findings.note("link", IS_OK, f"{link}: {' and '.join(ways)} {where}")
            return
        failed = [
            f"{kind}: {self._refused.get((link, kind)) or 'sent, not heard'}" for kind in ways if kind not in works
        ]
        is_forbidden = any(error.errno in (errno.EPERM, errno.EACCES) for error in errors)
        hint = (
            f"{'a' if is_forbidden else 'perhaps a'} firewall of this machine: allow UDP {BEACON_PORT} and {MDNS_PORT}"
        )
        text = f"{link}: " + "; ".join([*failed, *(f"{kind} passes" for kind in works)])
        self._findings.note("link", IS_WARNING if works else IS_BROKEN, text, hint)

    def _judge_network(self, link: Link, reached: Sequence[tuple[str, str]]) -> None:
        answers = {kind: self._answered.get((link, kind)) for kind, _ in _ways(link)}
        silent = [kind for kind, name in answers.items() if name is None]
        if not silent:
            self._findings.note("passage", IS_OK, f"{link}: other machines answer {' and '.join(answers)}")
        elif len(silent) < len(answers):
            by = next(f"{name} answers {kind}" for kind, name in answers.items() if name is not None)
            text = f"{link}: the network does not pass {silent[0]}: {by} and no {silent[0]}"
            hint = "a switch or access point drops it; the beacon finds nodes all the same, multicast DNS does not"
            self._findings.note("passage", IS_WARNING, text, hint)
        elif reached:
            name, host = reached[0]
            text = f"{link}: {name} at {host} answers calls and neither {' nor '.join(answers)}"
            hint = "a switch, an access point or a firewall there drops them: name nodes with --join HOST:PORT"
            self._findings.note("passage", IS_WARNING, text, hint)
        else:
            text = (
                f"{link}: no other machine answers, so whether the network passes {' and '.join(answers)} is not known"
            )
            self._findings.note("passage", IS_OK, text)


def _is_on(link: Link, host: str) -> bool:
    """Whether the address belongs to the IPv4 network of the link, which its broadcast address gives."""
    if link.broadcast is None or ":" in host:
        return False
    own, broadcast, other = (int(ipaddress.IPv4Address(text)) for text in (link.host, link.broadcast, host))
    bits = (own ^ broadcast).bit_length()
    return own >> bits == other >> bits


def _ways(link: Link) -> Iterator[tuple[str, str]]:
    yield "multicast", BEACON_GROUP_IPV6 if link.is_ipv6 else BEACON_GROUP
    if link.broadcast is not None:
        yield "broadcast", link.broadcast


async def _read(opened: socket.socket, take: Take) -> None:
    with opened:
        while True:
            await trio.lowlevel.wait_readable(opened)
            try:
                data, source = opened.recvfrom(BEACON_BYTES_MAX + 1)
            except OSError:
                continue
            take(data, Address(str(source[0]).partition("%")[0], int(source[1])))
