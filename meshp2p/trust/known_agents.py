"""The agents that were met, by machine and id, with their highest boots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meshp2p.errors import Refusal, RemoteProtocolError
from meshp2p.trust.certificates import AgentRole
from meshp2p.trust.trust_map import TrustMap

__all__ = ["KnownAgents"]

BOOTS_MAX: Final = 256
"""Instances of one machine whose highest boot is remembered. Chosen, not measured."""


class KnownAgents:
    """The agents that connected in this life of a node, and ``boots`` of earlier lives. ``new`` are those to be kept
    for later lives."""

    def __init__(self, boots: Mapping[tuple[bytes, str], int]) -> None:
        self._boots: dict[bytes, dict[str, int]] = {}
        for (machine, agent_id), boot in boots.items():
            self._boots.setdefault(machine, {})[agent_id] = boot
        self.new: dict[tuple[bytes, str], int] = {}

    def note(self, machine: bytes, role: AgentRole) -> None:
        """Note that this process of an agent on that machine connected. Raises :class:`RemoteProtocolError` if a later
        one did before."""
        boots = self._boots.setdefault(machine, {})
        known = boots.pop(role.id, 0)
        boots[role.id] = max(known, role.boot)
        if role.boot > known:
            self.new[machine, role.id] = role.boot
        if len(boots) > BOOTS_MAX:  # a machine displaces only its own
            del boots[next(iter(boots))]
        if role.boot < known:
            raise RemoteProtocolError(
                Refusal.UNTRUSTED, f"agent {role.id!r}: boot {role.boot} is over, {known} is known"
            )

    def revoked(self, trust: TrustMap) -> list[tuple[bytes, str]]:
        """The machines and ids of those that are not trusted any more."""
        known = [(machine, agent_id) for machine, boots in self._boots.items() for agent_id in boots]
        return [one for one in known if not trust.is_trusted(one[0], agent=one[1])]
