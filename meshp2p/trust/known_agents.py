"""The agents that were met, by machine and id, and which process of each is the present one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from meshp2p.core.record import BOOT_DICE_BITS, SignedRecord
from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.trust.certificates import AgentRole
from meshp2p.trust.trust_map import TrustMap

__all__ = ["KnownAgents"]

BOOTS_MAX: Final = 256
"""Agents of one machine that are remembered. Chosen, not measured."""


class _Process(NamedTuple):
    """The process that published the last record of an agent. ``incarnation`` is 0 if that was in an earlier life, and
    so is ``boot`` if there was none."""

    boot: int = 0
    incarnation: int = 0


class KnownAgents:
    """The agents that were met in this life of a node, and ``boots`` of earlier lives. ``new`` are those to be kept for
    later lives."""

    def __init__(self, boots: Mapping[tuple[bytes, str], int]) -> None:
        self._processes: dict[bytes, dict[str, _Process]] = {}
        for (machine, agent_id), boot in boots.items():
            self._processes.setdefault(machine, {})[agent_id] = _Process(boot)
        self.new: dict[tuple[bytes, str], int] = {}

    def meet(self, machine: bytes, role: AgentRole) -> None:
        """Note that an agent on that machine connected. Raises :class:`RemoteProtocolError` if a later process of it
        published the last record.

        A process that only connected does not count: the id may turn out to be that of an earlier one that still runs.
        """
        known = self._processes.get(machine, {}).get(role.id)
        if known is None:
            self._put(machine, role.id, _Process())
        elif role.boot < known.boot:
            raise RemoteProtocolError(
                Refusal.UNTRUSTED, f"agent {role.id!r}: boot {role.boot} is over, {known.boot} is known"
            )

    def note_record(self, record: SignedRecord) -> None:
        """Note the process that published a record of a node, unless a later record is known."""
        known = self._processes.get(record.proof.owner, {}).get(record.id, _Process())
        process = _Process(record.boot >> BOOT_DICE_BITS, record.incarnation)
        if process.incarnation > known.incarnation and (known.incarnation or process.boot >= known.boot):
            self._put(record.proof.owner, record.id, process)

    def _put(self, machine: bytes, agent_id: str, process: _Process) -> None:
        processes = self._processes.setdefault(machine, {})
        known = processes.pop(agent_id, None)
        processes[agent_id] = process
        if known is None or known.boot != process.boot:
            self.new[machine, agent_id] = process.boot
        if len(processes) > BOOTS_MAX:  # a machine displaces only its own
            del processes[next(iter(processes))]

    def revoked(self, trust: TrustMap) -> list[tuple[bytes, str]]:
        """Return the machines and ids of the agents that are not trusted any more."""
        known = [(machine, agent_id) for machine, processes in self._processes.items() for agent_id in processes]
        return [one for one in known if not trust.is_trusted(one[0], agent=one[1])]
