"""What is not on disk is not said; a disk that fails stops nobody, is told once, and is tried again."""

from __future__ import annotations

import pytest

from meshp2p.core.calls import Probe, Refused, SyncRequest, Why
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.directory.keeping import INCARNATION_RESERVE, PAUSE_MAX
from meshp2p.core.events import LeadershipChanged, StorageFailed, StorageRecovered
from meshp2p.core.record import Record, Rumour, State, tag_of
from meshp2p.core.requests import SendMessage
from tests.core.mesh import Mesh


def a_mesh(*node_ids: str) -> Mesh:
    """Nodes with disks, who know one another."""
    mesh = Mesh()
    for node_id in node_ids:
        mesh.disks[node_id] = {}
        mesh.add(node_id, join=node_ids[0] if node_id != node_ids[0] else None)
    mesh.run_until(mesh.is_whole, within=10)
    mesh.run(1)
    return mesh


def published(mesh: Mesh, of: str) -> list[Record]:
    """All records of this node that it told others, in datagrams or calls."""
    told: list[object] = []
    for _, sender, _, what in mesh.log:
        if sender == of:
            told += [*getattr(what, "items", ()), getattr(what, "sender", None)]
    return [item for item in told if isinstance(item, Record) and item.id == of]


def forge_suspicion(mesh: Mesh, of: str, ahead: int) -> None:
    """Somebody tells a node that it is suspected under an incarnation that is so far ahead."""
    machine = mesh.nodes[of]
    rumour = Rumour(of, machine.own.incarnation + ahead, State.SUSPECT, "zz")
    datagram = Datagram(Gossip(tag_of("stranger")), (rumour,))
    mesh.do(of, machine.receive(datagram, mesh.address("b" if of == "a" else "a"), mesh.now))


def storage_events(mesh: Mesh, key: str) -> list[object]:
    return [event for event in mesh.events[key] if isinstance(event, StorageFailed | StorageRecovered)]


def test_a_start_tells_nothing_of_itself_before_it_is_kept_and_then_answers_who_asked() -> None:
    mesh = a_mesh("a")
    mesh.disks["b"] = {}
    mesh.full["b"] = "no room"
    mesh.add("b", join="a")
    mesh.add("c", join="b")  # which dials it, and is not answered yet
    mesh.run(3)
    assert not mesh.nodes["b"].is_announced
    assert published(mesh, "b") == []
    assert "b" not in mesh.nodes["a"].records()
    del mesh.full["b"]
    mesh.run_until(mesh.is_whole, within=PAUSE_MAX + 5)
    assert storage_events(mesh, "b") == [StorageFailed("no room"), StorageRecovered()]


def test_a_successor_that_cannot_keep_its_claim_leads_without_a_token_and_claims_when_it_can() -> None:
    mesh = a_mesh("a", "b", "c")
    mesh.full["b"] = "no room"
    mesh.kill("a")
    mesh.run(60)
    assert mesh.nodes["b"].leader_id == mesh.nodes["c"].leader_id == "b"
    assert mesh.nodes["b"].leader_epoch == mesh.nodes["c"].leader_epoch == 0
    assert {record.epoch for record in published(mesh, "b")} == {0}
    assert "b" in mesh.nodes["c"].records()
    assert storage_events(mesh, "b") == [StorageFailed("no room")]
    assert mesh.nodes["b"].storage_failure == "no room"
    del mesh.full["b"]
    mesh.run(PAUSE_MAX + 1)
    assert mesh.nodes["b"].leader_epoch == mesh.nodes["c"].leader_epoch == mesh.kept["b"].epoch > 0
    assert LeadershipChanged("b", "b", mesh.kept["b"].epoch) in mesh.events["b"]
    assert storage_events(mesh, "b") == [StorageFailed("no room"), StorageRecovered()]
    assert mesh.nodes["b"].storage_failure is None


@pytest.mark.parametrize("ahead", [INCARNATION_RESERVE * 2, 10**7])
def test_a_refutation_past_what_is_kept_waits_until_it_is_kept(ahead: int) -> None:
    mesh = a_mesh("a", "b")
    mesh.full["b"] = "no room"
    before = mesh.nodes["b"].own.incarnation
    forge_suspicion(mesh, "b", ahead)
    mesh.run(20)
    assert mesh.nodes["b"].own.incarnation == before
    assert max(record.incarnation for record in published(mesh, "b")) == before
    del mesh.full["b"]
    mesh.run(PAUSE_MAX + 1)
    assert mesh.nodes["b"].own.incarnation > before + ahead
    assert mesh.kept["b"].incarnation >= mesh.nodes["b"].own.incarnation
    assert mesh.is_whole()


def test_a_refutation_within_what_is_kept_waits_for_no_disk() -> None:
    mesh = a_mesh("a", "b")
    mesh.full["b"] = "no room"
    before = mesh.nodes["b"].own.incarnation
    forge_suspicion(mesh, "b", 0)
    assert mesh.nodes["b"].own.incarnation == before + 1
    mesh.run(10)
    assert storage_events(mesh, "b") == []


def test_what_a_node_published_is_always_below_what_it_kept() -> None:
    mesh = a_mesh("a", "b", "c")
    for round_ in range(40):
        forge_suspicion(mesh, "b", 5000 * round_)
        mesh.run(0.5)
        own = published(mesh, "b")[-1]
        assert own.incarnation <= mesh.kept["b"].incarnation
        assert own.epoch <= mesh.kept["b"].epoch
    mesh.kill("b")
    again = mesh.add("b", join="a")
    assert again.own.incarnation > max(record.incarnation for record in published(mesh, "b")[:-1])


def test_a_disk_that_takes_no_message_is_told_once_and_found_well_without_any_traffic() -> None:
    mesh = a_mesh("a", "b")
    mesh.full["a"] = "no room"
    for _ in range(5):
        reply = mesh.answer("a", SendMessage("s", "b", "Query", "", b"1"))
        assert isinstance(reply, Refused)
        assert reply.why is Why.STORE_FULL
    mesh.run(30)
    assert storage_events(mesh, "a") == [StorageFailed("no room")]
    assert mesh.nodes["a"].storage_failure == "no room"
    del mesh.full["a"]
    mesh.run(PAUSE_MAX + 1)
    assert storage_events(mesh, "a") == [StorageFailed("no room"), StorageRecovered()]
    assert mesh.disks["a"] == {}


def test_a_node_without_a_disk_waits_for_nothing() -> None:
    mesh = Mesh(config=ProtocolConfig())
    machine = mesh.add("a")
    reply, _ = machine.receive_call(SyncRequest(bytes(8), None), 0.0, 1)
    assert reply is not None
    assert machine.receive_call(Probe(1), 0.0)[0] is not None
    mesh.run_until(lambda: machine.leader_epoch > 0, within=5)


def test_who_leads_again_names_no_epoch_of_its_own_before_the_new_one_is_kept() -> None:
    mesh = a_mesh("a", "b", "c", "d")
    before = mesh.nodes["a"].leader_epoch
    events = len(mesh.events["a"])
    for key in "bc":  # so much of the view goes at once that the others look around again
        mesh.kill(key)
    mesh.run_until(lambda: mesh.nodes["a"].leader_id is None, within=60)
    mesh.run(10)
    told = [event for event in mesh.events["a"][events:] if isinstance(event, LeadershipChanged)]
    after = mesh.nodes["a"].leader_epoch
    assert after > before
    assert told == [
        LeadershipChanged(None, "a", 0),
        LeadershipChanged("a", None, 0),
        LeadershipChanged("a", "a", after),
    ]
    assert mesh.nodes["d"].leader_epoch == after
