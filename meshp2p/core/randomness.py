"""The randomness that the core is given."""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["Randomness"]

_T = TypeVar("_T")


class Randomness(Protocol):
    """The randomness of the core; ``random.Random`` implements it."""

    def random(self) -> float: ...
    def randrange(self, start: int, stop: int, /) -> int: ...
    def sample(self, population: list[_T], k: int, /) -> list[_T]: ...
