"""When each instance last gave a sign of life, and how that is spread at no packet of its own."""

from __future__ import annotations

from collections import deque
from math import ceil, inf

from meshp2p.core.record import tag_of

__all__ = ["LifeSigns"]

_AGE_MAX = 36_000  # tenths of a second: older is told as this


class LifeSigns:
    """The last sign of life of each listed instance, on the caller's clock, by tag.

    Spare bytes of each packet carry (tag, age) of a few others: first those that were just heard, so that news spreads
    like gossip, and where there is no news the others in turn. It is done for every packet, so it is kept lean.

    An instance that was merely listed gave no sign of life. Until it does, or another node tells of a later one, the
    time of its listing stands in for it, and is told to nobody: it would make a silent instance seem to speak.
    """

    def __init__(self) -> None:
        self._heard: dict[int, float] = {}
        self._news: deque[int] = deque(maxlen=256)
        self._turn: deque[int] = deque()
        self._assumed: set[int] = set()
        """Instances without a sign of life: what is kept of them is when they were listed."""

    def __getitem__(self, instance_id: str) -> float | None:
        return self._heard.get(tag_of(instance_id))

    def age(self, instance_id: str, now: float) -> float:
        """Return seconds since its last sign of life, as others may be told: the longest age there is if it gave
        none."""
        tag = tag_of(instance_id)
        heard = None if tag in self._assumed else self._heard.get(tag)
        return _AGE_MAX / 10 if heard is None else max(0.0, now - heard)

    def note(self, instance_id: str, when: float) -> None:
        """Keep the later of what is known and ``when``; from now on the instance is listed."""
        self.assume(instance_id, when)
        self.note_listed(tag_of(instance_id), when)

    def assume(self, instance_id: str, when: float) -> None:
        """Note that the instance is listed from ``when`` on, if it was not. That is no sign of life."""
        tag = tag_of(instance_id)
        if tag not in self._heard:
            self._turn.append(tag)
            self._heard[tag] = when
            self._assumed.add(tag)

    def note_listed(self, tag: int, when: float) -> None:
        """Keep the later of what is known and ``when``, where an instance with this tag is listed."""
        known = self._heard.get(tag)
        if known is None or when < known:
            return
        self._heard[tag] = when
        if tag in self._assumed:
            self._assumed.discard(tag)
            # a set that shrinks keeps its memory: at each power of two it is made anew
            if not len(self._assumed) & (len(self._assumed) - 1):
                self._assumed = set(self._assumed)
            self._news.append(tag)
        elif when - known > 0.5:
            self._news.append(tag)

    def forget(self, instance_id: str) -> None:
        tag = tag_of(instance_id)
        if self._heard.pop(tag, None) is not None:
            self._turn.remove(tag)
            self._assumed.discard(tag)

    def pack(self, count: int, now: float) -> tuple[int, ...]:
        """Return up to ``count`` pairs of a tag and an age in tenths of a second, as
        :class:`~meshp2p.core.datagrams.Datagram` carries them.

        An age is rounded up: rounded down, a silent instance would seem to speak again each time it was passed on.
        """
        heard, news, turn, assumed = self._heard, self._news, self._turn, self._assumed
        ages: list[int] = []
        for _ in range(min(count, len(heard))):
            if news:
                tag = news.popleft()
            else:
                tag = turn.popleft()
                turn.append(tag)
            if tag in heard and tag not in assumed:
                age = ceil((now - heard[tag]) * 10)
                ages.append(tag)
                ages.append(0 if age < 0 else age if age < _AGE_MAX else _AGE_MAX)
        return tuple(ages)

    def unpack(self, ages: tuple[int, ...], now: float) -> None:
        """Take what a packet carried about instances that are listed; of others it is ignored."""
        heard = self._heard
        for place in range(0, len(ages) - 1, 2):
            tag, when = ages[place], now - ages[place + 1] * 0.1
            if when >= heard.get(tag, inf):
                self.note_listed(tag, when)
