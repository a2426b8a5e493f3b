"""What people read of a run: a line, and a timeline."""

from __future__ import annotations

from collections.abc import Iterator

from meshp2p.core.events import LeaderChanged, MemberDied, MemberEvent, MemberJoined, MemberLeft, MemberSuspected
from meshp2p.simulation.simulation import Result
from meshp2p.virtual.trace import Entry, Trace, What

__all__ = ["describe", "summary", "timeline"]

_SHOWN = (What.START, What.STOP, What.PAUSE, What.RESUME, What.FAULT, What.HEAL, What.VIOLATION)
_VERDICTS = (MemberSuspected, MemberDied, MemberLeft, LeaderChanged)


def summary(result: Result) -> str:
    """One line about a run, then one for each violation."""
    fired = ", ".join(f"{name} {count}" for name, count in result.faults.items()) or "no faults fired"
    fired += "".join(f", {name} {count}" for name, count in result.refusals.items())
    recovered = "" if result.recovered_after is None else f", whole {result.recovered_after:.2f} s after the last fault"
    speed = result.virtual_seconds / result.wall_seconds if result.wall_seconds else 0.0
    line = (
        f"{result.scenario} seed {result.seed}: {result.nodes} nodes, {result.virtual_seconds:.1f} virtual seconds in"
        f" {result.wall_seconds:.2f} s ({speed:,.0f} times real time){recovered}; {fired}; digest {result.digest}"
    )
    return "\n".join([line, *(f"  VIOLATION {violation}" for violation in result.violations)])


def timeline(trace: Trace, *, is_full: bool = False) -> Iterator[str]:
    """The run in lines of text: processes, faults and verdicts; with ``is_full`` also each packet and call."""
    width = max((len(entry.node) for entry in trace), default=0)
    for entry in trace:
        if not is_full and entry.what not in _SHOWN and not isinstance(entry.detail, _VERDICTS):
            continue
        yield f"{entry.at:12.6f}  {entry.node:{width}}  {describe(entry)}"


def describe(entry: Entry) -> str:
    """One entry in words."""
    detail = entry.detail
    match entry.what:
        case What.EVENT:
            return _describe_event(detail)
        case What.SEND | What.CALL:
            return f"{entry.what} to {entry.peer}: {_describe_message(detail)}"
        case What.RECEIVE | What.CALLED | What.REPLY:
            return f"{entry.what} from {entry.peer}: {_describe_message(detail)}"
        case What.DROP:
            return f"lost from {entry.peer}: {detail}"
        case What.FAULT | What.HEAL:
            return f"{entry.what} {detail!r}"
        case What.VIOLATION:
            return f"VIOLATION {detail}"
        case _:
            return f"{entry.what} {entry.peer} {detail or ''}".rstrip()


def _describe_event(event: object) -> str:
    if isinstance(event, LeaderChanged):
        return f"leader is {event.leader_id} in epoch {event.epoch}, was {event.previous_id}"
    if isinstance(event, MemberEvent):
        words = {MemberJoined: "lists", MemberSuspected: "suspects", MemberDied: "holds dead", MemberLeft: "lets go"}
        verb = words.get(type(event), type(event).__name__.removeprefix("Member").lower())
        return f"{verb} {event.id} (incarnation {event.record.incarnation})"
    return repr(event)


def _describe_message(message: object) -> str:
    body = getattr(message, "body", message)
    items = getattr(message, "items", ())
    told = ", ".join(f"{item.id}/{item.incarnation}/{item.state.name.lower()}" for item in items[:6])
    more = f" and {len(items) - 6} more" if len(items) > 6 else ""
    return type(body).__name__ + (f" with {told}{more}" if told else "")
