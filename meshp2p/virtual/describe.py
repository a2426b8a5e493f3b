"""Descriptions of faults and trace entries in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from meshp2p.core.calls import FetchReply
from meshp2p.core.effects import CallFailed
from meshp2p.core.events import (
    Grounds,
    IdConflictLost,
    InstanceDied,
    InstanceEvent,
    InstanceJoined,
    InstanceLeft,
    InstanceRecovered,
    InstanceSuspected,
    LeadershipChanged,
    MapChanged,
    StorageFailed,
)
from meshp2p.core.requests import SendMessage
from meshp2p.virtual.faults import ALL_KINDS, Faulty, OneWay, Partition, ShutOut
from meshp2p.virtual.trace import TraceEntry, What

__all__ = [
    "describe",
    "describe_fault",
    "describe_reason",
    "describe_request",
    "is_notable",
    "lines_of",
    "listed",
    "printable",
    "side",
]

NAMES_MAX = 8
"""How many nodes a list names; the rest are counted. Chosen, not measured."""


def printable(text: str) -> str:
    """Return the text with escapes for everything that would move a terminal's cursor or be invisible."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def side(number: int) -> str:
    """Return the name of a group of a partition."""
    return chr(ord("A") + number) if number < 26 else f"#{number + 1}"


def listed(names: Iterable[str]) -> str:
    all_names = list(names)
    shown = [printable(name) for name in all_names[:NAMES_MAX]]
    more = len(all_names) - len(shown)
    return " ".join(shown) + (f" +{more}" if more else "")


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "+".join(_plain(item) for item in value)
    return str(value)


def describe_fault(fault: Faulty) -> str:
    """Describe a fault in one line: its kind, its nodes, and each value that is not the default."""
    name = type(fault).__name__
    if isinstance(fault, Partition):
        groups = " | ".join(f"{side(number)}: {listed(group)}" for number, group in enumerate(fault.groups))
        words = [f"{name}  {groups}"]
        told = {"groups"}
    elif isinstance(fault, OneWay):
        words = [f"{name}  from {listed(fault.senders)} nothing reaches {listed(fault.receivers)}"]
        told = {"senders", "receivers"}
    elif isinstance(fault, ShutOut):
        words = [f"{name}  {listed((fault.node,))}"]
        told = {"node"}
    else:
        words = [f"{name}  {listed(fault.names())}" if fault.names() else name]
        told = {"node", "nodes"}
    for field in msgspec.structs.fields(fault):
        value = getattr(fault, field.name)
        if field.name in {*told, "begin", "end"} or value in (field.default, ALL_KINDS):
            continue
        named = field.name.replace("_", " ")
        words.append(named if value is True else f"{named} {_plain(value)}")
    return ", ".join(words)


_VERBS = {
    InstanceJoined: "lists {}",
    InstanceSuspected: "suspects {}",
    InstanceDied: "declares {} dead",
    InstanceRecovered: "sees that {} lives",
    InstanceLeft: "no longer lists {}",
}
_NOTABLE = (
    InstanceSuspected,
    InstanceDied,
    InstanceRecovered,
    InstanceLeft,
    LeadershipChanged,
    MapChanged,
    StorageFailed,
    IdConflictLost,
)


def is_notable(entry: TraceEntry) -> bool:
    """Return whether the entry is about a process, a fault, a verdict or a violation, and not a packet, a call or a
    timer."""
    match entry.what:
        case What.EVENT:
            return isinstance(entry.detail, _NOTABLE)
        case What.START | What.STOP | What.PAUSE | What.RESUME | What.FAULT | What.HEAL | What.VIOLATION:
            return True
        case _:
            return False


def lines_of(entries: Iterable[TraceEntry]) -> Iterator[str]:
    """Return a line for each entry: when, where, what. They contain no control characters."""
    told = list(entries)
    width = max((len(printable(entry.node)) for entry in told), default=0)
    for entry in told:
        yield printable(f"{entry.at:12.6f}  {printable(entry.node) or '-':{width}}  {describe(entry)}")


def describe(entry: TraceEntry) -> str:
    """Describe one entry in words, without time and place."""
    detail = entry.detail
    match entry.what:
        case What.FAULT | What.HEAL:
            text = describe_fault(detail) if isinstance(detail, Faulty) else str(detail)
            return f"fault {'begins' if entry.what is What.FAULT else 'ends'}: {text}"
        case What.VIOLATION:
            return f"VIOLATION of {detail.checker}: {detail.message}"
        case What.START:
            return f"starts ({detail})" if isinstance(detail, str) else "starts"
        case What.STOP:
            return "begins to leave" if detail == "leaving" else f"ends ({detail})"
        case What.PAUSE:
            return f"stands still ({detail})"
        case What.RESUME:
            return "goes on"
        case What.EVENT:
            return _describe_event(detail)
        case What.SEND | What.CALL:
            return f"{entry.what} to {entry.peer}: {_describe_message(detail)}"
        case What.RECEIVE | What.CALLED | What.REPLY:
            return f"{entry.what} from {entry.peer}: {_describe_message(detail)}"
        case What.FAIL if isinstance(detail, CallFailed):
            call = f"call to {entry.peer}".removesuffix(" to ")
            return f"{call if entry.cause else f'watch connection to {entry.peer}'} fails: {detail.reason}"
        case What.ASK | What.ANSWER if not isinstance(detail, str):
            return f"{'an agent asks' if entry.what is What.ASK else 'answers an agent'}: {describe_request(detail)}"
        case What.DROP:
            return f"lost from {entry.peer}: {detail}"
        case _:
            return f"{entry.what} {entry.peer} {detail or ''}".rstrip()


def _describe_event(event: object) -> str:
    match event:
        case LeadershipChanged(leader_id=None):
            return "knows no leader"
        case LeadershipChanged():
            epoch = f", epoch {event.epoch}" if event.epoch else ""
            return f"thinks that {event.leader_id} leads{epoch}"
        case InstanceEvent():
            verb = _VERBS.get(type(event), f"{type(event).__name__.removeprefix('Instance').lower()} {{}}")
            return ": ".join(filter(None, (verb.format(event.id), describe_reason(event))))
        case StorageFailed():
            return f"keeps nothing on disk: {event.reason}"
        case MapChanged():
            return f"has {describe_request(event)}"
        case IdConflictLost():
            return f"gives up its id to {event.address}"
        case _:
            return repr(event)


def describe_request(detail: object) -> str:
    """Return what an agent asks or is answered, or what a call carries, without the payloads."""
    match detail:
        case SendMessage(source=source, target=target):
            return f"send a message from {source} to {'all' if target is None else target}"
        case FetchReply(messages=messages):
            return f"{len(messages)} message{'s' if len(messages) != 1 else ''}"
        case MapChanged(name=name, key=key, value=value):
            return f"{'set' if value else 'deleted'} {key!r} of map {name}"
        case _:
            name = getattr(detail, "recipient", getattr(detail, "id", ""))
            return f"{type(detail).__name__} {name}".rstrip()


def describe_reason(event: object) -> str:
    """Return why a node suspects another or no longer lists it, as the event says; empty for other events."""
    match event:
        case InstanceLeft(is_revoked=is_revoked, record=record):
            return "it was revoked" if is_revoked else "it left" if record.is_node else "it was deregistered"
        case InstanceDied(evidence="no_heartbeat", record=record):
            return f"{record.home} had no heartbeat of it in time"
        case InstanceDied(evidence="home_lost", record=record):
            return f"{record.home} is gone, and no other node adopted it"
        case InstanceSuspected(grounds=Grounds(ping=ping) as grounds, evidence=evidence) if ping:
            found = "its host refused the connection" if evidence == "refused" else "no answer"
            return f"{found} to a {'check' if grounds.is_check else 'probe'}{_limits(grounds)}"
        case InstanceSuspected(by=by, evidence=evidence, grounds=grounds):
            found = _FOUND[evidence].format(printable(by)) if by else "another view suspects it, or holds it dead"
            return found + ("" if grounds is None else _limits(grounds))
        case InstanceDied(grounds=Grounds(refused=refused) as grounds, evidence="refused", by=by):
            others = listed(name for name in refused if name != by)
            return f"its host refused {by}{others and f'; also found gone by {others}'}{_delays(grounds)}"
        case InstanceDied(grounds=Grounds(accusers=accusers) as grounds):
            waited = f"it did not refute within {_seconds(grounds)}"
            return f"{waited}; found unresponsive by {listed(accusers) or 'another view'}{_delays(grounds)}"
        case InstanceDied(by=by, evidence=evidence):
            return _FOUND[evidence].format(printable(by)) if by else "another view holds it dead"
        case _:
            return ""


_FOUND = {"silent": "heard: it did not answer {}", "refused": "heard: its host refused {}"}


def _seconds(grounds: Grounds) -> str:
    return f"{grounds.deadline - grounds.since:.3g} s"


def _limits(grounds: Grounds) -> str:
    return f"; it has at most {_seconds(grounds)} to refute{_delays(grounds)}"


def _delays(grounds: Grounds) -> str:
    """Return what lengthens the timeouts, if anything does."""
    patience = f"; patience {grounds.patience:g}" if grounds.patience > 1 else ""
    return patience + (f"; own local health {grounds.local_health}" if grounds.local_health else "")


def _describe_message(message: object) -> str:
    body = getattr(message, "body", message)
    items = getattr(message, "items", ())
    told = ", ".join(f"{item.id}/{item.incarnation}/{item.state.name.lower()}" for item in items[:6])
    more = f" and {len(items) - 6} more" if len(items) > 6 else ""
    return type(body).__name__ + (f" with {told}{more}" if told else "")
