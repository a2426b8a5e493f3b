"""The invariants of a machine between two inputs."""

from __future__ import annotations

from meshp2p.core.machine import Machine
from meshp2p.core.record import State, tag_of

__all__ = ["check_machine"]


def check_machine(machine: Machine, now: float) -> None:
    """Raise ``AssertionError`` if the tables of a started machine contradict each other."""
    state, config = machine._state, machine.config
    members = state.members
    records = members.records
    assert state.effects == []
    assert state.changes == []
    if machine.has_lost_id:
        return
    assert machine.next_deadline() >= now
    assert records[machine.id] == machine.own
    assert machine.own.state is State.ALIVE
    assert not machine.is_announced or state.keeping.has_kept(machine.own.incarnation, machine.own.epoch)
    assert machine.leader_id != machine.id or state.keeping.has_kept(0, machine.leader_epoch)
    assert machine.leader_id in (None, members.lowest)
    _check_tables(machine)
    assert len(list(machine.candidates())) <= config.candidates_max
    assert set(state.reach) <= set(records)
    assert all(records[node_id].is_node for node_id in state.reach)
    assert set(machine._swim.paths._checks) <= set(members.nodes)
    assert set(state.life._turn) == set(map(tag_of, records))
    assert set(machine._swim.prober.round_trips) <= set(records)
    assert len(state.gossip) <= config.members_max + config.departed_max
    suspects = {record.id for record in records.values() if record.state is State.SUSPECT}
    assert set(machine._swim.membership.suspicions) == suspects
    assert suspects <= set(members.nodes)
    assert set(machine._swim.hosting._hosted) <= {record.id for record in records.values() if record.home == machine.id}
    _check_messages(machine)
    machine.instances(now)
    machine.leader(now)


def _check_tables(machine: Machine) -> None:
    members, config = machine._state.members, machine.config
    assert len(members) <= config.members_max
    assert len(members.departed) <= config.departed_max
    assert not set(members.records) & set(members.departed)
    assert set(members._unlisted) <= set(members.departed)
    assert len(members.tags.ids) == len(members) + len(members.departed)
    assert members.lowest == min(members.records, key=str.encode)
    nodes = {record.id for record in members.records.values() if record.is_node}
    assert set(members.nodes) == nodes
    assert all(bool(record.addresses) == record.is_node for record in members.records.values())


def _check_messages(machine: Machine) -> None:
    """Check that counts match the tables, and that each waiting copy is in its line once."""
    mail = machine._mail
    outbox, reading = mail.outbox, mail.reading
    held = outbox.by_id.values()
    assert outbox.copies == sum(one.open for one in held)
    assert outbox.bytes == sum(one.size for one in held if one.open)
    for one in held:
        pending = [recipient for recipient, copy in one.copies.items() if not copy.status.is_final]
        assert len(pending) == one.open
        for recipient in pending:
            line = outbox.lines[recipient]
            assert (one.number in line.waiting) != (one.number in line.delivered)
    for line in outbox.lines.values():
        assert line.waiting or line.delivered
        assert list(line.waiting) == sorted(line.waiting)
    for mailbox in mail.mailboxes.by_recipient.values():
        assert mailbox.bytes == sum(incoming.message.size for incoming in mailbox.pending.values())
        assert not set(mailbox.pending) & set(mailbox.acknowledged)
        numbers = [incoming.number for incoming in mailbox.pending.values()]
        assert numbers == sorted(numbers)
    assert reading.wait_count == sum(map(len, reading._waits.values()))
    assert all(reading._waits.values())
    assert outbox.reserved >= 0
