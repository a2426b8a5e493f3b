"""The payload of GraphSync: laws of vector clocks, spec-ai's JSON, and an exchange of deltas by messages."""

from __future__ import annotations

import datetime as dt

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.contrib.spec_ai import (
    ClockOrder,
    GraphEdge,
    GraphNode,
    GraphSync,
    GraphSyncType,
    GraphTombstone,
    VectorClock,
)
from meshp2p.node.received import ReceivedMessage
from meshp2p.testing import VirtualMesh, run

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
clocks = st.builds(VectorClock, st.dictionaries(st.sampled_from("abc"), st.integers(0, 3)))
OPPOSITE = {ClockOrder.BEFORE: ClockOrder.AFTER, ClockOrder.AFTER: ClockOrder.BEFORE}


@given(clocks, clocks, clocks)
def test_merging_clocks_is_a_join(a: VectorClock, b: VectorClock, c: VectorClock) -> None:
    assert a.merge(b).compare(b.merge(a)) is ClockOrder.EQUAL
    assert a.merge(b).merge(c).compare(a.merge(b.merge(c))) is ClockOrder.EQUAL
    assert a.merge(a) == a
    assert a.is_within(a.merge(b))
    if a.is_within(c) and b.is_within(c):
        assert a.merge(b).is_within(c)  # and the least one above both


@given(clocks, clocks, clocks)
def test_comparing_clocks_is_a_partial_order(a: VectorClock, b: VectorClock, c: VectorClock) -> None:
    order = a.compare(b)
    assert b.compare(a) is OPPOSITE.get(order, order)
    assert a.compare(a) is ClockOrder.EQUAL
    if a.is_within(b) and b.is_within(c):
        assert a.is_within(c)


@given(clocks, st.sampled_from("abcd"))
def test_a_change_is_after_what_was_known(clock: VectorClock, who: str) -> None:
    assert clock.tick(who).compare(clock) is ClockOrder.AFTER


def test_two_who_change_the_same_are_concurrent() -> None:
    known = VectorClock({"a": 1})
    assert known.tick("a").compare(known.tick("b")) is ClockOrder.CONCURRENT
    assert VectorClock({"a": 0}).compare(VectorClock()) is ClockOrder.EQUAL


def a_graph() -> GraphSync:
    first, second = VectorClock({"a": 1}), VectorClock({"a": 1, "b": 1})
    return GraphSync(
        sync_type=GraphSyncType.FULL,
        session_id="s",
        graph_name="facts",
        vector_clock=second,
        nodes=(
            GraphNode(
                id=1,
                session_id="s",
                node_type="Fact",
                label="sky",
                properties={"colour": "blue"},
                created_at=NOW,
                updated_at=NOW,
                vector_clock=first,
            ),
            GraphNode(
                id=2, session_id="s", node_type="Goal", label="up", created_at=NOW, updated_at=NOW, vector_clock=second
            ),
        ),
        edges=(
            GraphEdge(
                id=1,
                session_id="s",
                source_id=1,
                target_id=2,
                edge_type={"Custom": "above"},
                weight=0.5,
                created_at=NOW,
                vector_clock=first,
            ),
        ),
        tombstones=(
            GraphTombstone(entity_type="node", entity_id=3, vector_clock=second, deleted_by="b", deleted_at=NOW),
        ),
    )


def test_the_json_is_that_of_spec_ai() -> None:
    written = msgspec.json.decode(msgspec.json.encode(a_graph()))
    assert list(written) == [
        "sync_type",
        "session_id",
        "graph_name",
        "vector_clock",
        "nodes",
        "edges",
        "tombstones",
        "correlation_id",
        "conflict_info",
    ]
    assert (written["sync_type"], written["vector_clock"]) == ("full", {"versions": {"a": 1, "b": 1}})
    assert written["nodes"][0]["created_at"] == "2026-01-02T03:04:05Z"
    assert set(written["nodes"][0]) == {
        *("id", "session_id", "node_type", "label", "properties", "embedding_id", "created_at", "updated_at"),
        *("vector_clock", "last_modified_by", "is_deleted", "sync_enabled"),
    }
    assert set(written["edges"][0]) == {
        *("id", "session_id", "source_id", "target_id", "edge_type", "predicate", "properties", "weight"),
        *("temporal_start", "temporal_end", "created_at"),
        *("vector_clock", "last_modified_by", "is_deleted", "sync_enabled"),
    }
    assert set(written["tombstones"][0]) == {"entity_type", "entity_id", "vector_clock", "deleted_by", "deleted_at"}
    request = b'{"sync_type":"request_full","session_id":"s","graph_name":null,"vector_clock":{"versions":{"b":1}}}'
    assert msgspec.json.decode(request, type=GraphSync).vector_clock == VectorClock({"b": 1})


def test_agents_exchange_what_the_other_does_not_know() -> None:
    async def main(mesh: VirtualMesh) -> None:
        a, b = await mesh.start("a", "b")
        await mesh.wait_until_whole()

        @a.handler("GraphSync")
        async def answer(request: GraphSync, message: ReceivedMessage) -> None:
            assert request.sync_type is GraphSyncType.REQUEST_INCREMENTAL
            delta = a_graph().delta(request.vector_clock)
            await a.send(message.source, delta, kind="GraphSync", correlation_id=message.correlation_id)

        known = VectorClock({"a": 1})
        request = GraphSync(sync_type=GraphSyncType.REQUEST_INCREMENTAL, session_id="s", vector_clock=known)
        async with b.inbox() as inbox:
            await b.send("a", request, kind="GraphSync", correlation_id="mine")
            reply = await anext(inbox)
        assert (reply.kind, reply.correlation_id) == ("GraphSync", "mine")
        delta = reply.payload_as(GraphSync)
        assert ([node.id for node in delta.nodes], delta.edges, len(delta.tombstones)) == ([2], (), 1)
        assert known.merge(delta.vector_clock) == VectorClock({"a": 1, "b": 1})

    run(main)
