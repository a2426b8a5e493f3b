"""Runs a recorded machine again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from meshp2p.core.machine import Machine
from meshp2p.errors import ConfigError
from meshp2p.recording.comparing import first_difference
from meshp2p.recording.outside import ReplayDiverged, ReplayedOutside
from meshp2p.recording.reading import StateReader
from meshp2p.recording.recorder import trail_of
from meshp2p.recording.recording import INPUTS, MACHINE_STATE, Recording, attributes_of, unpack

__all__ = ["Replay", "Step"]


class Step(NamedTuple):
    """An input at a time ``now``, and what the machine returned. ``error`` is the name of the error that it raised."""

    now: float
    name: str
    arguments: tuple[Any, ...]
    outcome: Any
    error: str = ""


class Replay:
    """The machine of a recording. ``differences`` tells where it did not do again what was recorded; it then goes on
    from the next recorded state.

    Raises :class:`ConfigError` if the recording is damaged, here and while it runs.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.machine: Machine = Machine.__new__(Machine)
        self.differences: list[str] = []
        self.compared: int = 0
        """How many recorded states were compared with the machine."""
        self.now: float = recording.segments[0].now
        self._outside = ReplayedOutside()
        vars(self.machine).update(_read_state(recording.segments[0].state, self._outside))

    def run(self) -> Iterator[Step]:
        """Run the machine through all inputs."""
        segments = self.recording.segments
        for place, segment in enumerate(segments):
            if place:
                self._compare(segment.state, segment.now)
            try:
                for chunk in segment.steps:
                    for step in StateReader(unpack(chunk), self._outside).read_all():
                        yield self._step(step)
            except ReplayDiverged as error:
                self.differences.append(f"at {self.now:.6f} s: {error}")

    def _compare(self, state: bytes, now: float) -> None:
        found = first_difference(attributes_of(self.machine), _read_state(state, ReplayedOutside()))
        self.compared += 1
        if found:
            self.differences.append(f"at {now:.6f} s: the state differs: {found}")
        if self.differences:
            vars(self.machine).update(_read_state(state, self._outside))

    def _step(self, step: Any) -> Step:
        try:
            name, arguments, options, answers, trail = step
            place = INPUTS[name]
            self.now = self.now if place < 0 else float(arguments[place])
            self._outside.begin(tuple(answers))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ConfigError(f"the recording is damaged: {error!r}") from None
        if name == "expel" and arguments[2:] == (None,):
            arguments = (*arguments[:2], self._outside.ask)
        outcome: Any = None
        failure = ""
        try:
            outcome = getattr(self.machine, name)(*arguments, **options)
        except ReplayDiverged:
            raise
        except Exception as error:  # noqa: BLE001  # as it was recorded, or a difference
            failure = type(error).__name__
        did = failure or trail_of(outcome)
        if did != trail:
            raise ReplayDiverged(f"{name}: it did {did or 'nothing':.200}, and recorded is {trail or 'nothing':.200}")
        self._outside.end()
        return Step(self.now, name, arguments, outcome, failure)


def _read_state(state: bytes, outside: ReplayedOutside) -> dict[str, Any]:
    attributes = StateReader(unpack(state), outside).read()
    if type(attributes) is not dict or tuple(attributes) != MACHINE_STATE:
        raise ConfigError("the recording is damaged: it has no machine")
    return attributes
