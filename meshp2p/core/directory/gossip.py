"""The queue of items to gossip, and how often each was sent (SWIM §4.1, infection-style dissemination)."""

from __future__ import annotations

from typing import Final

import msgspec

from meshp2p.core.datagrams import ITEMS_PER_PACKET_MAX
from meshp2p.core.record import Item

__all__ = ["GossipQueue", "item_bytes"]

_NEWS_LEVELS = 7
"""An item sent fewer times is news: two rounds of gossip to three nodes. Chosen by the time to reach all of 64 and 128
nodes."""


ITEM_BYTES_MIN: Final = 7
"""The smallest item: a rumour about an id of one byte."""

MISSES_MAX: Final = 8
"""After so many items that do not fit, a packet counts as full. Chosen, not measured."""


_ITEMS_MAX: Final = ITEMS_PER_PACKET_MAX - 1
"""One more item, which concerns the receiver, may go before them."""


def item_bytes(item: Item) -> int:
    """Return the size of the item in a packet, in bytes."""
    return len(msgspec.msgpack.encode(item))


class GossipQueue:
    """Items by id. Each is sent a limited number of times: those sent least often first, and among those the newest
    first.

    A newer item about an id replaces the older one. Items of more than ``item_bytes_max`` bytes fit into no packet: see
    :meth:`pop_oversize`.
    """

    def __init__(self, item_bytes_max: int) -> None:
        self._item_bytes_max = item_bytes_max
        self._oversize: dict[str, tuple[Item, int]] = {}
        self._levels: list[dict[str, tuple[Item, int]]] = [{}]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, instance_id: str) -> bool:
        return any(instance_id in entries for entries in (*self._levels, self._oversize))

    @property
    def has_news(self) -> bool:
        """Whether some item was sent only a few times, so that some nodes may not have received it."""
        return any(self._levels[:_NEWS_LEVELS])

    def put(self, item: Item) -> None:
        self.discard(item.id)
        self._count += 1
        size = item_bytes(item)
        if size > self._item_bytes_max:
            self._oversize[item.id] = (item, size)
        else:
            self._levels[0][item.id] = (item, size)

    def discard(self, instance_id: str) -> None:
        for entries in (*self._levels, self._oversize):
            self._count -= entries.pop(instance_id, None) is not None

    def pop_items(self, budget: int, retransmits: int) -> tuple[Item, ...]:
        """Return items that fit into ``budget`` bytes and one packet.

        Each counts as sent once more and is dropped after ``retransmits`` times. A long queue is not searched to its
        end for an item that fits.
        """
        taken: list[tuple[Item, int, int]] = []
        misses = 0
        for level, entries in enumerate(self._levels):
            for item, size in reversed(entries.values()):
                if size <= budget:
                    taken.append((item, size, level))
                    budget -= size
                else:
                    misses += 1
                if misses == MISSES_MAX or budget < ITEM_BYTES_MIN or len(taken) == _ITEMS_MAX:
                    break
            else:
                continue
            break
        for item, size, level in taken:
            self._count_told(item, size, level, retransmits)
        if not any(self._levels):
            self._levels = [{}]
        return tuple(item for item, _, _ in taken)

    def pop_oversize(self, budget: int) -> tuple[Item, ...]:
        """Remove and return the items that fit into no packet, as far as they fit into ``budget``. They are sent once,
        by TCP."""
        taken: list[Item] = []
        for item, size in self._oversize.values():
            if size <= budget:
                taken.append(item)
                budget -= size
        for item in taken:
            self.discard(item.id)
        return tuple(taken)

    def _count_told(self, item: Item, size: int, level: int, retransmits: int) -> None:
        entries = self._levels[level]
        del entries[item.id]
        if not entries:
            self._levels[level] = {}  # an emptied dict keeps its memory
        if level + 1 >= retransmits:
            self._count -= 1
            return
        if level + 1 == len(self._levels):
            self._levels.append({})
        self._levels[level + 1][item.id] = (item, size)
