"""The table of listed and departed instances, and the hash that shows whether two tables agree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Final

from meshp2p.core.directory.nodes import Nodes
from meshp2p.core.directory.tags import Tags
from meshp2p.core.record import Claim, Departed, Record, State, claim_fingerprint, fingerprint, tag_of

__all__ = ["Members", "size_of"]

_PLAIN_SIZE = 300  # of a record in a list, without its texts: about what JSON takes

UNLISTED_SHARE: Final = 1 / 8
"""The share of the departed that may be ids never listed here, since anybody can claim that any number of ids are dead.
Chosen, not measured."""


class Members:
    """Live records by id, and the departed.

    Only this class changes them, and keeps these in step: ``view`` (the XOR of the fingerprints of all live records and
    of the greatest claim), ``nodes``, ``lowest`` (the lowest live id), ``version`` (counts changes of the set of ids),
    ``changes`` (counts all changes of live records) and ``size`` (of their texts, in characters). It does not know
    precedence: its caller has decided.
    """

    def __init__(self, tags: Tags | None = None) -> None:
        self.records: dict[str, Record] = {}
        self.departed: dict[str, Departed] = {}
        self.nodes: Nodes = Nodes()
        self.view: int = 0
        self.version: int = 0
        self.changes: int = 0
        self.size: int = 0
        self.lowest: str | None = None
        self.top_claim: Claim = (0, "")
        """The greatest claim to lead ever seen, including those of departed leaders."""
        self.tags: Tags = tags or Tags()
        self._ids: dict[int, str] = self.tags.ids
        self._unlisted: dict[str, None] = {}
        """The departed that were never listed here, in the order of departing."""

    def __len__(self) -> int:
        return len(self.records)

    def id_of(self, tag: int) -> str | None:
        """Return the live or departed id of this tag, or None if it is unknown."""
        instance_id = self._ids.get(tag)
        return instance_id if instance_id in self.records or instance_id in self.departed else None

    def claim_of(self, instance_id: str) -> Record | Departed | None:
        """Return what is held about this id: its record, or that it departed; None if it is unknown."""
        return self.records.get(instance_id) or self.departed.get(instance_id)

    def has_room_for(self, record: Record, count_max: int, size_max: int) -> bool:
        """Return whether this record may be listed.

        It may if its id is listed and it does not grow, or if the table with it has at most ``count_max`` records and
        ``size_max`` characters.
        """
        old = self.records.get(record.id)
        growth = size_of(record) - (0 if old is None else size_of(old))
        if growth > 0 and self.size + growth > size_max:
            return False
        return old is not None or len(self.records) < count_max

    def has_node(self, instance_id: str) -> bool:
        """Return whether a live node, not a hosted instance, has this id."""
        record = self.records.get(instance_id)
        return record is not None and record.is_node

    def node_by_bits(self) -> dict[int, str]:
        """Return the live and departed nodes by the upper 32 bits of their tags."""
        departed = (one.id for one in self.departed.values() if one.is_node)
        return {tag_of(node_id) >> 32: node_id for node_id in (*departed, *self.nodes)}

    def hosted_by(self, home: str) -> Iterator[Record]:
        return (record for record in list(self.records.values()) if record.home == home and record.id != home)

    def put(self, record: Record) -> None:
        """List a live record, replacing what is held about its id."""
        old = self.records.get(record.id)
        if old is None:
            if self.departed.pop(record.id, None) is None:
                self.tags.hold(record.id)
            self._unlisted.pop(record.id, None)
            self.version += 1
            if self.lowest is None or record.id.encode() < self.lowest.encode():
                self.lowest = record.id
        else:
            self.view ^= fingerprint(old)
            self.size -= size_of(old)
        self.changes += 1
        self.size += size_of(record)
        self.records[record.id] = record
        self.view ^= fingerprint(record)
        was_node = old is not None and old.is_node
        if record.is_node and not was_node:
            self.nodes.add(record.id)
        elif was_node and not record.is_node:
            self.nodes.remove(record.id)

    def note_claim(self, claim: Claim) -> None:
        """Store a claim if it is the greatest seen so far.

        It is part of the view: if two nodes list the same instances and one of them knows of a greater claim, the other
        must learn of it, because the leader must outbid it.
        """
        if claim > self.top_claim:
            self.view ^= claim_fingerprint(self.top_claim) ^ claim_fingerprint(claim)
            self.top_claim = claim

    def depart(self, departed: Departed) -> None:
        """Move an id to the departed, or note that an unknown one is."""
        old = self.records.pop(departed.id, None)
        if self.departed.pop(departed.id, None) is None and old is None:  # keeps the order of departing
            self.tags.hold(departed.id)
        self.departed[departed.id] = departed
        self._unlisted.pop(departed.id, None)
        if not departed.was_listed:
            self._unlisted[departed.id] = None
        if old is None:
            return
        self.version += 1
        self.changes += 1
        self.size -= size_of(old)
        self.view ^= fingerprint(old)
        if old.is_node:
            self.nodes.remove(departed.id)
        if departed.id == self.lowest:
            self.lowest = min(self.records, key=str.encode, default=None)

    def forget_departed(self, now: float, retention: float, departed_max: int) -> list[str]:
        """Forget and return those that departed at least ``retention`` seconds ago, and the oldest above the maximum
        number, first those that were never listed."""
        forgotten: list[str] = []
        for departed in self.departed.values():
            if departed.since + retention > now:
                break
            forgotten.append(departed.id)
        unlisted_max = int(departed_max * UNLISTED_SHARE)
        excess = max(len(self._unlisted) - unlisted_max, len(self.departed) - len(forgotten) - departed_max)
        if excess > 0:
            gone = set(forgotten)
            order = chain(self._unlisted, (id_ for id_ in self.departed if id_ not in self._unlisted))
            forgotten += islice((id_ for id_ in order if id_ not in gone), excess)
        for instance_id in forgotten:
            del self.departed[instance_id]
            self._unlisted.pop(instance_id, None)
            self.tags.release(instance_id)
        return forgotten

    def callable_dead(self) -> list[Departed]:
        """Return the dead nodes that may live beyond a partition: those at whose address no other node lives now."""
        taken = {record.addresses[0] for record in self.records.values() if record.addresses}
        return [
            departed
            for departed in self.departed.values()
            if departed.state is State.DEAD
            and departed.is_node
            and departed.addresses
            and departed.addresses[0] not in taken
        ]


def size_of(record: Record) -> int:
    """Return the approximate size of a record in the list of instances, which shows neither status nor metrics, in
    characters."""
    return _PLAIN_SIZE + sum(map(len, (record.id, record.hostname, *record.capabilities, *record.profiles)))
