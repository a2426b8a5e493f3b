"""A node checks by itself whether it finds others, whether they can connect to it, and whether UDP passes. It reports
each problem once, with the likely reason and the next step.

::

    alone         the node found no other within ``ALONE_SECONDS`` of its start
    unreachable   it found others, none of them ever connected to it, and one that it asked to connect could not
    no-udp        calls over TCP succeeded for ``SILENT_LOOKS`` seconds, and no ping was answered
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
import trio

from meshp2p.core.record import Record
from meshp2p.core.swim.candidates import SourceStats
from meshp2p.discovery.beacon import BeaconSource
from meshp2p.discovery.source import Source
from meshp2p.errors import Refusal
from meshp2p.net.driver import Driver
from meshp2p.net.peers import Peers
from meshp2p.node.config import NodeConfig, is_loopback
from meshp2p.node.events import NetworkProblemFound, event_log, event_text
from meshp2p.node.secured_meshes import how_to_join

__all__ = ["Search", "SelfCheck", "why_alone"]

# All of these are chosen, not measured.
LOOK_INTERVAL: Final = 1.0
ALONE_SECONDS: Final = 10.0
SILENT_LOOKS: Final = 10  # counted and not timed, because this process may have been stopped meanwhile
CALLS_MIN: Final = 3  # looks since which a call succeeded: if UDP fails, each probe is a call
COMPANY_SECONDS: Final = 10.0  # within which some node connects to this one, if any can
ASKED_MAX: Final = 3  # nodes that are asked to connect to this one

DOCTOR: Final = "`meshp2p doctor` finds out more"


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """How a node looked for others, and what it saw."""

    mesh: str
    bound_host: str
    has_mdns: bool
    has_beacon: bool
    seeds: tuple[str, ...]
    sources: Mapping[str, SourceStats]
    """The statistics of each source."""
    hears_other_meshes: bool
    secured_nodes: int
    """How many nodes are seen of secured meshes of this name that this machine is not in."""
    no_network: str
    """Why no other machine can be reached at all; empty if one may be."""


def why_alone(search: Search) -> tuple[str, str]:
    """Return the likely reason that a node found nobody, and what to do next."""
    seen = [name for name, stats in search.sources.items() if name != "seed" and stats.silent]
    seeds = search.sources.get("seed")
    looks = search.has_mdns or search.has_beacon
    if search.secured_nodes:
        return how_to_join(search.mesh, search.secured_nodes)
    if is_loopback(search.bound_host):
        reason = f"it is bound to {search.bound_host}, so it finds only nodes on this machine"
        return reason, "to reach other machines, use --insecure-lan, or --host with an address of this machine"
    if search.no_network:
        return search.no_network, "plug in a cable, join a network, or set an address"
    if seen:
        reason = f"{' and '.join(seen)} found nodes, but none answers at its address"
        return reason, "open the nodes' TCP port in the firewalls of both machines"
    if seeds is not None and seeds.silent:
        reason = f"no node of mesh {search.mesh!r} answers at {', '.join(search.seeds)}"
        return reason, "check that a node runs there, that its mesh has this name, and that its TCP port is open"
    if search.seeds and seeds is None:
        return f"{', '.join(search.seeds)} has no address", "check the name, or give an address"
    if search.hears_other_meshes:
        return f"nodes of other meshes are heard, but none of mesh {search.mesh!r}", "compare --mesh on both machines"
    if not looks and not search.seeds:
        reason = "mDNS and the beacon are off, and no seed is configured"
        return reason, "turn one of them on, or add --join HOST:PORT"
    reason = f"no node of mesh {search.mesh!r} is heard: none is running, or multicast and broadcast are blocked"
    return reason, "start another node, or add --join HOST:PORT"


class SelfCheck:
    """Checks one node, whose sockets are bound to ``bound_host``. ``why_no_network`` says why no other machine can be
    reached, and is empty if one may be. ``count_secured`` looks for secured meshes of the same name. ``put`` is given
    each problem."""

    def __init__(
        self,
        config: NodeConfig,
        bound_host: str,
        driver: Driver,
        peers: Peers,
        sources: Sequence[Source],
        why_no_network: Callable[[], str],
        count_secured: Callable[[], Awaitable[int]],
        put: Callable[[NetworkProblemFound], None],
    ) -> None:
        self._config = config
        self._bound_host = bound_host
        self._driver = driver
        self._machine = driver.machine
        self._peers = peers
        self._sources = sources
        self._why_no_network = why_no_network
        self._count_secured = count_secured
        self._put = put

    async def run(self) -> None:
        """Look for each problem until it is told. Runs until it is cancelled if one never occurs."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_for_company)
            nursery.start_soon(self._look_for_callers)
            nursery.start_soon(self._listen)

    def _tell(self, problem: NetworkProblemFound) -> None:
        event_log.warning("%s", event_text(problem))
        self._put(problem)

    # Company

    async def _look_for_company(self) -> None:
        with trio.move_on_after(ALONE_SECONDS):
            await self._driver.wait_until(self._has_company)
            return
        config = self._config
        search = Search(
            mesh=config.mesh_name,
            bound_host=self._bound_host,
            has_mdns=config.mdns,
            has_beacon=config.has_beacon,
            seeds=config.join,
            sources=self._machine.sources(),
            hears_other_meshes=self._hears_other_meshes(),
            secured_nodes=await self._count_secured(),
            no_network=self._why_no_network(),
        )
        reason, advice = why_alone(search)
        reason = f"this node found no other in {ALONE_SECONDS:g} s: {reason}"
        self._tell(NetworkProblemFound("alone", reason, f"{advice}; {DOCTOR}"))

    def _has_company(self) -> bool:
        return self._machine.node_count() > 1

    def _hears_other_meshes(self) -> bool:
        counts = [source.stats.refused for source in self._sources if isinstance(source, BeaconSource)]
        return any(count.get(Refusal.OTHER_MESH, 0) for count in (*counts, self._driver.stats.refused))

    # Callers

    async def _look_for_callers(self) -> None:
        """If no node of another machine connected to this one, ask some to try."""
        asked: set[str] = set()
        while len(asked) < ASKED_MAX and not self._is_called():
            if all(record.id in asked for record in self._others()):
                # not asked after each step of the machine: it lists all records
                await self._driver.sleep_with_slack(LOOK_INTERVAL)
                continue
            await trio.sleep(COMPANY_SECONDS)
            for record in [record for record in self._others() if record.id not in asked][:1]:
                asked.add(record.id)
                port = self._machine.own.addresses[0].port
                failure = await self._peers.ask_dial_back(record.id, record.boot, record.addresses, port)
                if failure is not None:
                    if failure and not self._is_called():
                        self._tell(_unreachable(record.id, failure, port))
                    return

    def _is_called(self) -> bool:
        return any(not self._is_here(host) for host in self._peers.stats.callers)

    def _is_here(self, host: str) -> bool:
        return is_loopback(host) or any(own.host == host for own in self._machine.own.addresses)

    def _others(self) -> list[Record]:
        """Return the listed nodes of other machines."""
        return [
            record
            for record in self._machine.records().values()
            if record.is_node
            and record.id != self._machine.id
            and record.addresses
            and not all(self._is_here(address.host) for address in record.addresses)
        ]

    # Datagrams

    async def _listen(self) -> None:
        stats = self._driver.stats
        calls = looks_in_silence = calls_in_silence = 0
        while True:
            await self._driver.sleep_with_slack(LOOK_INTERVAL)
            looks_in_silence += 1
            is_heard = any(not self._is_here(host) for host in self._driver.reader.pop_ack_hosts())
            if is_heard or not self._others():
                looks_in_silence = calls_in_silence = 0
            elif stats.calls_succeeded + stats.calls_answered != calls:
                calls_in_silence += 1
            calls = stats.calls_succeeded + stats.calls_answered
            if looks_in_silence >= SILENT_LOOKS:
                if calls_in_silence >= CALLS_MIN:
                    self._tell(_no_udp(self._machine.own.addresses[0].port))
                    return
                looks_in_silence = calls_in_silence = 0


def _unreachable(asked: str, failure: str, port: int) -> NetworkProblemFound:
    return NetworkProblemFound(
        "unreachable",
        f"other machines cannot connect to this node: {asked} tried {failure}",
        f"open UDP and TCP port {port} in the firewall of this machine (behind NAT the node uses the"
        f" connections that it opens itself); {DOCTOR}",
    )


def _no_udp(port: int) -> NetworkProblemFound:
    return NetworkProblemFound(
        "no-udp",
        "UDP between this node and the others is blocked, and TCP is not: they are probed by TCP only",
        f"open UDP port {port} in the firewalls of this machine and theirs; {DOCTOR}",
    )
