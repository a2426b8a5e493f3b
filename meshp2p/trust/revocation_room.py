"""The bounds on the revocations in a trust map, and the room that they take.

A machine that is no admin shares one bound with all machines below it, so no member can fill the map. Admins have room
left when other members have filled theirs, and the root always has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from meshp2p.trust.machines import MeshMachine
from meshp2p.trust.revocations import Revocation
from meshp2p.trust.statements import REVOCATIONS_MAX

__all__ = ["RevocationRoom", "bound_of"]

REVOCATIONS_OF_MACHINE_MAX: Final = 4
"""Revocations of one machine by one author, which differ in the machines that they keep. More of them keep nobody."""

REVOCATIONS_OF_AGENTS_MAX: Final = 32
"""Revocations of agents and tokens of one machine by one author. More of them revoke the machine. Chosen, not
measured."""

REVOCATIONS_OF_BRANCH_MAX: Final = 64
"""Revocations by a machine that is no admin and by all machines below it. Chosen, not measured."""

_KEPT_PER_UNIT: Final = 16
"""A revocation that keeps this many machines takes the room of two."""


def bound_of(revocation: Revocation) -> int:
    """Return how many such revocations of its target one author may make: see the bounds above."""
    return REVOCATIONS_OF_MACHINE_MAX if revocation.is_of_machine else REVOCATIONS_OF_AGENTS_MAX


class RevocationRoom:
    """The room that ``revocations`` take in a map of ``machines``. ``root`` is the fingerprint of the root, whose
    revocations take none."""

    def __init__(self, root: bytes, machines: Mapping[bytes, MeshMachine], revocations: Iterable[Revocation]) -> None:
        self._root = root
        self._machines = machines
        self._taken: Counter[bytes] = Counter()  # by branch of the author
        for one in revocations:
            self.add(one)

    def why_full(self, revocation: Revocation) -> str:
        """Return why there is no room for one more revocation, whose author is the root or in ``machines``; empty if
        there is."""
        if revocation.author == self._root:
            return ""
        author, needed = self._machines[revocation.author], _room_for(revocation)
        total, taken = self._taken.total(), self._taken[author.branch]
        if total + needed > (3 * REVOCATIONS_MAX if author.is_admin else REVOCATIONS_MAX):
            return f"the mesh has {total} revocations: no more are taken, except from the root or an admin"
        if not author.is_admin and taken + needed > REVOCATIONS_OF_BRANCH_MAX:
            return (
                f"machine {self._machines[author.branch].label!r} and those below it have made {taken} revocations:"
                " no more are taken, except from the root or an admin"
            )
        return ""

    def add(self, revocation: Revocation) -> None:
        """Count a revocation that the map got."""
        self._count(revocation.author, _room_for(revocation))

    def remove(self, revocation: Revocation) -> None:
        """Count a revocation that the map dropped."""
        self._count(revocation.author, -_room_for(revocation))

    def _count(self, author: bytes, room: int) -> None:
        if author != self._root:
            machine = self._machines.get(author)  # None if the map forgot it
            self._taken[author if machine is None else machine.branch] += room


def _room_for(revocation: Revocation) -> int:
    return 1 + len(revocation.kept) // _KEPT_PER_UNIT
