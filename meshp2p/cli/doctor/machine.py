"""Checks of this machine: the configuration, interfaces, the port, the clock."""

from __future__ import annotations

import time
from typing import Final

from meshp2p.cli.doctor.findings import IS_BROKEN, IS_OK, IS_WARNING, Findings
from meshp2p.core.address import Address
from meshp2p.core.calls import Pong, Probe
from meshp2p.core.effects import Call, CallFailed
from meshp2p.errors import StartError
from meshp2p.net.interfaces import Interface, list_interfaces, why_no_network
from meshp2p.net.peers import open_stranger
from meshp2p.net.sockets import Sockets, open_sockets
from meshp2p.node.config import DEFAULT_PORT, NodeConfig, is_loopback
from meshp2p.node.secured_meshes import announced_mesh
from meshp2p.wire.codec import Codec

__all__ = ["CALL_TIMEOUT", "MachineCheck"]

CLOCK_MIN: Final = 1_767_225_600
"""The first second of 2026: a clock that shows an earlier time was never set."""
CALL_TIMEOUT: Final = 2.0
"""Seconds. Chosen, not measured."""
_WILDCARDS: Final = ("::", "0.0.0.0")


class MachineCheck:
    """The checks of this machine for a node with this configuration. :meth:`check` fills ``interfaces``, ``own_hosts``
    and ``sockets``: those of the node's port, None if it cannot be bound. :meth:`close` closes them."""

    def __init__(self, config: NodeConfig, codec: Codec, findings: Findings) -> None:
        self.interfaces: tuple[Interface, ...] = ()
        self.own_hosts: set[str] = set()
        self.sockets: Sockets | None = None
        self._config = config
        self._codec = codec
        self._findings = findings

    @property
    def port(self) -> int:
        if self.sockets is not None:
            return self.sockets.port
        return DEFAULT_PORT if self._config.port is None else self._config.port

    @property
    def is_host_own(self) -> bool:
        """Whether the configured host is an address of this machine."""
        host = self._config.bound_host
        return host in _WILDCARDS or host in self.own_hosts or is_loopback(host)

    async def check(self) -> None:
        self._check_configuration()
        self._check_interfaces()
        await self._check_port()
        self._check_clock()

    def close(self) -> None:
        if self.sockets is not None:
            self.sockets.datagrams.close()
            self.sockets.listener.socket.close()

    def _check_configuration(self) -> None:
        config, note = self._config, self._findings.note
        any_port = f"port {DEFAULT_PORT} or any" if config.port is None else "any port"
        port = f"port {config.port}" if config.port else any_port
        seeds = f"joins {', '.join(config.join)}" if config.join else "no seeds"
        note("configuration", IS_OK, f"mesh {config.mesh_name!r}, bound to {config.bound_host}, {port}, {seeds}")
        if announced_mesh(config) != config.mesh_name:
            text = f"mesh {config.mesh_name!r} is secured: its nodes answer only members, so only its status is seen"
            hint = "`meshp2p agents` asks a node of this machine; `meshp2p trust` lists the machines"
            note("configuration", IS_WARNING, text, hint)
        if is_loopback(config.bound_host):
            hint = "give it --host, or --insecure-lan for all addresses"
            note("configuration", IS_WARNING, "only this machine sees such a node", hint)
        if not config.mdns and not config.has_beacon:
            hint = "leave mdns on, or name a node with --join HOST:PORT"
            note("configuration", IS_WARNING, "such a node looks for no others than its seeds", hint)

    def _check_interfaces(self) -> None:
        note = self._findings.note
        try:
            self.interfaces = list_interfaces()
        except OSError as error:
            note("interfaces", IS_BROKEN, f"they cannot be listed: {error}")
            return
        for interface in self.interfaces:
            self.own_hosts |= {*interface.addresses}
            addresses = ", ".join(interface.addresses) or "no address that a socket can be bound to"
            text = f"{interface.name}: {addresses} ({', '.join(interface.flags)})"
            hint = "it has no carrier: plug in its cable, or join its network"
            if interface.is_down:
                hint = f"it is down: ip link set {interface.name} up"
            note("interface", IS_OK if interface.has_carrier else IS_WARNING, text, hint)
        usable = {host for one in self.interfaces if one.has_carrier for host in one.addresses}
        if "127.0.0.1" not in usable:
            note("loopback", IS_BROKEN, "no interface that is up has 127.0.0.1", "ip link set lo up")
        reason = why_no_network(self.interfaces)
        if reason:
            state = IS_WARNING if is_loopback(self._config.bound_host) else IS_BROKEN
            note("network", state, f"{reason}: only this machine can be reached", "plug in a cable or join a network")

    async def _check_port(self) -> None:
        config, note = self._config, self._findings.note
        try:
            self.sockets = open_sockets(config.bound_host, self.port, is_port_wished=True)
        except StartError as error:
            if not self.is_host_own:
                own = ", ".join(sorted(host for host in self.own_hosts if not is_loopback(host))) or "none but loopback"
                note("host", IS_BROKEN, str(error), f"addresses of this machine: {own}")
            elif "in use" in str(error):
                await self._note_holder(str(error))
            else:
                note("port", IS_BROKEN, str(error), "choose another --port or --host")
        else:
            note("port", IS_OK, f"UDP and TCP port {self.sockets.port} of {self.sockets.host} can be bound")

    async def _note_holder(self, error: str) -> None:
        """Note which program has the port."""
        host = self._config.bound_host
        at = Address("127.0.0.1" if host in (*_WILDCARDS, "localhost") else host, self.port)
        async with open_stranger(self._codec) as peers:
            reply = await peers.call(Call(0, (at,), Probe(0), CALL_TIMEOUT))
        if isinstance(reply, Pong):
            self._findings.note(
                "port", IS_OK, f"port {at.port} is that of node {reply.id} of this mesh, which runs here"
            )
            return
        holder = "another program has it"
        if isinstance(reply, CallFailed) and "other_mesh" in reply.reason:
            holder = "a node of another mesh has it"
        if self._config.port is None:
            hint = f"a node takes any free port then, and --join HOST does not lead to it: stop the holder of {at.port}"
            self._findings.note("port", IS_WARNING, f"{error}; {holder}", hint)
        else:
            self._findings.note("port", IS_BROKEN, f"{error}; {holder}", "stop it, or choose another --port")

    def _check_clock(self) -> None:
        shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        is_set = time.time() >= CLOCK_MIN
        self._findings.note(
            "clock", IS_OK if is_set else IS_WARNING, f"it shows {shown}", "set it: ids and times come from it"
        )
