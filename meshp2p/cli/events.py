"""``meshp2p events``: print the events of the mesh, as one node sees them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from meshp2p.cli.ask import open_client
from meshp2p.cli.changes import Changes
from meshp2p.cli.output import printable, to_json_line, write_line
from meshp2p.client.event_stream import node_events_of, open_event_stream
from meshp2p.node.events import event_text
from meshp2p.wire.contract import InstanceDetail
from meshp2p.wire.event_contract import SnapshotEvent, StreamedEvent

__all__ = ["events", "ids_of", "text_of"]


async def events(options: argparse.Namespace) -> int:
    async with open_client(options) as client, open_event_stream(client._requests, has_past=options.past) as stream:
        changes = Changes()
        while True:
            event = await stream.receive()
            changed = changes.text_of(event)
            if options.type is not None and event.__struct_config__.tag not in options.type:
                continue
            if options.id is not None and not set(options.id).intersection(ids_of(event)):
                continue
            write_line(to_json_line(event) if options.json else printable(f"{event.at}  {text_of(event)}{changed}"))


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
