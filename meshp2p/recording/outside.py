"""What a machine asks of its surroundings: random numbers, clocks, signatures. The answers are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import get_ident
from typing import Any, TypeVar

import msgspec

from meshp2p.core.directory.state import Signer
from meshp2p.core.randomness import Randomness
from meshp2p.core.record import Record, Rumour, SignedRecord, SignedRumour
from meshp2p.errors import InternalError

__all__ = ["Outside", "RecordedOutside", "ReplayDiverged", "ReplayedOutside"]

_T = TypeVar("_T")


class Outside:
    """Everything that a machine calls: the randomness, the signer and the clocks of the machine in one object."""


class RecordedOutside(Outside):
    """Passes each question on, and appends the answer to ``answers`` while an input is processed.

    Other threads may read the machine at any time. Their questions change nothing in it and are not noted.
    """

    def __init__(
        self,
        random: Randomness,
        wall_ms: Callable[[], int],
        lease_clock: Callable[[], float],
        signer: Signer | None,
        answers: list[Any],
    ) -> None:
        self.thread: int = 0
        """The thread that processes an input, 0 if none does."""
        self._random = random
        self._wall_ms = wall_ms
        self._lease_clock = lease_clock
        self._signer = signer
        self._answers = answers

    def note(self, answer: _T) -> _T:
        if self.thread == get_ident():
            self._answers.append(answer)
        return answer

    def random(self) -> float:
        return self.note(self._random.random())

    def randrange(self, start: int, stop: int, /) -> int:
        return self.note(self._random.randrange(start, stop))

    def sample(self, population: list[_T], k: int, /) -> list[_T]:
        # the same draws as of the population itself, which may hold long ids
        return [population[place] for place in self.note(self._random.sample(list(range(len(population))), k))]

    def wall_ms(self) -> int:
        answer = self._wall_ms()  # as in note(), without a call: nearly every input asks for it
        if self.thread == get_ident():
            self._answers.append(answer)
        return answer

    def lease_clock(self) -> float:
        answer = self._lease_clock()  # as in note(), without a call: nearly every input asks for it
        if self.thread == get_ident():
            self._answers.append(answer)
        return answer

    def may_sign(self, instance_id: str, /) -> bool:
        return self.note(self._signing.may_sign(instance_id))

    def sign_record(self, record: Record, /) -> SignedRecord:
        return self.note(self._signing.sign_record(record))

    def sign_rumour(self, rumour: Rumour, /) -> SignedRumour:
        return self.note(self._signing.sign_rumour(rumour))

    @property
    def _signing(self) -> Signer:
        if self._signer is None:
            raise InternalError("a machine without a signer signs nothing")
        return self._signer


class ReplayDiverged(Exception):
    """The machine did not do what was recorded."""


class ReplayedOutside(Outside):
    """Gives the recorded answers of one input, in their order. Raises :class:`ReplayDiverged` if there is none, or one
    of another type."""

    def __init__(self) -> None:
        self._answers: Iterator[msgspec.Raw] = iter(())

    def begin(self, answers: Iterable[msgspec.Raw]) -> None:
        self._answers = iter(answers)

    def end(self) -> None:
        """Raise :class:`ReplayDiverged` if an answer is left."""
        if next(self._answers, None) is not None:
            raise ReplayDiverged("the machine asked fewer questions than were recorded")

    def next(self, kind: type[_T]) -> _T:
        """Return the next answer. Raises :class:`ReplayDiverged` if it is of another type."""
        answer = next(self._answers, msgspec.Raw(b"\xc0"))
        try:
            return msgspec.msgpack.decode(answer, type=kind)
        except ValueError:
            found = f"{bytes(answer)!r:.80}"
            raise ReplayDiverged(f"the machine asked for {kind}, and the recorded answer is {found}") from None

    def random(self) -> float:
        return self.next(float)

    def randrange(self, start: int, stop: int, /) -> int:
        return self.next(int)

    def sample(self, population: list[_T], k: int, /) -> list[_T]:
        places = self.next(list[int])
        if len(places) != k or not all(place in range(len(population)) for place in places):
            raise ReplayDiverged(f"the machine asked for {k} of {len(population)}, and the recorded answer is {places}")
        return [population[place] for place in places]

    def wall_ms(self) -> int:
        return self.next(int)

    def lease_clock(self) -> float:
        return self.next(float)

    def may_sign(self, instance_id: str, /) -> bool:
        return self.next(bool)

    def sign_record(self, record: Record, /) -> SignedRecord:
        return self.next(SignedRecord)

    def sign_rumour(self, rumour: Rumour, /) -> SignedRumour:
        return self.next(SignedRumour)

    def ask(self, _subject: object) -> bool:
        """Stand in for a function that the driver passed to the machine."""
        return self.next(bool)
