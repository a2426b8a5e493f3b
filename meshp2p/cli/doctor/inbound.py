"""Checks whether other machines reach the port that a node has here, by asking a node of one of them to try."""

from __future__ import annotations

import trio

from meshp2p.cli.doctor.findings import IS_BROKEN, IS_OK, IS_WARNING, Findings
from meshp2p.cli.doctor.machine import MachineCheck
from meshp2p.core.address import Address
from meshp2p.net.peers import open_stranger
from meshp2p.net.sockets import DatagramSocket
from meshp2p.wire.codec import Codec

__all__ = ["check_inbound"]

DATAGRAM_TIMEOUT = 2.0
"""Seconds. Chosen, not measured."""


async def check_inbound(codec: Codec, machine: MachineCheck, asked: tuple[str, Address], findings: Findings) -> None:
    """Have the node ``asked``, an id and an address, connect to this machine and send it a datagram."""
    name, address = asked
    port = machine.port
    heard = trio.Event()
    async with open_stranger(codec) as peers, trio.open_nursery() as nursery:

        async def hear(datagrams: DatagramSocket) -> None:
            while True:
                await datagrams.wait_readable()
                received = datagrams.receive_nowait()
                if received is not None and received[1].host == address.host:
                    heard.set()

        if machine.sockets is not None:
            nursery.start_soon(hear, machine.sockets.datagrams)
        failure = await peers.ask_dial_back("", 0, (address,), port)
        if failure is not None and machine.sockets is not None:
            with trio.move_on_after(DATAGRAM_TIMEOUT):
                await heard.wait()
        nursery.cancel_scope.cancel()
    hint = f"a firewall of this machine, or NAT: allow UDP and TCP port {port}"
    if failure is None:
        text = f"{name} cannot be asked to connect to this machine: whether others reach port {port} is not known"
        findings.note("inbound", IS_WARNING, text, "run the doctor on another machine as well")
        return
    if failure:
        findings.note("inbound", IS_BROKEN, f"TCP port {port} is not reached: {name} tried {failure}", hint)
    else:
        findings.note("inbound", IS_OK, f"TCP port {port} is reached by {name}")
    if machine.sockets is None:
        findings.note(
            "inbound", IS_OK, f"whether UDP port {port} is reached is not known: the node that runs here has it"
        )
    elif heard.is_set():
        findings.note("inbound", IS_OK, f"UDP port {port} is reached by {name}")
    else:
        findings.note("inbound", IS_BROKEN, f"UDP port {port} is not reached: {name} sent a datagram", hint)
