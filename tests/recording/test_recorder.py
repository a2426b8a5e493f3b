"""A recorder keeps the last minutes, within its bounds, and no payloads."""

from __future__ import annotations

import secrets

import msgspec
import pytest

from meshp2p.core.address import Address
from meshp2p.core.calls import Deliver, Parcel
from meshp2p.core.effects import Call, Emit, Store
from meshp2p.core.events import MapChanged
from meshp2p.core.map_calls import MapDifference, MapPush, MapSync
from meshp2p.core.map_entry import MapEntry, Stamp
from meshp2p.core.maps.replicated_map import Merge
from meshp2p.core.message import Message
from meshp2p.core.requests import SendMessage
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import ConfigError, InstanceConflict, LocalProtocolError, NodeClosed
from meshp2p.recording.recorder import RecorderLimits
from meshp2p.recording.recording import unpack
from meshp2p.recording.replaying import Replay
from meshp2p.simulation.scenarios import Options, build_schedule
from meshp2p.simulation.schedule import Schedule
from tests.recording.recorded_runs import RecordedProcess, record_run


def a_calm_run(duration: float = 60.0) -> Schedule:
    return build_schedule("calm", Options(seed=1, nodes=3, duration=duration))


def one_process(limits: RecorderLimits, schedule: Schedule | None = None) -> RecordedProcess:
    return record_run(schedule or a_calm_run(), limits)[1][0]


def test_it_keeps_the_last_seconds_and_not_more_than_one_state_before() -> None:
    process = one_process(RecorderLimits(seconds=60.0, interval=10.0), a_calm_run(200.0))
    recording = process.take()
    assert recording is not None
    first, *_, last = (segment.now for segment in recording.segments)
    assert 50.0 < last - first <= 70.0
    replay = Replay(recording)
    assert sum(1 for _ in replay.run()) > 100
    assert not replay.differences


def test_it_drops_the_oldest_when_it_has_no_room() -> None:
    whole = one_process(RecorderLimits(interval=10.0), a_calm_run(200.0)).recorder.bytes
    process = one_process(RecorderLimits(interval=10.0, bytes_max=whole // 2), a_calm_run(200.0))
    assert whole // 4 < process.recorder.bytes <= whole // 2
    recording = process.take()
    assert recording is not None
    assert recording.segments[0].now > 50.0
    sizes = [len(segment.state) + sum(map(len, segment.steps)) for segment in recording.segments[:-1]]
    assert sum(sizes) == process.recorder.bytes


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (RecorderLimits(bytes_max=100), "more happens than is recorded"),
        (RecorderLimits(rate=0.1, burst=10), "more happens than is recorded"),
        (RecorderLimits(items_max=2), "the node holds more than 2 members and messages"),
    ],
)
def test_it_pauses_when_there_is_too_much_and_says_why(limits: RecorderLimits, why: str) -> None:
    process = one_process(limits)
    assert process.take() is None
    assert process.recorder.pause == why
    assert process.recorder.bytes == 0


def test_it_goes_on_after_a_pause_with_the_next_state() -> None:
    process = one_process(RecorderLimits(interval=30.0, bytes_max=30_000), a_calm_run(200.0))
    recorder, machine = process.recorder, process.machine
    now = process.host.now
    with pytest.raises(ConfigError):
        machine.report(secrets.token_hex(40_000), "{}", now)
    assert recorder.pause == "more happens than is recorded"
    began = now
    while recorder.pause:
        machine.handle_timeouts(now := now + 0.01)
    assert now <= began + 30.1
    recording = recorder.take(machine, "test", now)
    assert recording is not None
    assert not Replay(recording).differences


def test_it_records_again_when_few_inputs_came_on_average() -> None:
    process = one_process(RecorderLimits(rate=10.0, burst=200))
    recorder, machine = process.recorder, process.machine
    now = begun = process.host.now
    count = 0
    while not recorder.pause:
        machine.handle_timeouts(now)
        count += 1
    assert recorder.pause == "more happens than is recorded"
    while recorder.pause:
        machine.handle_timeouts(now := now + 0.1)
    assert count / 10.0 < now - begun + 60.0 < count / 10.0 + 70.0
    recording = recorder.take(machine, "test", now)
    assert recording is not None
    assert not Replay(recording).differences


def test_large_inputs_are_not_kept_as_they_are() -> None:
    process = one_process(RecorderLimits())
    machine, recorder, now = process.machine, process.recorder, process.host.now
    parcels = tuple(
        Parcel(Message(str(number).zfill(36), "n1", "n0", "Query", "", bytes(10), None, 1), ("n0",), 1.0)
        for number in range(100)
    )
    machine.receive_call(Deliver("n1", parcels), now)
    assert not recorder.steps
    payload = b'"' + b"x" * 100_000 + b'"'
    machine.request(1, SendMessage(machine.id, "n1", "Query", "", payload), now)
    with pytest.raises(ConfigError):
        machine.request(2, SendMessage(machine.id, "n1", "nothing", "", payload), now)
    assert len(msgspec.msgpack.encode(recorder.steps)) < 1000
    recording = process.take()
    assert recording is not None
    replay = Replay(recording)
    assert [len(step.arguments[1].payload) for step in replay.run() if step.name == "request"] == [len(payload)] * 2
    assert not replay.differences


def test_payloads_of_small_messages_are_not_in_it() -> None:
    secret = b'"do not tell anybody"'
    process = one_process(RecorderLimits())
    machine, now = process.machine, process.host.now
    message = Message(str(1).zfill(36), "n1", "n0", "Query", "", secret, None, 1)
    before = len(process.recorder.steps)
    machine.receive_call(Deliver("n1", (Parcel(message, ("n0",), 1.0),)), now)
    machine.request(1, SendMessage(machine.id, "n1", "Query", "", secret), now)
    machine.send({2: SendMessage(machine.id, "n1", "Query", "", secret)}, now)
    assert len(process.recorder.steps) == before + 3  # they are encoded with more inputs, when nothing waits for it
    recording = process.take()
    assert recording is not None
    parts = [unpack(part) for segment in recording.segments for part in segment.steps]
    assert any(b"n1" in part for part in parts)
    assert not any(b"anybody" in part for part in parts)
    replay = Replay(recording)
    taken = {step.name: step.arguments for step in replay.run()}
    assert len(taken["request"][1].payload) == len(taken["send"][0][2].payload) == len(secret)
    assert len(taken["receive_call"][0].parcels[0].message.payload) == len(secret)
    assert not replay.differences


def test_values_of_shared_maps_and_their_hashes_are_not_in_it() -> None:
    secret = b'"do not tell anybody"'
    process = one_process(RecorderLimits())
    machine, now = process.machine, process.host.now
    replica, _ = machine.open_map("m", None, now)
    (own,) = [machine.receive_call(MapSync("m", "n1", 1, bytes(8)), now)[0]]
    assert isinstance(own, MapDifference)
    machine.write_map("m", "key", secret, now)
    digest = replica.digest(1)
    other = MapEntry("other", Stamp(own.clock_ms, 0, 1), secret)
    machine.receive_call(MapPush("m", "n1", own.clock_ms, (other,)), now)
    machine.receive_call(MapSync("m", "n1", own.clock_ms, digest), now)
    machine.handle_timeouts(now + 0.1)
    process.recorder.write_state(machine, now + 0.1)
    machine.write_map("m", "key", b"", now + 0.2)
    with pytest.raises(LocalProtocolError):
        machine.open_map("m", max, now + 0.2)
    assert machine.open_map("m", None, now + 0.2)[0] is replica
    recording = process.take()
    assert recording is not None
    parts = [unpack(part) for segment in recording.segments for part in (segment.state, *segment.steps)]
    assert any(b"other" in part for part in parts)
    assert not any(b"anybody" in part or digest in part for part in parts)
    replay = Replay(recording)
    assert [step.name for step in replay.run()][-1] == "open_map"
    assert not replay.differences
    replayed = replay.machine.replica("m")
    assert replayed is not None
    assert len(replayed) == 1
    assert replayed.value("other") == bytes(len(secret))
    assert replayed.bytes == replica.bytes


@pytest.mark.parametrize("merge", [None, max])
def test_short_values_and_merged_ones_replay(merge: Merge | None) -> None:
    process = one_process(RecorderLimits())
    machine, now = process.machine, process.host.now
    machine.open_map("m", merge, now)
    clock_ms = process.host.clock.wall_ms()
    entries = [MapEntry("key", Stamp(clock_ms + step // 3, 0, 1), b"%d" % (step * 7 % 10)) for step in range(300)]
    changes = 0
    for entry in entries:
        _, effects = machine.receive_call(MapPush("m", "n1", clock_ms, (entry,)), now)
        changes += sum(isinstance(effect, Emit) for effect in effects)
    recording = process.take()
    assert recording is not None
    replay = Replay(recording)
    told = [effect for step in replay.run() for effect in step.effects if isinstance(effect, Emit)]
    assert len([one for one in told if isinstance(one.event, MapChanged)]) == changes > 3
    assert not replay.differences


def test_payloads_are_not_in_it() -> None:
    secret = b'"do not tell anybody"'
    process = one_process(RecorderLimits())
    machine, now = process.machine, process.host.now
    effects = machine.request(1, SendMessage(machine.id, "n1", "Notification", "", secret), now)
    assert "anybody" in repr(effects)
    process.recorder.write_state(machine, now)
    for effect in effects:
        if isinstance(effect, Store):
            effects += machine.receive_stored([effect.number], None, now)
    assert any(isinstance(effect, Call) and isinstance(effect.request, Deliver) for effect in effects)
    process.recorder.write_state(machine, now)
    machine.offer("test", (Address("192.0.2.1", 7),), None, now)
    recording = process.take()
    assert recording is not None
    parts = [part for segment in recording.segments for part in (segment.state, *segment.steps)]
    assert any(b"192.0.2.1" in unpack(part) for part in parts)
    assert not any(b"anybody" in unpack(part) for part in parts)
    replay = Replay(recording)
    assert [step.name for step in replay.run()][-1] == "offer"
    assert not replay.differences


def test_inputs_that_no_simulated_run_has_replay_too() -> None:
    process = one_process(RecorderLimits())
    machine, now = process.machine, process.host.now
    assert machine.first_route("n1", now) is not None
    assert machine.routes("n1", now)
    machine.note_route("n1", "", "unreachable", now)
    assert machine.first_route("nobody", now) is None
    machine.register(Profile("agent", "host", 1), now)
    with pytest.raises(InstanceConflict):
        machine.register(Profile("n1", "host", 1), now)
    machine.report("busy", "{}", now)
    machine.abandon(77)
    refused, _ = machine.send(
        {1: SendMessage("s", "n1", "Query", "", b"1"), 2: SendMessage("s", "x", "Query", "", b"")}, now
    )
    assert list(refused) == [2]
    machine.readdress((Address("192.0.2.1", 7),), now, hostname="other")
    machine.republish(now)
    machine.expel({(b"", "n2")}, now, lambda owner: owner == "x")
    machine.rebuild(now)
    machine.leave(now)
    with pytest.raises(NodeClosed):
        machine.report("late", "{}", now)
    recording = process.take()
    assert recording is not None
    replay = Replay(recording)
    *_, last = replay.run()
    assert (last.name, last.error) == ("report", "NodeClosed")
    assert not replay.differences


def test_taking_it_again_and_again_drops_nothing() -> None:
    process = one_process(RecorderLimits(interval=10.0))
    before = process.recorder.bytes
    first = process.take()
    again = [process.take() for _ in range(30)][-1]
    assert first is not None
    assert again == first
    assert process.recorder.bytes < before + 40_000
    replay = Replay(first)
    assert sum(1 for _ in replay.run()) > 100
    assert not replay.differences
