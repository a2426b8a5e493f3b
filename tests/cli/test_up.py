"""What ``meshp2p up`` prints of each event."""

from __future__ import annotations

import json
import typing

import msgspec
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
from meshp2p.cli.output import detail_of, to_json_line
from meshp2p.core.instance import ListedInstance
from meshp2p.http.serialize import detail_of as listed_detail_of
from meshp2p.node.event_log import streamed
from meshp2p.node.events import NodeEvent, event_text
from meshp2p.node.instance import instance_of

LISTED = ListedInstance(
    *("a", "host", 7, ("paint",), ("p",), State.ALIVE, "a", (Address("10.0.0.1", 7),), 1, True),
    *("busy", '{"queue":3}', 1000, 1001, 5, 1002),
)
A = instance_of(LISTED)
DETAIL = json.loads(msgspec.json.encode(listed_detail_of(LISTED)))
"""What ``GET /events`` shows of it."""

EVENTS: list[tuple[NodeEvent, str, dict[str, object]]] = [
    (MemberJoined(A), "joined a", {"type": "member_joined"}),
    (MemberDied(A), "died a (it did not answer)", {"type": "member_died", "by": None, "evidence": "silent"}),
    (
        MemberSuspected(A, "b", "refused"),
        "suspected a (its process is gone, found by b)",
        {"type": "member_suspected", "by": "b", "evidence": "refused"},
    ),
    (LeaderChanged(A, None), "leader is a (epoch 5)", {"type": "leader_changed", "previous_id": None}),
    (LeaderChanged(None, "a"), "no leader", {"type": "leader_changed", "leader": None, "previous_id": "a"}),
    (StorageFailed("full"), "nothing is kept on disk now", {"type": "storage_failed", "reason": "full"}),
    (StorageRecovered(), "the disk can be written again", {"type": "storage_recovered"}),
    (PeerUnreachable("b", "refused"), "no path to b", {"type": "peer_unreachable", "id": "b", "reason": "refused"}),
    (PeerReachable("b"), "calls to b succeed again", {"type": "peer_reachable", "id": "b"}),
    (PeersCannotCall("b"), "calls from b do not arrive", {"type": "peers_cannot_call", "id": "b"}),
    (ContactLost(1.23456), "no other node was heard for 1.2 s", {"type": "contact_lost", "seconds": 1.23456}),
    (ContactRestored(), "other nodes are heard again", {"type": "contact_restored"}),
    (
        NetworkProblemFound("alone", "found nobody", "use --join"),
        "found nobody; use --join",
        {"type": "network_problem_found", "problem": "alone", "reason": "found nobody", "advice": "use --join"},
    ),
    (EventsLost(3), "3 events were lost", {"type": "events_lost", "count": 3}),
]


@pytest.mark.parametrize(("event", "text", "fields"), EVENTS, ids=lambda value: type(value).__name__)
def test_each_event_is_printed_as_text_and_as_json(event: NodeEvent, text: str, fields: dict[str, object]) -> None:
    assert event_text(event).startswith(text)
    printed = json.loads(to_json_line(streamed(event, "now", detail_of)))
    about = {"instance": DETAIL} if isinstance(event, MemberEvent) else {"leader": DETAIL}
    assert printed == {"at": "now", **(about if isinstance(event, MemberEvent | LeaderChanged) else {}), **fields}


def test_no_event_is_left_out() -> None:
    printed = {type(event) for event, _, _ in EVENTS}
    assert set(typing.get_args(NodeEvent)) - {MemberEvent} <= printed
