"""The ids behind tags, and a small number for each id."""

from __future__ import annotations

from meshp2p.core.record import tag_of

__all__ = ["Tags"]


class Tags:
    """The ids that are held, by tag, and the number of each: 1 or more, and no greater than the most ids ever held.

    What a node keeps about each id can be an array indexed by these numbers. Nodes of one process may share this
    table: then 10,000 of them do not need 10,000 tables.
    """

    __slots__ = ("_free", "_holders", "ids", "numbers")

    def __init__(self) -> None:
        self.ids: dict[int, str] = {}
        self.numbers: dict[int, int] = {}
        self._holders: dict[int, int] = {}
        self._free: list[int] = []

    def hold(self, instance_id: str) -> int:
        """Return the number of this id, which it keeps until each holder has released it."""
        tag = tag_of(instance_id)
        if tag not in self.numbers:
            self.numbers[tag] = self._free.pop() if self._free else len(self.numbers) + 1
            self.ids[tag] = instance_id
        self._holders[tag] = self._holders.get(tag, 0) + 1
        return self.numbers[tag]

    def release(self, instance_id: str) -> None:
        """Undo one :meth:`hold` of this id."""
        tag = tag_of(instance_id)
        self._holders[tag] -= 1
        if not self._holders[tag]:
            del self._holders[tag], self.ids[tag]
            self._free.append(self.numbers.pop(tag))
