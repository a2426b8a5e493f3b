"""What has happened in the demo so far, for whoever shows it."""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec
import trio

__all__ = ["Act", "Entry", "Measured", "Row", "Story", "Tone", "show_seconds"]

ENTRIES_MAX = 10_000
"""Entries that are kept; the demo makes about a hundred. Chosen, not measured."""


class Tone(enum.Enum):
    """How an entry or a row is meant."""

    PLAIN = "plain"
    GOOD = "good"
    DOUBT = "doubt"
    BAD = "bad"
    RESULT = "result"


class Act(msgspec.Struct, frozen=True):
    """One part of the demo: a word for it, its title, and what the reader should know before it begins."""

    word: str
    title: str
    text: str


class Entry(msgspec.Struct, frozen=True):
    """Something that happened, ``elapsed`` seconds after the start. ``who`` is an agent's id, or empty."""

    elapsed: float
    who: str
    text: str
    tone: Tone


class Row(msgspec.Struct, frozen=True):
    """One agent as a row of the table: ASCII texts of a few words each."""

    id: str
    state: str
    url: str
    leader: str
    sees: str
    tone: Tone
    is_leader: bool


class Measured(msgspec.Struct, frozen=True):
    """One line of the summary."""

    what: str
    seconds: float


class Story:
    """What has happened, in order. ``listener`` is told of each new act and entry as it comes."""

    def __init__(self, mesh: str, acts: tuple[Act, ...]) -> None:
        self.mesh = mesh
        self.acts = acts
        self.act_index: int = -1
        self.entries: list[Entry] = []
        self.measured: list[Measured] = []
        self.rows: Callable[[], list[Row]] = list
        """Asked for the agents as they are now."""
        self.listener: Callable[[Act | Entry], None] = lambda _: None
        self._started = trio.current_time()
        self._act_started = self._started

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self._started

    @property
    def act_elapsed(self) -> float:
        """Seconds since the act began."""
        return trio.current_time() - self._act_started

    @property
    def act(self) -> Act | None:
        """The act that is played; None before the first and after the last."""
        return self.acts[self.act_index] if 0 <= self.act_index < len(self.acts) else None

    def begin_next_act(self) -> None:
        """Go on to the next act, or past the last."""
        self.act_index += 1
        self._act_started = trio.current_time()
        if self.act is not None:
            self.listener(self.act)

    def tell(self, text: str, *, who: str = "", tone: Tone = Tone.PLAIN, at: float | None = None) -> None:
        """Add what happened, ``at`` a time of trio's clock, or now."""
        entry = Entry((trio.current_time() if at is None else at) - self._started, who, text, tone)
        del self.entries[: len(self.entries) - ENTRIES_MAX]
        self.entries.append(entry)
        self.listener(entry)

    def measure(self, what: str, seconds: float) -> None:
        """Add a line to the summary, and tell it."""
        measured = Measured(what, max(0.0, seconds))
        self.measured.append(measured)
        self.tell(f"{show_seconds(measured.seconds)} {what}", tone=Tone.RESULT)


def show_seconds(seconds: float) -> str:
    """A duration for people: ``7 ms``, ``5.31 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else f"{seconds:.2f} s"
