"""A recording as a trace, for the pictures of the simulator."""

from __future__ import annotations

import time
from typing import Any

from meshp2p.core.datagrams import Datagram
from meshp2p.core.effects import Call, CallFailed, Emit, Persist, Send, Watch
from meshp2p.core.events import LeadershipChanged, MapChanged
from meshp2p.errors import ConfigError
from meshp2p.recording.recording import Recording
from meshp2p.recording.replaying import Replay, Step
from meshp2p.simulation.checkers import Violation
from meshp2p.simulation.network import Traffic
from meshp2p.simulation.schedule import NodePlan, Schedule
from meshp2p.simulation.simulation import Result
from meshp2p.virtual.trace import Trace, What

__all__ = ["RecordedRun", "replay_recording"]

TEXT_MAX = 120


class RecordedRun:
    """A replayed recording. A difference from what was recorded is a violation of ``result``."""

    def __init__(self, recording: Recording) -> None:
        self.trace: Trace = Trace()
        self.schedule: Schedule
        self.result: Result
        self.steps: int = 0
        self.states: int = 0
        self._replay = Replay(recording)
        self._node = recording.node_id
        self._began = self._replay.now
        self._calls: dict[int, tuple[str, int]] = {}
        """By its number, the other node and the entry of a call."""
        self._watches: dict[int, str] = {}

    def run(self) -> None:
        """Replay it."""
        recording, replay, trace = self._replay.recording, self._replay, self.trace
        began = time.perf_counter()
        trace.add(0.0, self._node, What.START, "", "recorded from here")
        trace.add(0.0, self._node, What.EVENT, "", LeadershipChanged(replay.machine.leader_id, None, 0))
        for step in replay.run():
            self.steps += 1
            self._add(step)
        self.states = replay.compared
        seconds = max(recording.segments[-1].now - self._began, 0.001)
        violations = tuple(Violation("replay", seconds, self._node, text) for text in replay.differences)
        for violation in violations:
            trace.add(seconds, self._node, What.VIOLATION, "", violation)
        name = f"recording of {self._node} ({recording.reason})"
        self.schedule = Schedule(scenario=name, seed=0, duration=seconds, nodes=(NodePlan(id=self._node),))
        self.result = Result(
            scenario=name,
            seed=0,
            nodes=1,
            digest="",
            virtual_seconds=seconds,
            wall_seconds=time.perf_counter() - began,
            events=self.steps,
            faults={},
            violations=violations,
            recovered_after=None,
            detections=(),
            false_deaths=0,
            traffic=Traffic(),
        )

    def _add(self, step: Step) -> None:
        at, add = step.now - self._began, self.trace.add
        cause = self._add_input(at, step)
        for effect in step.effects:
            match effect:
                case Send(datagram=datagram, to=tag):
                    add(at, self._node, What.SEND, self._name(tag), datagram, cause)
                case Call(call_id=call_id, request=request, node_id=node_id, addresses=addresses):
                    peer = node_id or " ".join(map(str, addresses))
                    self._calls[call_id] = peer, add(at, self._node, What.CALL, peer, request, cause)
                case Watch(watch_id=watch_id, node_id=node_id):
                    self._watches[watch_id] = node_id
                case Emit(event=event) if not isinstance(event, MapChanged):
                    add(at, self._node, What.EVENT, "", event, cause)
                case Persist():
                    add(at, self._node, What.PERSIST, "", effect, cause)
                case _:
                    pass

    def _add_input(self, at: float, step: Step) -> int:
        """Note an input. The reply to a call is caused by the call."""
        what, peer, detail = self._input(step)
        cause = 0
        if step.name == "receive_reply":
            peer, cause = self._calls.pop(step.arguments[0], ("", 0))
        elif step.name == "receive_watch":
            peer = self._watches.get(step.arguments[0], "")
        return self.trace.add(at, self._node, what, peer, detail, cause)

    def _input(self, step: Step) -> tuple[What, str, Any]:
        """Return the kind of an input, the other node and what came."""
        match (step.name, *step.arguments):
            case ("receive", Datagram() as datagram, *_):
                return What.RECEIVE, self._name(datagram.body.sender), datagram
            case ("receive_call", request, *_):
                sender = getattr(request, "sender", "")
                return What.CALLED, sender if isinstance(sender, str) else "", request
            case ("receive_reply" | "receive_watch", _, reply, *_):
                return What.FAIL if isinstance(reply, CallFailed) else What.REPLY, "", reply
            case ("handle_timeouts", *_):
                return What.TIMER, "", None
            case ("offer", source, addresses, *_):
                return What.OFFER, " ".join(map(str, addresses)), source
            case _:
                words = " ".join(map(repr, step.arguments[:-1]))
                return What.ASK, "", f"{step.name} {words}"[:TEXT_MAX]

    def _name(self, tag: int) -> str:
        return self._replay.machine.id_of(tag) or f"{tag:016x}"


def replay_recording(recording: Recording) -> RecordedRun:
    """Replay a recording. Raises :class:`ConfigError` if it is damaged."""
    try:
        run = RecordedRun(recording)
        run.run()
    except ConfigError:
        raise
    except Exception as error:  # what a recording does not have is asked of it
        raise ConfigError(f"the recording is damaged: {error!r:.200}") from error
    return run
