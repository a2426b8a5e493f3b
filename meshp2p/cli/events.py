"""``meshp2p events``: print the events of the mesh, as one node sees them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import trio

from meshp2p.cli.ask import add_node_options, open_client
from meshp2p.cli.output import printable, to_json_line, write_line
from meshp2p.client.event_stream import EVENT_TYPES, node_events_of, open_event_stream
from meshp2p.node.events import event_text
from meshp2p.wire.contract import InstanceDetail
from meshp2p.wire.event_contract import SnapshotEvent, StreamedEvent

__all__ = ["add_commands", "ids_of", "text_of"]


def add_commands(commands: Any) -> None:
    events = commands.add_parser(
        "events",
        description="Print the events of the mesh, as one node sees them, until Ctrl-C. The first line lists the"
        " members and the leader.",
    )
    events.add_argument(
        "--type",
        action="append",
        choices=EVENT_TYPES,
        metavar="TYPE",
        help=f"only events of this type; may be repeated: {', '.join(EVENT_TYPES)}",
    )
    events.add_argument("--past", action="store_true", help="begin with the events that led to the present")
    events.add_argument("--id", action="append", metavar="ID", help="only events about this member; may be repeated")
    add_node_options(events)
    events.set_defaults(run=lambda options: trio.run(_events, options))


async def _events(options: argparse.Namespace) -> int:
    async with open_client(options) as client, open_event_stream(client._requests, has_past=options.past) as stream:
        while True:
            event = await stream.receive()
            if options.type is not None and event.__struct_config__.tag not in options.type:
                continue
            if options.id is not None and not set(options.id).intersection(ids_of(event)):
                continue
            write_line(to_json_line(event) if options.json else printable(f"{event.at}  {text_of(event)}"))


def text_of(event: StreamedEvent) -> str:
    """Describe an event in one line."""
    if isinstance(event, SnapshotEvent):
        leader, epoch = event.leader.leader_id, event.leader.leader_epoch
        ids = ", ".join(member.instance_id for member in event.members)
        return f"members: {ids}; " + ("no leader" if leader is None else f"leader is {leader} (epoch {epoch})")
    return "; ".join(map(event_text, node_events_of(event)))


def ids_of(event: StreamedEvent) -> Iterator[str]:
    """The members that an event is about."""
    if isinstance(event, SnapshotEvent):
        yield from (member.instance_id for member in event.members)
    for name in ("instance", "leader", "id", "previous_id", "by"):
        value = getattr(event, name, None)
        if isinstance(value, InstanceDetail):
            yield value.instance_id
        elif isinstance(value, str):
            yield value
