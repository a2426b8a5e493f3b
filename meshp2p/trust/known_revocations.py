"""The revocations in a trust map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from meshp2p.trust.revocation_room import bound_of
from meshp2p.trust.revocations import Revocation, SignedRevocation

__all__ = ["KnownRevocation", "KnownRevocations"]


class KnownRevocation(NamedTuple):
    """A revocation whose signature was verified."""

    revocation: Revocation
    signed: SignedRevocation


class KnownRevocations:
    """Revocations, each once, in an order that depends on nothing else: by their targets, then by their bytes."""

    def __init__(self) -> None:
        self._by_target: dict[bytes, dict[bytes, KnownRevocation]] = {}

    def __contains__(self, target: bytes) -> bool:
        """Whether there are revocations of this machine, or of agents or tokens of it."""
        return target in self._by_target

    def __iter__(self) -> Iterator[KnownRevocation]:
        return (known for target in self.targets for known in self.of(target))

    @property
    def targets(self) -> list[bytes]:
        """The machines that the revocations concern."""
        return sorted(self._by_target)

    def of(self, target: bytes) -> list[KnownRevocation]:
        """Return the revocations of this machine, and of agents and tokens of it."""
        by_body = self._by_target.get(target, {})
        return [by_body[body] for body in sorted(by_body)]

    def alike(self, revocation: Revocation) -> dict[Revocation, bytes]:
        """Return the revocations that count towards the same bound, with their bodies."""
        return {
            one: body
            for body, (one, _) in self._by_target.get(revocation.target, {}).items()
            if (one.author, one.is_of_machine) == (revocation.author, revocation.is_of_machine)
        }

    def add(self, known: KnownRevocation) -> Revocation | None:
        """Add a revocation. Return the one that is dropped for it if there are more than its bound and one, which shows
        that there are too many."""
        revocation, signed = known
        by_body = self._by_target.setdefault(revocation.target, {})
        by_body[signed.body] = known
        alike = self.alike(revocation)
        return by_body.pop(max(alike.values())).revocation if len(alike) > bound_of(revocation) + 1 else None

    def keep(self, predicate: Callable[[Revocation], bool]) -> None:
        """Drop all revocations for which this is false."""
        kept = [known for known in self if predicate(known.revocation)]
        self._by_target.clear()
        for known in kept:
            self._by_target.setdefault(known.revocation.target, {})[known.signed.body] = known
