"""Expelling: a revoked node is listed as left, and its process cannot come back."""

from __future__ import annotations

import pytest

from meshp2p.core.events import InstanceDied, InstanceLeft
from meshp2p.core.message import CopyStatus
from meshp2p.core.record import INCARNATION_STEP_MAX, Rumour, State
from meshp2p.core.swim.hosting import Profile
from meshp2p.core.swim.membership import EXPELLED_MAX
from tests.core.builders import a_machine, a_record, emitted, hear
from tests.core.mesh import Mesh
from tests.core.test_messages import a_mesh, acknowledge, host, ids_of, read, send, status


def test_who_is_expelled_somewhere_has_left_everywhere_and_what_it_hosts_is_dead() -> None:
    mesh = Mesh(5)
    for number in range(5):
        mesh.add(f"n{number}", join="n0" if number else None)
    mesh.run_until(mesh.is_whole, within=3)
    mesh.do("n2", mesh.nodes["n2"].register(Profile("hosted", "n2.example", 1), mesh.now))
    mesh.run_until(lambda: all("hosted" in machine.records() for machine in mesh.nodes.values()), within=3)
    mesh.run(3)  # it leads now, and all know its claim
    mesh.is_cut = lambda sender, receiver: "n2" in (sender, receiver)
    mesh.do("n0", mesh.nodes["n0"].expel([(b"", "n2")], mesh.now))
    mesh.run(0.5)
    for key in ("n0", "n1", "n3", "n4"):
        assert {"n2", "hosted"}.isdisjoint(mesh.nodes[key].records())
        ends = {one.id: type(one) for one in mesh.events[key] if isinstance(one, InstanceLeft | InstanceDied)}
        assert ends == {"n2": InstanceLeft, "hosted": InstanceDied}


@pytest.mark.parametrize("disks", [True, False])
def test_an_agent_of_an_expelled_node_gets_its_messages_where_it_registers_next(*, disks: bool) -> None:
    mesh = a_mesh("a", "b", "c", disks=disks)
    host(mesh, "b", "agent")
    acknowledged = send(mesh, "a", "agent", "acknowledged")
    acknowledge(mesh, "b", "agent", acknowledged.message_id)
    sent = [send(mesh, "a", "agent", "delivered")]
    mesh.run(1)
    assert status(mesh, "a", sent[0].message_id) == {"agent": CopyStatus.DELIVERED}
    mesh.is_cut = lambda sender, receiver: "b" in (sender, receiver)
    sent.append(send(mesh, "a", "agent", "accepted"))
    for key in ("a", "c"):
        mesh.do(key, mesh.nodes[key].expel([(b"", "b")], mesh.now))
    mesh.run(mesh.config.return_timeout + 1)
    statuses = [status(mesh, "a", one.message_id)["agent"] for one in sent]
    assert statuses == [CopyStatus.DELIVERED, CopyStatus.QUEUED]
    mesh.kill("b")
    host(mesh, "c", "agent")
    mesh.run(1)
    assert read(mesh, "c", "agent") == ["delivered", "accepted"]
    acknowledge(mesh, "c", "agent", *ids_of(mesh, "c", "agent"))
    assert read(mesh, "c", "agent") == []


def test_an_agent_that_deregistered_before_its_home_was_expelled_has_left() -> None:
    machine = a_machine()
    hear(machine, [a_record("lost", boot=7), a_record("hosted", home="lost", boot=7)])
    hear(machine, [Rumour("hosted", 1, State.LEFT, "lost")])
    machine.expel([(b"", "lost")], 1.0)
    assert machine._state.members.departed["hosted"].state is State.LEFT


def test_an_expelled_process_does_not_come_back_and_another_one_may() -> None:
    machine = a_machine()
    hear(machine, [a_record("lost", boot=7), a_record("hosted", home="lost", boot=7), a_record("other", boot=8)])
    events = emitted(machine.expel([(b"", "lost")], 1.0))
    assert {event.id: type(event) for event in events if isinstance(event, InstanceLeft | InstanceDied)} == {
        "lost": InstanceLeft,
        "hosted": InstanceDied,
    }
    hear(machine, [a_record("lost", 5, boot=7), a_record("hosted", 5, home="lost", boot=7)])
    assert set(machine.records()) == {"me", "other"}
    assert machine.counters.items_refused == 2
    hear(machine, [a_record("lost", 6, boot=9), a_record("hosted", 6, home="other", boot=8)])
    assert set(machine.records()) == {"me", "other", "lost", "hosted"}


def test_the_dead_are_expelled_too_and_are_called_no_more() -> None:
    machine = a_machine()
    hear(machine, [a_record("lost", boot=7)])
    hear(machine, [Rumour("lost", 1, State.DEAD, "x", True)])
    machine.expel([(b"", "lost")], 1.0)
    assert machine._state.members.departed["lost"].state is State.LEFT
    hear(machine, [a_record("lost", 5, boot=7)])
    assert "lost" not in machine.records()


def test_a_node_does_not_expel_itself_nor_others_for_what_an_expelled_one_claims() -> None:
    machine = a_machine()
    own = machine.own
    hear(machine, [a_record("lost", boot=own.boot), a_record("other", boot=8), a_record("liar", home="other", boot=8)])
    assert emitted(machine.expel([(b"", "me"), (b"", "unknown")], 1.0)) == []
    machine.expel([(b"", "lost"), (b"", "liar")], 1.0)
    hear(machine, [a_record("other", 2, boot=8)])
    assert set(machine.records()) == {"me", "other", "liar"}
    assert machine.own == own


def test_a_machine_that_begins_anew_still_knows_whom_it_expelled() -> None:
    machine = a_machine()
    hear(machine, [a_record("lost", boot=7)])
    machine.expel([(b"", "lost")], 1.0)
    machine.rebuild(2.0)
    hear(machine, [a_record("lost", INCARNATION_STEP_MAX, boot=7)])
    assert "lost" not in machine.records()


def test_so_many_expelled_processes_are_remembered() -> None:
    machine = a_machine()
    for boot in range(1, EXPELLED_MAX + 3):
        hear(machine, [a_record("lost", boot, boot=boot)])
        machine.expel([(b"", "lost")], 1.0)
    assert len(machine._state.expelled) == EXPELLED_MAX
    assert (b"", "lost", 1) not in machine._state.expelled
