"""When each instance last gave a sign of life, and how that is spread at no packet of its own."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable

from meshp2p.core.record import tag_of

__all__ = ["LifeSigns"]

_AGE_MAX = 36_000  # tenths of a second: older is told as this


class LifeSigns:
    """The last sign of life of each listed instance, on the caller's clock.

    Spare bytes of each packet carry (tag, age) of a few others: first those that were just heard, so that news spreads
    like gossip, and where there is no news the others in turn.
    """

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}
        self._news: deque[str] = deque(maxlen=256)
        self._turn: OrderedDict[str, None] = OrderedDict()

    def __getitem__(self, instance_id: str) -> float | None:
        return self._heard.get(instance_id)

    def note(self, instance_id: str, when: float) -> None:
        """Keep the later of what is known and ``when``."""
        known = self._heard.get(instance_id)
        if known is None:
            self._turn[instance_id] = None
        elif when <= known:
            return
        self._heard[instance_id] = when
        if known is None or when - known > 0.5:
            self._news.append(instance_id)

    def forget(self, instance_id: str) -> None:
        self._heard.pop(instance_id, None)
        self._turn.pop(instance_id, None)

    def pack(self, count: int, now: float) -> tuple[int, ...]:
        """Up to ``count`` pairs of a tag and an age in tenths of a second, as :class:`~meshp2p.core.messages.Datagram`
        carries them.

        An age is rounded up: rounded down, a silent instance would seem to speak again each time it was passed on.
        """
        heard, news, turn = self._heard, self._news, self._turn
        ages: list[int] = []
        for _ in range(min(count, len(heard))):
            if news:
                instance_id = news.popleft()
            else:
                instance_id = next(iter(turn))
                turn.move_to_end(instance_id)
            when = heard.get(instance_id)
            if when is not None:
                ages += (tag_of(instance_id), min(_AGE_MAX, max(0, math.ceil((now - when) * 10))))
        return tuple(ages)

    def unpack(self, ages: tuple[int, ...], id_of: Callable[[int], str | None], now: float) -> None:
        """Take what a packet carried about instances that are listed; of others it is ignored."""
        for index in range(0, len(ages) - 1, 2):
            instance_id = id_of(ages[index])
            if instance_id in self._heard:
                self.note(instance_id, now - min(_AGE_MAX, ages[index + 1]) * 0.1)
