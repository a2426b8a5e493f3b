"""Runs a recorded machine again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from meshp2p.core.machine import Machine
from meshp2p.core.maps.replicated_map import Merge, ReplicatedMap
from meshp2p.errors import ConfigError
from meshp2p.recording.comparing import first_difference
from meshp2p.recording.inputs import Fillers, decode_chunk
from meshp2p.recording.maps import ReplayedMap
from meshp2p.recording.outside import ReplayDiverged, ReplayedOutside
from meshp2p.recording.reading import StateReader
from meshp2p.recording.recording import MACHINE_STATE, Recording, attributes_of, unpack

__all__ = ["Replay", "Step"]

INPUTS_MAX: Final = 2_000_000
"""The most inputs that are run. A node keeps at most a tenth of that."""


class Step(NamedTuple):
    """An input at a time ``now``, and what the machine returned, with the effects in it. ``error`` is the name of the
    error that it raised."""

    now: float
    name: str
    arguments: tuple[Any, ...]
    outcome: Any
    effects: list[Any]
    error: str = ""


class _ReplayedMachine(Machine):
    """A machine whose shared maps decide as it is recorded."""

    outside: ReplayedOutside
    fillers: Fillers

    def _new_replica(self, name: str, merge: Merge | None) -> ReplicatedMap:
        return ReplayedMap(name, merge, self.outside, self.fillers)


class Replay:
    """The machine of a recording. ``differences`` tells where it did not do again what was recorded; it then goes on
    from the next recorded state.

    Raises :class:`ConfigError` if the recording is damaged, here and while it runs.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.differences: list[str] = []
        self.compared: int = 0
        """How many recorded states were compared with the machine."""
        self.now: float = recording.segments[0].now
        self._outside = ReplayedOutside()
        self._fillers = Fillers()
        self._inputs = 0
        self.machine: Machine = _ReplayedMachine.__new__(_ReplayedMachine)
        vars(self.machine).update(outside=self._outside, fillers=self._fillers)
        vars(self.machine).update(_read_state(recording.segments[0].state, self._outside, self._fillers))

    def run(self) -> Iterator[Step]:
        """Run the machine through all inputs."""
        segments = self.recording.segments
        for place, segment in enumerate(segments):
            if place:
                self._compare(segment.state, segment.now)
            try:
                for chunk in segment.steps:
                    for step in decode_chunk(unpack(chunk), self._fillers):
                        yield self._step(*step)
            except ReplayDiverged as error:
                self.differences.append(f"at {self.now:.6f} s: {error}")

    def _compare(self, state: bytes, now: float) -> None:
        found = first_difference(attributes_of(self.machine), _read_state(state, ReplayedOutside(), self._fillers))
        self.compared += 1
        if found:
            self.differences.append(f"at {now:.6f} s: the state differs: {found}")
        if self.differences:
            vars(self.machine).update(_read_state(state, self._outside, self._fillers))

    def _step(self, name: str, arguments: dict[str, Any], answers: list[msgspec.Raw], recorded: int | str) -> Step:
        self.now = arguments.get("now", self.now)
        self._inputs += 1
        if self._inputs > INPUTS_MAX or not math.isfinite(self.now):
            raise ConfigError("the recording is damaged: it has too many inputs, or a time is no number")
        self._outside.begin(answers)
        if arguments.get("is_trusted"):
            arguments["is_trusted"] = self._outside.ask
        outcome: Any = None
        try:
            outcome = getattr(self.machine, name)(**arguments)
            did: int | str = len(_effects_of(outcome))
        except ReplayDiverged:
            raise
        except Exception as error:  # noqa: BLE001  # as it was recorded, or a difference
            did = type(error).__name__
        if did != recorded:
            raise ReplayDiverged(f"{name}: {_told(did)}, and recorded is {_told(recorded)}")
        self._outside.end()
        failure = did if isinstance(did, str) else ""
        return Step(self.now, name, tuple(arguments.values()), outcome, _effects_of(outcome), failure)


def _effects_of(outcome: Any) -> list[Any]:
    effects = outcome[1] if type(outcome) is tuple else outcome
    return effects if type(effects) is list else []


def _told(did: int | str) -> str:
    return did[:200] if isinstance(did, str) else f"{did} effects"


def _read_state(state: bytes, outside: ReplayedOutside, fillers: Fillers) -> dict[str, Any]:
    attributes = StateReader(unpack(state), outside, fillers).read()
    if type(attributes) is not dict or tuple(attributes) != MACHINE_STATE:
        raise ConfigError("the recording is damaged: it has no machine")
    return attributes
