"""The processes of one system while its messages are measured: its broker, a recipient and its senders."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import trio

from simulations.benchmarks.costs import processor_seconds_of
from simulations.benchmarks.message_systems import MessageSystem
from simulations.programs import ENDS_WITH_PARENT, Program, free_port

__all__ = ["Parties", "PartyFailed", "open_parties"]

READY_TIMEOUT: Final = 60.0
COMMAND_TIMEOUT: Final = 300.0
"""Timeouts in seconds. They end a benchmark that hangs, and say nothing about speed."""

_RECIPIENT: Final = "recipient"


class PartyFailed(Exception):
    """A process of a system does not follow a command. The text says which one, and where its errors are."""


class Party:
    """A process with one client."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self._name = name
        self._log = log
        self._said, self._heard = trio.open_memory_channel[dict[str, Any]](10)
        self.address = ""
        self.program = Program(command, log, self._hear)

    async def run(self) -> None:
        with self._said:
            await self.program.run()

    async def wait_for(self, event: str) -> dict[str, Any]:
        """Return its next line, which must be this event. Raises :class:`PartyFailed`."""
        with trio.move_on_after(READY_TIMEOUT if event == "ready" else COMMAND_TIMEOUT):
            try:
                said = await self._heard.receive()
            except trio.EndOfChannel:
                raise PartyFailed(f"{self._name} ended, instead of saying {event!r}: see {self._log}") from None
            if said.pop("event") != event:
                raise PartyFailed(f"{self._name} said {said}, instead of {event!r}")
            return said
        raise PartyFailed(f"{self._name} did not say {event!r} in time: see {self._log}")

    def tell(self, command: str, **arguments: Any) -> None:
        self.program.tell(msgspec.json.encode({"command": command, **arguments}).decode())

    async def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Give it a command, and wait for its result."""
        self.tell(command, **arguments)
        return await self.wait_for("done")

    def _hear(self, line: str, _arrived: float) -> None:
        self._said.send_nowait(msgspec.json.decode(line, type=dict[str, Any]))


class Parties:
    """All processes of one system. Made by :func:`open_parties`."""

    recipient: Party
    sender: Party

    def __init__(self, system: MessageSystem, directory: Path, nursery: trio.Nursery) -> None:
        self.system = system
        self._directory = directory
        self._nursery = nursery
        self._address = ""
        self._programs: list[Program] = []

    async def start(self) -> None:
        """Start the broker, the recipient and a sender."""
        if self.system.needs_port:
            self._address = f"127.0.0.1:{free_port()}"
        await self._start_broker()
        self.recipient = await self.open(_RECIPIENT, "recipient")
        self.sender = await self.open("sender", "sender")

    async def open(
        self, name: str, role: Literal["sender", "recipient"], *, courier: str = "", address: str = ""
    ) -> Party:
        """Start one more client. It uses ``address`` instead of the system's, if given."""
        options = {
            "system": courier or self.system.courier,
            "name": name,
            "role": role,
            "address": address or self._address,
            "directory": str(self._directory),
            "recipient": _RECIPIENT,
        }
        command = [*ENDS_WITH_PARENT, *self.system.client_prefix(self._directory), sys.executable]
        command += ["-m", "simulations.benchmarks.message_program"]
        for key, value in options.items():
            command += [f"--{key}", value]
        party = Party(f"{self.system.name}'s {name}", command, self._log(name))
        self._programs.append(party.program)
        self._nursery.start_soon(party.run)
        party.address = (await party.wait_for("ready"))["address"]
        self._address = self._address or party.address
        return party

    def close(self, party: Party) -> None:
        party.program.kill()
        self._programs.remove(party.program)

    def processor_seconds(self) -> float:
        """Return what all its processes have cost so far."""
        return sum(processor_seconds_of(program.pid) for program in self._programs)

    def kill_all(self) -> None:
        for program in reversed(self._programs):
            program.kill()

    async def _start_broker(self) -> None:
        host, _, port = self._address.rpartition(":")
        command = self.system.broker(int(port or 0), self._directory)
        if command is None:
            return
        broker = Program([*ENDS_WITH_PARENT, *command], self._log("broker"), lambda _line, _arrived: None)
        self._programs.append(broker)
        self._nursery.start_soon(broker.run)
        with trio.move_on_after(READY_TIMEOUT):
            while not broker.ended.is_set():
                with contextlib.suppress(OSError):
                    await (await trio.open_tcp_stream(host, int(port))).aclose()
                    return
                await trio.sleep(0.02)
        raise PartyFailed(f"{self.system.name}'s broker does not listen: see {self._log('broker')}")

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"


@contextlib.asynccontextmanager
async def open_parties(system: MessageSystem, directory: Path) -> AsyncIterator[Parties]:
    """Run its processes during the block; all are killed at its end. They store their files in ``directory``, which is
    new."""
    async with trio.open_nursery() as nursery:
        parties = Parties(system, directory, nursery)
        try:
            await parties.start()
            yield parties
        finally:
            parties.kill_all()
            nursery.cancel_scope.cancel()
