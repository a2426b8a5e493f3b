"""``meshp2p agent``, ``meshp2p why`` and ``meshp2p ping``: one agent, as one node knows and reaches it."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import trio

from meshp2p.cli.ask import expect_member, open_client, read_status
from meshp2p.cli.events import ids_of, text_of
from meshp2p.cli.output import detail_of, printable, time_text, to_json_line, write_line
from meshp2p.cli.parser import did_you_mean
from meshp2p.client import MeshClient
from meshp2p.client.event_stream import open_event_stream
from meshp2p.client.node_requests import decode, made, segment
from meshp2p.errors import MeshError, UnknownInstance, Unreachable
from meshp2p.node.instance import Instance
from meshp2p.node.verdict import count_of
from meshp2p.wire.contract import PingResponse
from meshp2p.wire.event_contract import (
    MemberDiedEvent,
    MemberJoinedEvent,
    MemberLeftEvent,
    MemberSuspectedEvent,
    SnapshotEvent,
    StreamedEvent,
)

__all__ = ["agent", "ping", "why"]

_PAST_SECONDS: Final = 30.0
_PAST_MAX: Final = 16384
_OTHERS_MAX: Final = 4
_OTHER_SECONDS: Final = 3.0  # both chosen, not measured
_Told = tuple[str, list[StreamedEvent], SnapshotEvent]
"""A node, the events that it remembers, and the members that it lists."""
_STATES: Final = {MemberDiedEvent: "dead", MemberLeftEvent: "gone"}


# agent


async def agent(options: argparse.Namespace) -> int:
    async with open_client(options) as client:
        agent = await expect_member(client, options.instance_id)
        past, _ = await _read_past(client)
        found = [event for event in past if isinstance(event, MemberSuspectedEvent) and agent.id in _subject_of(event)]
        suspicion = found[-1] if found and detail_of(agent).state == "suspect" else None
        pinged: PingResponse | None = None
        failure: str | None = None
        status = await read_status(client)
        try:
            pinged = await _call(client, agent.id)
        except MeshError as error:
            failure = str(error)
    found_about = [finding for finding in status.findings if agent.id in finding.about]
    if options.json:
        told = {"suspicion": suspicion, "reached": pinged, "unreachable": failure, "findings": found_about}
        fields = {"agent": detail_of(agent), **told}
        write_line(to_json_line(fields))
        return 0
    reached = f"no: {failure}" if pinged is None else _way_of(pinged)
    rows = [*_rows_of(agent), ("reached", reached)]
    rows += [("finding", f"{one.text} -> {one.remedy}") for one in found_about]
    if suspicion is not None:
        rows.insert(1, ("suspected", f"{suspicion.at}: {text_of(suspicion)}"))
    width = max(len(title) for title, _ in rows)
    write_line(printable(agent.id))
    for title, text in rows:
        write_line(f"  {title:{width}}  {printable(text) or '-'}")
    return 0


def _rows_of(agent: Instance) -> list[tuple[str, str]]:
    leads = "no"
    if agent.is_leader:
        leads = f"yes, epoch {agent.epoch}" + (f", since {time_text(agent.led_since)}" if agent.led_since else "")
    return [
        ("state", agent.state.name.lower()),
        ("leads", leads),
        ("capabilities", ", ".join(agent.capabilities)),
        ("profiles", ", ".join(agent.profiles)),
        ("status", agent.status),
        ("metrics", to_json_line(agent.metrics) if agent.metrics else ""),
        ("place", f"{agent.hostname}:{agent.port}"),
        ("home", agent.home if agent.is_hosted else "itself: it embeds a node"),
        ("addresses", ", ".join(map(str, agent.addresses))),
        ("registered", time_text(agent.created_at)),
        ("last heartbeat", time_text(agent.last_heartbeat)),
        ("incarnation", str(agent.incarnation)),
    ]


def _is_here(pinged: PingResponse | None) -> bool:
    """Whether the node that was asked is the home itself: then it calls nobody."""
    return pinged is not None and pinged.seconds == 0.0 and pinged.via is None


def _way_of(pinged: PingResponse) -> str:
    if _is_here(pinged):
        return f"here: the node that was asked is {pinged.home}, which answers for it"
    way = "directly" if pinged.via is None else f"through {pinged.via}"
    return f"{way}, in {pinged.seconds * 1000:.2f} ms to {pinged.home} and back"


# why


async def why(options: argparse.Namespace) -> int:
    async with open_client(options) as client:
        past, snapshot = await _read_past(client)
        status = await read_status(client)
    subject, teller = options.instance_id, status.node_id
    if options.node is None:  # the node that was found may have started late
        teller, past, snapshot = await _choose_teller(options, (teller, past, snapshot))
    findings = [finding for finding in status.findings if subject in finding.about]
    state = _state_in(snapshot, subject)
    causes = _chain(past, subject)
    if state is None:
        last = next((event for event in reversed(causes) if subject in _subject_of(event)), None)
        if last is None:
            known = {name for event in (snapshot, *past) for name in ids_of(event)}
            hint = did_you_mean(subject, known) or "; one that started earlier may: --node"
            raise UnknownInstance(f"no agent {subject!r} is in the mesh, and {teller} remembers none{hint}")
        state = _STATES.get(type(last), "gone")
    if options.json:
        told = {"instance_id": subject, "state": state, "node_id": teller, "events": causes, "findings": findings}
        write_line(to_json_line(told))
        return 0
    is_calm = not findings and all(isinstance(event, MemberJoinedEvent) for event in causes)
    write_line(printable(f"{subject} is {state}" + (", and no node found anything wrong with it" if is_calm else "")))
    for event in causes:
        write_line(printable(f"{event.at}  {text_of(event)}"))
    for finding in findings:
        write_line(printable(f"now: {finding.text}"))
        write_line(printable(f"  -> {finding.remedy}"))
    return 0


async def _choose_teller(options: argparse.Namespace, first: _Told) -> _Told:
    """Also ask the nodes that run longest. Of the answers that list the agent in the same state as the first, return
    the one with the oldest event that led to that state."""
    subject = options.instance_id
    told = [first]
    state = _state_in(first[2], subject)

    async def ask(node_id: str, address: str) -> None:
        with trio.move_on_after(_OTHER_SECONDS), contextlib.suppress(MeshError):
            async with open_client(options, node=address) as client:
                past, snapshot = await _read_past(client)
            if node_id in ids_of(snapshot) and _state_in(snapshot, subject) == state:
                told.append((node_id, past, snapshot))

    others = sorted((one.created_at, one.instance_id, one.address) for one in first[2].members if one.address)
    async with trio.open_nursery() as nursery:
        for _, node_id, address in [one for one in others if one[1] != first[0]][:_OTHERS_MAX]:
            nursery.start_soon(ask, node_id, address)
    chains = [(chain[0].at, number) for number, (_, past, _) in enumerate(told) if (chain := _chain(past, subject))]
    return told[min(chains)[1]] if chains else first


def _state_in(snapshot: SnapshotEvent, subject: str) -> str | None:
    return next((one.state for one in snapshot.members if one.instance_id == subject), None)


def _chain(past: Sequence[StreamedEvent], subject: str) -> list[StreamedEvent]:
    return [past[index] for index in sorted(_causes(past, subject, len(past), {subject}))]


def _causes(past: Sequence[StreamedEvent], subject: str, end: int, followed: set[str]) -> Iterator[int]:
    """Return the places of the events of an instance since it last joined, and of its home if that was lost. Each
    instance is ``followed`` once."""
    for index in range(end - 1, -1, -1):
        event = past[index]
        if subject not in _subject_of(event):
            continue
        yield index
        if isinstance(event, MemberJoinedEvent):
            return
        if isinstance(event, MemberDiedEvent) and event.evidence == "home_lost" and event.instance.home not in followed:
            followed.add(event.instance.home)
            yield from _causes(past, event.instance.home, index, followed)


def _subject_of(event: StreamedEvent) -> tuple[str, ...]:
    """Return the member to which an event happened, if it is about one."""
    instance = getattr(event, "instance", None)
    return tuple(one for one in (getattr(event, "id", None), instance and instance.instance_id) if one)


async def _read_past(client: MeshClient) -> tuple[list[StreamedEvent], SnapshotEvent]:
    """Return the events that led to the present, and the present."""
    past: list[StreamedEvent] = []
    with trio.move_on_after(_PAST_SECONDS):
        async with open_event_stream(client._requests, has_past=True) as stream:
            while len(past) <= _PAST_MAX:
                event = await stream.receive()
                if isinstance(event, SnapshotEvent):
                    return past, event
                past.append(event)
    raise Unreachable(
        f"the node did not tell all that it knows in {_PAST_SECONDS:g} s, or told of more events than a node has"
    )


# ping


async def ping(options: argparse.Namespace) -> int:
    async with open_client(options) as client:
        agent = await expect_member(client, options.instance_id)
        if not options.json:
            what = f"the home of {agent.id}, which is not called itself" if agent.is_hosted else "a node"
            write_line(printable(f"calls to {agent.home}, {what}; the first may have to open a connection"))
        outcomes: list[PingResponse | None] = []
        try:
            while not options.count or len(outcomes) < options.count:
                if outcomes:
                    await trio.sleep(options.interval)
                outcomes.append(await _call_and_tell(client, options, len(outcomes) + 1))
                if _is_here(outcomes[-1]):  # so will be the others
                    return 0
        finally:
            _sum_up(options, outcomes)
    return 0 if any(outcomes) else 1


async def _call_and_tell(client: MeshClient, options: argparse.Namespace, number: int) -> PingResponse | None:
    """Call once, and print the outcome. Return None if the home does not answer."""
    try:
        pinged = await _call(client, options.instance_id)
    except Unreachable as error:
        _tell(options, f"{number}: {error}", {"call": number, "error": str(error)})
        return None
    _tell(options, f"{number}: {_way_of(pinged)}", {"call": number, **msgspec.structs.asdict(pinged)})
    return pinged


def _sum_up(options: argparse.Namespace, outcomes: Sequence[PingResponse | None]) -> None:
    times = [pinged.seconds for pinged in outcomes if pinged is not None and not _is_here(pinged)]
    text = f"{count_of(len(outcomes), 'call')}, {len(times)} answered"
    fields: dict[str, Any] = {"calls": len(outcomes), "answered": len(times)}
    if times:
        figures = {"min": min(times), "mean": sum(times) / len(times), "max": max(times)}
        text += f"; {'/'.join(figures)} {'/'.join(f'{seconds * 1000:.2f}' for seconds in figures.values())} ms"
        fields |= {f"{name}_seconds": seconds for name, seconds in figures.items()}
    if outcomes and not _is_here(outcomes[-1]):
        _tell(options, text, fields)


def _tell(options: argparse.Namespace, text: str, fields: dict[str, Any]) -> None:
    write_line(to_json_line(fields) if options.json else printable(text))


async def _call(client: MeshClient, instance_id: str) -> PingResponse:
    response = await client._requests.send("GET", f"/registry/agents/{segment(instance_id)}/ping", None)
    return made(response, lambda: decode(response, PingResponse))
