"""Records what a machine goes through, within bounds of memory and of processor time."""

from __future__ import annotations

import collections
import functools
import time
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final, NamedTuple

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.directory.state import Signer
from meshp2p.core.machine import Machine
from meshp2p.core.maps.replicated_map import Merge, ReplicatedMap
from meshp2p.core.randomness import Randomness
from meshp2p.core.swim.hosting import Profile
from meshp2p.recording.inputs import INPUTS, NUMBERS, bytes_of, replace_payloads, size_of
from meshp2p.recording.maps import RecordedMap
from meshp2p.recording.outside import RecordedOutside
from meshp2p.recording.recording import Recording, Segment, attributes_of, new_recording, pack
from meshp2p.recording.writing import StateWriter

__all__ = ["RecordedMachine", "Recorder", "RecorderLimits"]


class RecorderLimits(NamedTuple):
    """How much a recorder keeps: the last ``seconds``, in at most ``bytes_max`` bytes.

    It records at most ``rate`` inputs a second, which take 1 % of the time, and up to ``burst`` more at once. A large
    input counts as several: one more for each ``STEP_BYTES``.

    It writes the state of the machine every ``interval`` seconds, or earlier if the inputs since the last state use
    half of the bytes. After a state that took t seconds to write, the next is written no earlier than t times
    ``cost_factor`` later. If the machine holds more than ``items_max`` members and messages, no state is written."""

    seconds: float = 600.0
    bytes_max: int = 4 * 1024 * 1024
    interval: float = 60.0
    items_max: int = 20_000
    rate: float = 2_500.0
    burst: int = 10_000
    cost_factor: float = 200.0


BATCH: Final = 64
"""How many inputs are encoded together. Until then they are kept as they are, at most 1 MB of datagrams."""

LARGE: Final = 4096
"""An argument of more bytes is encoded at once, with the inputs before it. Smaller ones are encoded with their batch,
so that nothing waits for that."""

STEP_BYTES: Final = 128
"""A message of a large input has about so many bytes without its payload, and takes as long as another input."""

SMALL: Final = ("first_route", "handle_timeouts", "note_route", "receive", "receive_stored", "routes", "start")
"""Inputs whose arguments are small."""

CARRIED: Final = {"receive_call": 0, "receive_reply": 1, "receive_watch": 1, "register": 0, "request": 1, "send": 0}
"""Inputs with an object that may be large or have payloads, and the place of that object among the arguments."""

_OBJECTS: Final = {NUMBERS[name]: 3 + at for name, at in CARRIED.items()}
"""The place of that object in an input that is not encoded yet, by the number of the method."""

CHUNK_BYTES: Final = 32 * 1024
"""How many bytes are compressed together. Chosen, not measured."""


class Recorder:
    """Keeps the last minutes of one :class:`RecordedMachine`.

    It pauses, and forgets all that it has, if more happens than the limits allow, and if the machine is too large. Then
    it begins again with the next state. ``pause`` tells why nothing is recorded now, empty if it is.
    """

    def __init__(self, wall_ms: Callable[[], int], mesh: str = "", limits: RecorderLimits | None = None) -> None:
        self.pause: str = "the node has not started"
        self.bytes: int = 0
        self.steps: list[tuple[Any, ...]] = []
        """Inputs that are not encoded yet."""
        self.answers: list[Any] = []
        """The answers that the machine got in these."""
        self.next_state: float = 0.0
        """When the state of the machine is to be written."""
        self._limits = limits or RecorderLimits()
        self._mesh = mesh
        self._wall_ms = wall_ms
        self._segments: collections.deque[Segment] = collections.deque()
        self._chunks: list[bytes] = []
        self._batches: list[bytes] = []
        self._batch_bytes = 0
        self._begun_bytes = 0
        self._begun_steps = 0
        self._begun = 0.0
        self._encode = msgspec.msgpack.Encoder().encode
        self._soonest_state = 0.0

    def add(self, did: int | str, name: str, arguments: tuple[Any, ...]) -> bool:
        """Add an input, whose arguments may be large. Return whether inputs should be encoded now."""
        try:
            kept, is_large = list(arguments), True
            at = CARRIED.get(name)
            if at is None:
                # True stands for a function, None for the merge of open_map, which matters only to its error
                is_asked = name == "expel" or isinstance(did, str)
                kept = [is_asked or None if callable(one) else replace_payloads(one, size_of) for one in arguments]
            elif is_large := bytes_of(arguments[at]) > LARGE:
                data = self._encode(replace_payloads(arguments[at], size_of))
                kept[at], is_large = msgspec.Raw(data), len(data) > LARGE
                self._begun_steps += len(data) // STEP_BYTES
        except Exception as error:  # noqa: BLE001  # whatever it is, the node goes on
            self._forget(f"an input cannot be written: {error!r:.200}")
            return False
        self.steps.append((NUMBERS[name], len(self.answers), did, *kept))
        return is_large or len(self.steps) >= BATCH

    def conclude(self, machine: Machine, now: float) -> None:
        """Encode the inputs until now, and write a state if it is time."""
        self.encode()
        limits = self._limits
        if self._begun_steps > limits.burst + limits.rate * (now - self._begun) and not self.pause:
            self.next_state = self._begun + self._begun_steps / limits.rate
            self._forget("more happens than is recorded")
        has_much = self._begun_bytes > limits.bytes_max // 2
        if now >= (self._soonest_state if has_much else self.next_state):
            self.write_state(machine, now)

    def encode(self) -> None:
        """Encode the inputs until now."""
        if not self.steps:
            return
        try:
            batch = self._encode(([_without_payloads(step) for step in self.steps], self.answers))
        except Exception as error:  # noqa: BLE001  # whatever it is, the node goes on
            self._forget(f"an input cannot be written: {error!r:.200}")
            return
        self._begun_steps += len(self.steps)
        self.steps.clear()
        self.answers.clear()
        self._batches.append(batch)
        self._batch_bytes += len(batch)
        if self._batch_bytes > CHUNK_BYTES:
            self._seal()
            if self.bytes > self._limits.bytes_max:
                self._shrink()

    def _seal(self) -> None:
        if self._batches:
            chunk = pack(self._encode(self._batches))
            self._batches, self._batch_bytes = [], 0
            self._chunks.append(chunk)
            self.bytes += len(chunk)
            self._begun_bytes += len(chunk)

    def write_state(self, machine: Machine, now: float) -> None:
        """Begin a segment with the present state of the machine. Nothing happens if it is too large."""
        limits = self._limits
        self.next_state = self._soonest_state = now + limits.interval
        began = time.perf_counter()
        segment = self._segment_of(machine, now)
        if segment is None:
            return
        self.encode()
        self._seal()
        if self._segments:
            self._segments[-1].steps = tuple(self._chunks)
        self._chunks = []
        self._segments.append(segment)
        self.bytes += len(segment.state)
        self._begun, self._begun_bytes, self._begun_steps = now, 0, 0
        self.pause = ""
        while self._segments[0].now < now - limits.seconds:
            self._drop_oldest()
        self._shrink()
        self._soonest_state = now + limits.cost_factor * (time.perf_counter() - began)
        self.next_state = max(self.next_state, self._soonest_state)

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
        self._batches = []
        self.steps.clear()
        self.answers.clear()
        self.bytes = self._batch_bytes = self._begun_bytes = 0

    def take(self, machine: Machine, reason: str, now: float) -> Recording | None:
        """Return what was recorded until now; None if there is nothing, and :attr:`pause` says why."""
        end = None if self.pause else self._segment_of(machine, now)
        if end is None:
            return None
        self.encode()
        self._seal()
        if self.pause:
            return None
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
        outside = RecordedOutside(random, wall_ms, lease_clock, signer, recorder.answers)
        self.outside: RecordedOutside = outside
        options |= {"lease_clock": outside.lease_clock, "signer": None if signer is None else outside}
        super().__init__(profile, addresses, config, outside, outside.wall_ms, *kept, **options)

    def _new_replica(self, name: str, merge: Merge | None) -> ReplicatedMap:
        return RecordedMap(name, merge, self.outside)


def _recorded(name: str) -> Callable[..., Any]:
    method = getattr(Machine, name)
    number, place, is_small = NUMBERS[name], INPUTS[name], name in SMALL

    @functools.wraps(method)
    def run(self: RecordedMachine, *arguments: Any, **options: Any) -> Any:
        recorder, outside = self.recorder, self.outside
        if recorder.pause:
            outcome = method(self, *arguments, **options)
            if place >= 0 and arguments[place] >= recorder.next_state:
                recorder.conclude(self, arguments[place])
            return outcome
        if name == "expel":
            arguments = _noted(arguments, outside)
        outside.thread = get_ident()
        try:
            outcome = method(self, *arguments, **options)
        except Exception as error:
            outside.thread = 0
            recorder.add(type(error).__name__, name, (*arguments, *options.values()))
            recorder.encode()
            raise
        outside.thread = 0
        effects = outcome[1] if type(outcome) is tuple else outcome
        did = len(effects) if type(effects) is list else 0
        if is_small:
            recorder.steps.append((number, len(recorder.answers), did, *arguments))
            is_due = len(recorder.steps) >= BATCH
        else:
            is_due = recorder.add(did, name, (*arguments, *options.values()))  # the only option is the last argument
        if is_due and place >= 0:
            recorder.conclude(self, arguments[place])
        return outcome

    return run


for _name in INPUTS:
    setattr(RecordedMachine, _name, _recorded(_name))


def _without_payloads(step: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an input whose object has no payloads."""
    at = _OBJECTS.get(step[0])
    return step if at is None else (*step[:at], replace_payloads(step[at], size_of), *step[at + 1 :])


def _noted(arguments: tuple[Any, ...], outside: RecordedOutside) -> tuple[Any, ...]:
    """Return the arguments with functions whose answers are noted, and sequences for sets."""

    def noted(ask: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda subject: outside.note(ask(subject))

    # a set has another order in another process
    return tuple(noted(one) if callable(one) else tuple(one) if isinstance(one, set) else one for one in arguments)


def _items_of(machine: Machine) -> int:
    departed = sum(1 for _ in machine.departed())
    return len(machine.records()) + departed + machine.outbox.copies + machine.mailboxes.pending
