"""Records what a machine goes through, within bounds of memory and of processor time."""

from __future__ import annotations

import collections
import functools
import math
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.directory.state import Signer
from meshp2p.core.machine import Machine
from meshp2p.core.randomness import Randomness
from meshp2p.core.swim.hosting import Profile
from meshp2p.recording.outside import RecordedOutside
from meshp2p.recording.recording import INPUTS, Recording, Segment, attributes_of, new_recording, pack
from meshp2p.recording.writing import StateWriter

__all__ = ["RecordedMachine", "Recorder", "RecorderLimits", "trail_of"]


class RecorderLimits(NamedTuple):
    """How much a recorder keeps: the last ``seconds``, in at most ``bytes_max`` bytes.

    Every ``interval`` seconds, or after ``cost_factor`` times the time that this took before, it writes the state of
    the machine, unless the machine holds more than ``items_max`` members and messages. Between two states it writes at
    most ``steps_max`` inputs, which take about 1 % of the time."""

    seconds: float = 600.0
    bytes_max: int = 4 * 1024 * 1024
    interval: float = 60.0
    items_max: int = 20_000
    steps_max: int = 20_000
    cost_factor: float = 200.0


CHUNK_BYTES: Final = 32 * 1024
"""How many bytes are compressed together. Chosen, not measured."""


class Recorder:
    """Keeps the last minutes of one :class:`RecordedMachine`.

    It pauses, and forgets all that it has, if more happens between two states than the limits allow, and if the machine
    is too large. Then it begins again with the next state. It ends when a shared map is opened: the values of maps are
    never recorded, and the machine depends on them. ``pause`` tells why nothing is recorded now, empty if it is.
    """

    def __init__(self, wall_ms: Callable[[], int], mesh: str = "", limits: RecorderLimits | None = None) -> None:
        self.pause: str = "the node has not started"
        self.bytes: int = 0
        self._limits = limits or RecorderLimits()
        self._mesh = mesh
        self._wall_ms = wall_ms
        self._segments: collections.deque[Segment] = collections.deque()
        self._chunks: list[bytes] = []
        self._writer = StateWriter()
        self._steps = 0
        self._next_state = 0.0

    def run(
        self, machine: RecordedMachine, name: str, method: Callable[..., Any], arguments: tuple[Any, ...], options: Any
    ) -> Any:
        """Process an input and record it."""
        if self.pause:
            outcome = method(machine, *arguments, **options)
        else:
            outcome = self._run(machine, name, method, arguments, options)
        place = INPUTS[name]
        if name == "open_map":
            self._next_state = math.inf
            self._forget("a shared map is open, and the values of maps are not recorded")
        elif place >= 0 and arguments[place] >= self._next_state:
            self.write_state(machine, arguments[place])
        return outcome

    def _run(
        self, machine: RecordedMachine, name: str, method: Callable[..., Any], arguments: tuple[Any, ...], options: Any
    ) -> Any:
        outside = machine.outside
        if name == "expel":
            arguments = _noted(arguments, outside)
        outside.begin()
        result = ""
        try:
            outcome = method(machine, *arguments, **options)
            result = trail_of(outcome)
            return outcome
        except Exception as error:
            result = type(error).__name__
            raise
        finally:
            outside.end()
            if name in ("expel", "open_map"):
                arguments = tuple(None if callable(one) else one for one in arguments)
            self._write((name, arguments, options, outside.answers, result))

    def _write(self, step: tuple[Any, ...]) -> None:
        writer = self._writer
        try:
            writer.dump(step)
        except Exception as error:  # noqa: BLE001  # whatever it is, the node goes on
            self._forget(f"an input cannot be written: {error!r:.200}")
            return
        self._steps += 1
        if self._steps > self._limits.steps_max:
            self._forget("more happens than is recorded")
        elif writer.size + writer.kept_alive > CHUNK_BYTES:
            self._seal()
            if self.bytes > self._limits.bytes_max:
                self._shrink()

    def _seal(self) -> None:
        if self._writer.size:
            chunk = pack(self._writer.getvalue())
            self._chunks.append(chunk)
            self.bytes += len(chunk)
            self._writer = StateWriter()

    def write_state(self, machine: Machine, now: float) -> None:
        """Begin a segment with the present state of the machine. Nothing happens if it is too large."""
        limits = self._limits
        self._next_state = now + limits.interval
        began = time.perf_counter()
        segment = self._segment_of(machine, now)
        if segment is None:
            return
        self._seal()
        if self._segments:
            self._segments[-1].steps = tuple(self._chunks)
        self._chunks = []
        self._segments.append(segment)
        self.bytes += len(segment.state)
        self.pause = ""
        self._steps = 0
        while self._segments[0].now < now - limits.seconds:
            self._drop_oldest()
        self._shrink()
        self._next_state = max(self._next_state, now + limits.cost_factor * (time.perf_counter() - began))

    def _segment_of(self, machine: Machine, now: float) -> Segment | None:
        items_max = self._limits.items_max
        if _items_of(machine) > items_max:
            self._forget(f"the node holds more than {items_max:,} members and messages")
            return None
        writer = StateWriter()
        try:
            writer.dump(attributes_of(machine))
        except Exception as error:  # noqa: BLE001  # whatever it is, the node goes on
            self._forget(f"the state cannot be written: {error!r:.200}")
            return None
        return Segment(now, self._wall_ms(), pack(writer.getvalue()))

    def _drop_oldest(self) -> None:
        segment = self._segments.popleft()
        self.bytes -= len(segment.state) + sum(map(len, segment.steps))

    def _shrink(self) -> None:
        while self.bytes > self._limits.bytes_max and len(self._segments) > 1:
            self._drop_oldest()
        if self.bytes > self._limits.bytes_max:
            self._forget("more happens than is recorded")

    def _forget(self, why: str) -> None:
        self.pause = why
        self._segments.clear()
        self._chunks = []
        self._writer = StateWriter()
        self.bytes = 0

    def take(self, machine: Machine, reason: str, now: float) -> Recording | None:
        """Return what was recorded until now; None if there is nothing, and :attr:`pause` says why."""
        end = None if self.pause else self._segment_of(machine, now)
        if end is None:
            return None
        self._seal()
        *earlier, last = self._segments
        last = msgspec.structs.replace(last, steps=tuple(self._chunks))
        return new_recording(machine.id, self._mesh, reason, [*earlier, last, end])


class RecordedMachine(Machine):
    """A machine whose inputs are recorded."""

    def __init__(
        self,
        profile: Profile,
        addresses: tuple[Address, ...],
        config: ProtocolConfig,
        random: Randomness,
        wall_ms: Callable[[], int],
        *kept: Any,
        recorder: Recorder,
        lease_clock: Callable[[], float],
        signer: Signer | None = None,
        **options: Any,
    ) -> None:
        self.recorder: Recorder = recorder
        outside = RecordedOutside(random, wall_ms, lease_clock, signer)
        self.outside: RecordedOutside = outside
        options |= {"lease_clock": outside.lease_clock, "signer": None if signer is None else outside}
        super().__init__(profile, addresses, config, outside, outside.wall_ms, *kept, **options)


def _recorded(name: str) -> Callable[..., Any]:
    method = getattr(Machine, name)

    @functools.wraps(method)
    def run(self: RecordedMachine, *arguments: Any, **options: Any) -> Any:
        return self.recorder.run(self, name, method, arguments, options)

    return run


for _name in INPUTS:
    setattr(RecordedMachine, _name, _recorded(_name))


def trail_of(outcome: Any) -> str:
    """Return what is compared of the effects of an input: the kind of each."""
    effects = outcome[1] if type(outcome) is tuple else outcome
    return " ".join([type(effect).__name__ for effect in effects]) if type(effects) is list else ""


def _noted(arguments: tuple[Any, ...], outside: RecordedOutside) -> tuple[Any, ...]:
    """Return the arguments with functions whose answers are noted, and sequences for sets."""

    def noted(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda subject: outside.note(ask(subject))

    # the order of a set is another in another process
    return tuple(noted(one) if callable(one) else tuple(one) if isinstance(one, set) else one for one in arguments)


def _items_of(machine: Machine) -> int:
    departed = sum(1 for _ in machine.departed())
    return len(machine.records()) + departed + machine.outbox.copies + machine.mailboxes.pending
