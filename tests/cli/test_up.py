"""What ``meshp2p up`` prints of each event."""

from __future__ import annotations

import json
import typing

import pytest

from meshp2p import (
    Address,
    ContactLost,
    ContactRestored,
    EventsLost,
    LeaderChanged,
    MemberDied,
    MemberEvent,
    MemberJoined,
    MemberSuspected,
    NetworkProblemFound,
    PeerReachable,
    PeersCannotCall,
    PeerUnreachable,
    State,
    StorageFailed,
    StorageRecovered,
)
from meshp2p.cli.output import to_json_line
from meshp2p.cli.up import _as_json
from meshp2p.core.instance import ListedInstance
from meshp2p.node.events import NodeEvent, event_text
from meshp2p.node.instance import instance_of

A = instance_of(
    ListedInstance(
        "a", "host", 7, (), (), State.ALIVE, "a", (Address("10.0.0.1", 7),), 1, True, "", "", 1000, 1000, 5, 1000
    )
)

EVENTS: list[tuple[NodeEvent, str, dict[str, object]]] = [
    (MemberJoined(A), "joined a", {"event": "joined", "id": "a", "state": "alive"}),
    (MemberDied(A), "died a (does not answer)", {"event": "died", "id": "a", "by": None, "evidence": "silent"}),
    (
        MemberSuspected(A, "b", "refused"),
        "suspected a (its process is gone, found by b)",
        {"event": "suspected", "id": "a", "by": "b", "evidence": "refused"},
    ),
    (LeaderChanged(A, None), "leader is a (epoch 5)", {"event": "leader", "leader_id": "a", "epoch": 5}),
    (LeaderChanged(None, "a"), "no leader", {"event": "leader", "leader_id": None, "previous_id": "a", "epoch": 0}),
    (StorageFailed("full"), "nothing is kept on disk now", {"event": "storage-failed", "reason": "full"}),
    (StorageRecovered(), "the disk can be written again", {"event": "storage-recovered"}),
    (PeerUnreachable("b", "refused"), "no path to b", {"event": "peer-unreachable", "id": "b", "reason": "refused"}),
    (PeerReachable("b"), "calls to b succeed again", {"event": "peer-reachable", "id": "b"}),
    (PeersCannotCall("b"), "calls from b do not arrive", {"event": "peers-cannot-call", "id": "b"}),
    (ContactLost(1.23456), "no other node was heard for 1.2 s", {"event": "contact-lost", "seconds": 1.235}),
    (ContactRestored(), "other nodes are heard again", {"event": "contact-restored"}),
    (
        NetworkProblemFound("alone", "found nobody", "use --join"),
        "found nobody; use --join",
        {"event": "network-problem", "problem": "alone", "reason": "found nobody", "advice": "use --join"},
    ),
    (EventsLost(3), "3 events were lost", {"event": "lost", "count": 3}),
]


@pytest.mark.parametrize(("event", "text", "fields"), EVENTS, ids=lambda value: type(value).__name__)
def test_each_event_is_printed_as_text_and_as_json(event: NodeEvent, text: str, fields: dict[str, object]) -> None:
    assert event_text(event).startswith(text)
    printed = json.loads(to_json_line(_as_json(event)))
    assert fields.items() <= printed.items()
    if not isinstance(event, MemberEvent | LeaderChanged):
        assert printed == fields


def test_no_event_is_left_out() -> None:
    printed = {type(event) for event, _, _ in EVENTS}
    assert set(typing.get_args(NodeEvent)) - {MemberEvent} <= printed
