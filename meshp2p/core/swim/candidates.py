"""The addresses at which a peer may be, from all sources, in one table. They are tried for ever, with back-off."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.randomness import Randomness

__all__ = ["Candidate", "Candidates", "SourceStats"]

DIAL_PATIENCE = 600.0
"""How long in seconds an address may fail, without a sighting by any source, before its interval doubles further.
Chosen, not measured."""

DIAL_INTERVAL_LAST = 300.0
"""The longest interval of such an address, in seconds. Chosen, not measured."""

SEED = "seed"
"""The source that says where a peer should be, whether or not one was seen there."""

SEED_INTERVAL_LAST = 30.0
"""The longest interval of such an address from a seed, in seconds: a configured address is never given up. Chosen, not
measured."""

SEED_INTERVAL_ALONE = 4.0
"""The longest interval of such an address while no other node is listed, in seconds. A quarter more, which the random
spread may add, is 5 s. Chosen, not measured."""

STARTING_SHARE = 0.2
"""Such an address that did not answer is tried again after this share of the usual pause while no other node is listed,
because programs that are started together often find that the seed does not listen yet. Chosen, not measured."""

OWN_ADDRESS_INTERVAL = 3600.0
"""How long in seconds an address at which this node found itself counts as its own, since another machine may get it.
Chosen, not measured."""

GREETERS = 3.0
"""How many nodes of a mesh, on average, at once dial a node that all of them see for the first time. Chosen, not
measured."""

Needless = Callable[[Address, str | None], bool]


class Candidate:
    """An address: the sources that named it, the peer expected or found there, and when it is tried next."""

    __slots__ = (
        "address",
        "dialled_at",
        "expected_at",
        "failures",
        "instance_id",
        "is_dialling",
        "is_own",
        "next_dial",
        "pause",
        "sources",
        "successes",
    )

    def __init__(self, address: Address, now: float) -> None:
        self.address: Address = address
        self.sources: dict[str, None] = {}
        self.instance_id: str | None = None
        self.next_dial: float = now
        self.dialled_at: float = -math.inf
        self.expected_at: float = now
        """When there was last a reason to expect a peer here: a sighting, an answer, or the loss of the peer that was
        here."""
        self.pause: float = 0.0
        self.is_own: bool = False
        self.is_dialling: bool = False
        self.failures: int = 0
        self.successes: int = 0

    def __repr__(self) -> str:
        return (
            f"<Candidate {self.address} from {'+'.join(self.sources)} id={self.instance_id!r}"
            f" successes={self.successes} failures={self.failures} next_dial={self.next_dial:.3f}>"
        )


class SourceStats(msgspec.Struct):
    """Statistics of one source: how many of the addresses in the table it named, at how many of these a node answered
    the last attempt, and at how many none did. The others were not tried, because their peers are already listed."""

    addresses: int = 0
    answered: int = 0
    silent: int = 0


class Candidates:
    """The table of candidates.

    An address is dialled at once when it is first named, then at intervals that double up to ``dial_interval_max``. If
    it failed for ``DIAL_PATIENCE`` and no peer was seen there, they double further up to ``DIAL_INTERVAL_LAST`` (for a
    seed ``SEED_INTERVAL_LAST``). A node that lists no other node dials its seeds at least every
    ``SEED_INTERVAL_ALONE``. An address whose peer is listed is kept and not dialled; when the peer is lost, it is tried
    again.
    """

    def __init__(self, config: ProtocolConfig, random: Randomness) -> None:
        self._config = config
        self._random = random
        self._table: dict[Address, Candidate] = {}

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._table.values())

    def statistics(self) -> dict[str, SourceStats]:
        """Return the statistics by source. An address named by several sources counts for each."""
        by_source: dict[str, SourceStats] = {}
        for candidate in self:
            for source in candidate.sources:
                stats = by_source.setdefault(source, SourceStats())
                stats.addresses += 1
                stats.answered += candidate.successes > 0 and candidate.failures == 0
                stats.silent += candidate.failures > 0
        return by_source

    def offer(
        self, source: str, addresses: tuple[Address, ...], instance_id: str | None, now: float, *, nodes: int = 1
    ) -> None:
        """Note that ``source`` saw a peer at these addresses.

        A repeated sighting only hastens addresses that were nearly given up. ``nodes`` is the number of listed nodes:
        if there are many, all of them see a new node at once, a few dial it, and the others soon hear of it from these.
        """
        for address in addresses:
            candidate = self._table.get(address)
            if candidate is None:
                if len(self._table) >= self._config.candidates_max and not self._evict():
                    continue
                candidate = self._table[address] = Candidate(address, now)
                candidate.instance_id = instance_id
                if nodes > GREETERS and self._random.random() * nodes >= GREETERS:
                    candidate.next_dial += self._config.dial_interval_min * (1 + 2 * self._random.random())
            is_known = source in candidate.sources
            candidate.sources[source] = None
            if source == SEED and is_known:
                continue
            candidate.expected_at = now
            if candidate.pause > self._config.dial_interval_max and not candidate.is_own:
                self._hasten(candidate, now)
            if instance_id is not None and instance_id != candidate.instance_id:
                candidate.instance_id = instance_id
                self._hasten(candidate, now)

    @staticmethod
    def _hasten(candidate: Candidate, now: float) -> None:
        candidate.failures = 0
        candidate.pause = 0.0
        candidate.is_own = False
        candidate.next_dial = now

    def reserve(self, address: Address, now: float) -> bool:
        """Take this address for dialling, due or not. Return whether it may be dialled: not twice within
        ``dial_interval_min``."""
        candidate = self._table.get(address)
        if candidate is None or candidate.is_dialling or now - candidate.dialled_at < self._config.dial_interval_min:
            return False
        candidate.is_dialling = True
        candidate.dialled_at = now
        return True

    def postpone(self, instance_id: str, now: float) -> None:
        """Do not dial the addresses of this instance for ``dial_interval_max``, since no peer is expected there."""
        for candidate in self._table.values():
            if candidate.instance_id == instance_id:
                candidate.next_dial = max(candidate.next_dial, now + self._config.dial_interval_max)

    def expect(self, instance_id: str, now: float) -> None:
        """Note that this instance was lost: a peer was at its addresses until now."""
        for candidate in self._table.values():
            if candidate.instance_id == instance_id:
                candidate.expected_at = now

    def note_alone(self, now: float) -> None:
        """Make the seeds due soon, however rarely they were dialled, because no other node is listed any more."""
        for candidate in self._table.values():
            if SEED in candidate.sources and not candidate.is_own:
                pause = self._pause_alone(candidate.pause) * self._spread()
                candidate.next_dial = min(candidate.next_dial, now + pause)

    def move(self, now: float) -> None:
        """Make all addresses due at once, because this node moved.

        Its former addresses may now belong to others, and nodes that could not be reached from the old place may be
        reachable now.
        """
        for candidate in self._table.values():
            if candidate.is_own or candidate.failures:
                candidate.expected_at = now
                self._hasten(candidate, now)

    def choose_due(self, now: float, count: int, *, without: Needless) -> list[Address]:
        """Return up to ``count`` addresses that are due, those that have waited longest first, so that each gets its
        turn."""
        waiting = (
            candidate
            for candidate in self._table.values()
            if not candidate.is_dialling
            and candidate.next_dial <= now
            and not without(candidate.address, candidate.instance_id)
        )
        due = heapq.nsmallest(count, waiting, key=lambda candidate: candidate.next_dial)
        for candidate in due:
            candidate.is_dialling = True
            candidate.dialled_at = now
        return [candidate.address for candidate in due]

    def conclude(
        self,
        address: Address,
        instance_id: str | None,
        now: float,
        *,
        is_own: bool = False,
        is_alone: bool = False,
    ) -> None:
        """Note the outcome of a dial: the node that answered, or None. ``is_own``: this node itself answered.
        ``is_alone``: it lists no other node."""
        candidate = self._table[address]
        candidate.is_dialling = False
        if instance_id is None:
            candidate.failures += 1
        else:
            candidate.failures = 0
            candidate.successes += 1
            candidate.instance_id = instance_id
            candidate.expected_at = now
        candidate.is_own = is_own
        candidate.pause = OWN_ADDRESS_INTERVAL if is_own else self._pause_after(candidate, now)
        waits_for_it = is_alone and SEED in candidate.sources and not is_own
        pause = self._pause_alone(candidate.pause) if waits_for_it else candidate.pause
        if waits_for_it and instance_id is None:
            pause = min(pause, STARTING_SHARE * self._config.dial_interval_min * 2.0 ** min(20, candidate.failures))
        candidate.next_dial = now + pause * self._spread()

    def _pause_alone(self, pause: float) -> float:
        return min(pause, max(SEED_INTERVAL_ALONE, self._config.dial_interval_min))

    def _spread(self) -> float:
        """Return a random factor, so that nodes that began together do not dial at the same moments for ever."""
        return 0.75 + 0.5 * self._random.random()

    def _pause_after(self, candidate: Candidate, now: float) -> float:
        interval_max = self._config.dial_interval_max
        pause = min(interval_max, self._config.dial_interval_min * 2.0 ** min(20, candidate.failures))
        if now - candidate.expected_at >= DIAL_PATIENCE:
            last = SEED_INTERVAL_LAST if SEED in candidate.sources else DIAL_INTERVAL_LAST
            pause = min(max(interval_max, last), max(pause, 2 * candidate.pause))
        return pause

    def next_dial(self, *, without: Needless) -> float | None:
        """Return when the next address is due; None if there is none."""
        return min(
            (
                candidate.next_dial
                for candidate in self._table.values()
                if not candidate.is_dialling and not without(candidate.address, candidate.instance_id)
            ),
            default=None,
        )

    def _evict(self) -> bool:
        """Drop the address that failed most often to make room. Return False if all have answered or are being
        tried."""
        worst = max(
            (candidate for candidate in self._table.values() if not candidate.is_dialling and candidate.failures > 2),
            key=lambda candidate: candidate.failures,
            default=None,
        )
        if worst is None:
            return False
        del self._table[worst.address]
        return True
