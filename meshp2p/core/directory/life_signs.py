"""When each instance last gave a sign of life, and how that is spread at no packet of its own."""

from __future__ import annotations

from array import array
from collections import deque
from itertools import repeat
from math import ceil, inf

from meshp2p.core.directory.tags import Tags
from meshp2p.core.record import tag_of

__all__ = ["LifeSigns"]

_AGE_MAX = 36_000  # tenths of a second: older is told as this


class LifeSigns:
    """The last sign of life of each listed instance, on the caller's clock.

    Spare bytes of each packet carry (tag, age) of a few others: first those that were just heard, so that news spreads
    like gossip, and where there is no news the others in turn. It is done for every packet, so it is kept lean.

    An instance that was merely listed gave no sign of life. Until it does, or another node tells of a later one, the
    time of its listing stands in for it, and is told to nobody: it would make a silent instance seem to speak.
    """

    def __init__(self, tags: Tags | None = None) -> None:
        self._tags = tags or Tags()
        self._numbers: dict[int, int] = self._tags.numbers
        self._heard = array("d", [inf])
        """By number, infinite for an instance that is not listed. No instance has the number 0."""
        self._assumed = bytearray(1)
        """By number, 1 for an instance without a sign of life: what is kept of it is when it was listed."""
        self._news: deque[int] = deque(maxlen=256)
        self._turn: deque[int] = deque()

    def __getitem__(self, instance_id: str) -> float | None:
        heard = self._heard[self._number(tag_of(instance_id))]
        return heard if heard < inf else None

    def _number(self, tag: int) -> int:
        """Return the number of a tag, which may be above those of the listed instances: then 0."""
        number = self._numbers.get(tag, 0)
        return number if number < len(self._heard) else 0

    def age(self, instance_id: str, now: float) -> float:
        """Return seconds since its last sign of life, as others may be told: the longest age there is if it gave
        none."""
        number = self._number(tag_of(instance_id))
        heard = inf if self._assumed[number] else self._heard[number]
        return max(0.0, now - heard) if heard < inf else _AGE_MAX / 10

    def note(self, instance_id: str, when: float) -> None:
        """Keep the later of what is known and ``when``; from now on the instance is listed."""
        self.assume(instance_id, when)
        self.note_listed(tag_of(instance_id), when)

    def assume(self, instance_id: str, when: float) -> None:
        """Note that the instance is listed from ``when`` on, if it was not. That is no sign of life."""
        if self[instance_id] is None:
            number = self._tags.hold(instance_id)
            missing = number + 1 - len(self._heard)
            self._heard.extend(repeat(inf, missing))
            self._assumed.extend(bytes(max(0, missing)))
            self._turn.append(tag_of(instance_id))
            self._heard[number] = when
            self._assumed[number] = True

    def note_listed(self, tag: int, when: float) -> None:
        """Keep the later of what is known and ``when``, where an instance with this tag is listed."""
        heard, number = self._heard, self._numbers.get(tag, 0)
        if number >= len(heard) or when < (known := heard[number]):
            return
        heard[number] = when
        if self._assumed[number] or when - known > 0.5:
            self._assumed[number] = False
            self._news.append(tag)

    def forget(self, instance_id: str) -> None:
        if self[instance_id] is not None:
            number = self._number(tag_of(instance_id))
            self._heard[number] = inf
            self._assumed[number] = False
            self._turn.remove(tag_of(instance_id))
            self._tags.release(instance_id)

    def pack(self, count: int, now: float) -> tuple[int, ...]:
        """Return up to ``count`` pairs of a tag and an age in tenths of a second, as
        :class:`~meshp2p.core.datagrams.Datagram` carries them.

        An age is rounded up: rounded down, a silent instance would seem to speak again each time it was passed on.
        """
        heard, news, turn, assumed, numbers = self._heard, self._news, self._turn, self._assumed, self._numbers
        size = len(heard)
        ages: list[int] = []
        for _ in range(min(count, len(turn))):
            if news:
                tag = news.popleft()
            else:
                tag = turn.popleft()
                turn.append(tag)
            number = numbers.get(tag, 0)
            if number < size and (when := heard[number]) < inf and not assumed[number]:
                age = ceil((now - when) * 10)
                ages.append(tag)
                ages.append(0 if age < 0 else age if age < _AGE_MAX else _AGE_MAX)
        return tuple(ages)

    def unpack(self, ages: tuple[int, ...], now: float) -> None:
        """Take what a packet carried about instances that are listed; of others it is ignored."""
        heard, numbers = self._heard, self._numbers
        size = len(heard)
        for place in range(0, len(ages) - 1, 2):
            tag, when = ages[place], now - ages[place + 1] * 0.1
            number = numbers.get(tag, 0)
            if number < size and when >= heard[number]:
                self.note_listed(tag, when)
