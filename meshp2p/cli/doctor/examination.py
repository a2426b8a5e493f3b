"""The checks of ``meshp2p doctor``: it examines this machine and its networks, looks for nodes through each source of
discovery, calls them, and asks one of them to call back."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import trio

from meshp2p.cli.doctor.findings import IS_BROKEN, IS_OK, IS_WARNING, Findings, SeenNode
from meshp2p.cli.doctor.inbound import check_inbound
from meshp2p.cli.doctor.links import LinkTrial
from meshp2p.cli.doctor.machine import CALL_TIMEOUT, MachineCheck
from meshp2p.cli.doctor.members import call_members
from meshp2p.cli.doctor.status import note_status
from meshp2p.core.address import Address, parse_address, parse_endpoint
from meshp2p.core.calls import Pong, Probe
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.effects import Call, CallFailed, Failure
from meshp2p.core.swim.candidates import Candidates, SourceStats
from meshp2p.discovery.cache import PeerCache
from meshp2p.discovery.endpoints import Endpoints
from meshp2p.discovery.mdns import browse_once, multicast_interfaces
from meshp2p.discovery.seeds import resolve
from meshp2p.errors import StartError
from meshp2p.net.peers import open_stranger
from meshp2p.net.sockets import connect_tcp
from meshp2p.node.config import DEFAULT_PORT, NodeConfig, is_loopback
from meshp2p.node.inviting import INVITATION_PREFIX
from meshp2p.node.platform import find_place
from meshp2p.node.secured_meshes import announced_mesh, how_to_join, is_secured_as
from meshp2p.wire.codec import Codec

__all__ = ["Examination"]


class Examination:
    """One run of all checks, for a node with this configuration. ``seconds`` is how long it listens."""

    def __init__(self, config: NodeConfig, seconds: float) -> None:
        self.findings: Findings = Findings()
        self._config = config
        self._seconds = seconds
        self._announced = announced_mesh(config)
        self._is_secured = self._announced != config.mesh_name
        """Nodes of a secured mesh answer only members, so the doctor does not call them."""
        self._codec = Codec(self._announced)
        self._machine = MachineCheck(config, self._codec, self.findings)
        self._not_invited: set[str] = set()
        self._table = Candidates(ProtocolConfig(), random.SystemRandom())

    async def run(self) -> None:
        """Make all checks. What fails on the machine or the network becomes a finding, and raises nothing."""
        machine = self._machine
        try:
            await machine.check()
            host = self._config.bound_host
            is_any = self._config.host is None or not machine.is_host_own
            place = find_place("::" if is_any else host, machine.port, machine.interfaces)

            def offer(addresses: tuple[Address, ...], instance_id: str) -> None:
                self._offer("beacon", addresses, instance_id)

            trial = LinkTrial(place.links, self._codec, machine.own_hosts, self.findings, offer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trial.run, self._seconds)
                if self._config.mdns:
                    nursery.start_soon(trial.run_mdns, self._seconds)
                nursery.start_soon(self._look_by_mdns, place)
                for seed in self._config.join:
                    nursery.start_soon(self._look_by_seed, parse_endpoint(seed))
                nursery.start_soon(self._look_into_cache)
            await self._call_all()
            await self._call_members()
            reached = self._reached()
            trial.judge([(name, address.host) for name, address in reached])
            if not is_loopback(host) and machine.is_host_own:
                await self._check_inbound(reached)
            self._note_other_meshes()
        finally:
            machine.close()
        await note_status(self._config, self.findings)  # now that it cannot call the sockets of this examination

    @property
    def sources(self) -> dict[str, SourceStats]:
        """How many addresses each source offered, and how many of them answered."""
        return self._table.statistics()

    # The sources

    async def _look_by_mdns(self, place: Endpoints) -> None:
        try:
            seen = await browse_once(None, self._seconds, multicast_interfaces(place.hosts))
        except StartError as error:
            self.findings.note("mdns", IS_WARNING, str(error), "the beacon and --join do without it")
            return
        for advertisement in seen:
            if advertisement.mesh == self._announced:
                self._offer("mdns", advertisement.addresses, advertisement.instance_id)
            elif not advertisement.mesh.startswith(INVITATION_PREFIX):
                self.findings.other_names.add(advertisement.mesh)
                if is_secured_as(advertisement.mesh, self._config.mesh_name):
                    self._not_invited.add(advertisement.instance_id)

    async def _look_by_seed(self, seed: Address) -> None:
        try:
            with trio.fail_after(self._seconds):
                addresses = await resolve(seed)
        except (OSError, ValueError, trio.TooSlowError) as error:
            self.findings.note("seed", IS_BROKEN, f"{seed}: the name has no address: {error}", "is it spelled right?")
            return
        if self._is_secured:
            return
        self._offer("seed", addresses, None)
        async with open_stranger(self._codec) as peers:
            reply = await peers.call(Call(0, tuple(addresses), Probe(0), CALL_TIMEOUT))
        if isinstance(reply, Pong):
            self.findings.note("seed", IS_OK, f"{seed}: node {reply.id} answers")
        elif isinstance(reply, CallFailed):
            if "other_mesh" in reply.reason:
                self.findings.other_tags.add(b"")
            text, hint = await self._tell_stopped([str(seed)], *_explain(seed, reply, self._config.mesh_name))
            self.findings.note("seed", IS_BROKEN, text, hint)

    async def _look_into_cache(self) -> None:
        if self._config.data_dir is not None:
            for peer in await PeerCache(Path(self._config.data_dir) / "peers.json").load():
                self._offer("cache", peer.addresses, peer.instance_id)

    def _offer(self, source: str, addresses: tuple[Address, ...], instance_id: str | None) -> None:
        if self._is_secured:
            if instance_id is not None and source in ("mdns", "beacon"):
                self.findings.members.add(instance_id)
            return
        self._table.offer(source, addresses, instance_id, trio.current_time())

    # Calls

    async def _call_all(self) -> None:
        by_id: dict[str, SeenNode] = {}
        now = trio.current_time()
        due = self._table.choose_due(now, 64, without=lambda _address, _id: False)
        told = {candidate.address: candidate for candidate in self._table}

        async def call(address: Address) -> None:
            reply = await peers.call(Call(0, (address,), Probe(0), CALL_TIMEOUT))
            answered = reply.id if isinstance(reply, Pong) else None
            self._table.conclude(address, answered, now)
            name = answered or told[address].instance_id or str(address)
            node = by_id.setdefault(name, SeenNode(answered or told[address].instance_id, [], []))
            is_here = address.host in self._machine.own_hosts or is_loopback(address.host)
            node.is_here = node.is_here or is_here
            node.addresses.insert(0 if answered is not None else len(node.addresses), str(address))
            node.sources = sorted({*node.sources, *told[address].sources})
            node.is_reachable = node.is_reachable or answered is not None

        async with open_stranger(self._codec) as peers, trio.open_nursery() as nursery:
            for address in due:
                nursery.start_soon(call, address)
        nodes = self.findings.nodes = [by_id[name] for name in sorted(by_id)]
        for node in nodes:
            if not node.is_reachable and node.id is not None:
                hint = "open its UDP and TCP port in the firewall of its machine"
                text = f"{node.id} is seen by {', '.join(node.sources)}; at {', '.join(node.addresses)} nobody answers"
                state = IS_WARNING if node.sources == ["cache"] else IS_BROKEN
                self.findings.note("node", state, *await self._tell_stopped(node.addresses, text, hint))

    async def _call_members(self) -> None:
        """Call the members that no source showed."""
        findings = self.findings
        reachable = {node.id: node.addresses[0] for node in findings.nodes if node.is_reachable and node.id is not None}
        for member in await call_members(self._codec, reachable):
            addresses = [str(address) for address in member.addresses]
            is_here = any(address.host in self._machine.own_hosts for address in member.addresses)
            findings.nodes = [node for node in findings.nodes if node.id != member.id]
            is_reachable = member.answers and member.via is None
            findings.nodes.append(SeenNode(member.id, addresses, ["mesh"], is_reachable, is_here))
            where = f"{member.id} is a member, and does not answer at {', '.join(addresses)}"
            if member.answers and member.via is not None:
                text = f"{where}; {member.via} passes calls on to it, so it receives messages"
                hint = "a firewall or NAT hides it: open its TCP port, or leave it so"
                findings.note("member", IS_WARNING, text, hint)
            elif not member.answers:
                text = f"{where}; {member.via} has no path to it either: it receives no messages from here"
                hint = "open its TCP port in the firewall of its machine"
                findings.note("member", IS_BROKEN, *await self._tell_stopped(addresses, text, hint))

    async def _tell_stopped(self, addresses: list[str], text: str, hint: str) -> tuple[str, str]:
        """Return what is wrong with a node that does not answer, and what to do. If the system of its machine accepts a
        connection and nothing answers there, no firewall is in the way: its process does not run on."""
        async with open_stranger(self._codec) as peers:
            for address in [parse_address(each, DEFAULT_PORT) for each in addresses]:
                reply = await peers.call(Call(0, (address,), Probe(0), 1.0))
                if isinstance(reply, CallFailed) and reply.failure is Failure.TIMEOUT:
                    with trio.move_on_after(1.0), contextlib.suppress(OSError):
                        await (await connect_tcp(address)).aclose()
                        text = f"{text}; connections are accepted there"
                        return text, "its process is stopped or stuck: see it on its machine"
        return text, hint

    def _reached(self) -> list[tuple[str, Address]]:
        """The ids and addresses of the nodes of other machines that answered."""
        return [
            (node.id, parse_address(node.addresses[0], DEFAULT_PORT))
            for node in self.findings.others
            if node.id is not None
        ]

    async def _check_inbound(self, reached: list[tuple[str, Address]]) -> None:
        if reached:
            await check_inbound(self._codec, self._machine, reached[0], self.findings)
            return
        text = f"no node of another machine answers, so whether others reach port {self._machine.port} is not known"
        self.findings.note("inbound", IS_OK, text)

    def _note_other_meshes(self) -> None:
        findings = self.findings
        if self._not_invited:
            findings.note("mesh", IS_BROKEN, *how_to_join(self._config.mesh_name, len(self._not_invited)))
        if findings.other_meshes:
            names = (
                ", ".join(map(repr, sorted(findings.other_names))) or f"{findings.other_meshes} whose name is not told"
            )
            state = IS_OK if findings.others else IS_WARNING
            text = f"nodes of other meshes are here: {names}; nodes of {self._config.mesh_name!r} do not see them"
            findings.note("mesh", state, text, "give all nodes the same --mesh")


def _explain(seed: Address, failed: CallFailed, mesh: str) -> tuple[str, str]:
    """Why a seed does not answer, and what to do."""
    if "other_mesh" in failed.reason:
        return f"{seed}: a node of another mesh answers, and none of {mesh!r}", "give both nodes the same --mesh"
    if failed.failure is Failure.REFUSED:
        hint = "is the node up, and is this its port? Its first line shows it"
        return f"{seed}: the machine refuses connections: nothing listens at this port", hint
    if failed.failure is Failure.TIMEOUT:
        hint = "is the machine up? A firewall there may drop what comes to the port"
        return f"{seed}: no answer in {CALL_TIMEOUT:g} s", hint
    return f"{seed}: {failed.reason.removeprefix(f'{seed}: ')}", "is a node of this mesh there, and is this its port?"
