"""A trace says what happened and why."""

from __future__ import annotations

from meshp2p.core.events import InstanceDied, InstanceSuspected
from meshp2p.core.requests import SendMessage
from meshp2p.simulation.pictures.text import summary
from meshp2p.simulation.simulation import Simulation
from meshp2p.virtual.describe import describe, is_notable, lines_of
from meshp2p.virtual.faults import Crash
from meshp2p.virtual.trace import Trace, What
from tests.simulation.chains import view_at, why
from tests.simulation.pictures.runs import with_mail_and_maps
from tests.simulation.simulated import a_mesh, a_schedule


def a_trace() -> Trace:
    trace = a_mesh(Crash(begin=10.0, node="n3"), until=30.0).trace
    assert trace is not None
    return trace


def test_each_entry_is_after_its_cause() -> None:
    trace = a_trace()
    assert [entry.number for entry in trace] == list(range(1, len(trace) + 1))
    for entry in trace:
        assert entry.cause < entry.number
        assert not entry.cause or trace[entry.cause].at <= entry.at


def test_an_arrival_is_caused_by_the_sending_of_the_same_message() -> None:
    trace = a_trace()
    arrivals = [entry for entry in trace if entry.what is What.RECEIVE]
    assert arrivals
    for entry in arrivals:
        sending = trace[entry.cause]
        assert (sending.what, sending.node, sending.peer) == (What.SEND, entry.peer, entry.node)
        assert sending.detail is entry.detail


def test_why_leads_from_a_death_back_to_the_suspicion_and_the_probe_without_answer() -> None:
    trace = a_trace()
    death = next(entry for entry in trace if isinstance(entry.detail, InstanceDied))
    chain = why(trace, death.number)
    assert chain[0] is death
    assert any(isinstance(entry.detail, InstanceSuspected) and entry.node == death.node for entry in chain)
    assert any(entry.what is What.TIMER for entry in chain)


def test_a_node_s_view_at_a_moment_is_what_it_listed_then() -> None:
    trace = a_trace()
    death = next(entry for entry in trace if isinstance(entry.detail, InstanceDied))
    assert sorted(view_at(trace, death.node, death.number - 1)) == ["n0", "n1", "n2", "n3"]
    assert "n3" not in view_at(trace, death.node, death.number)


def test_the_timeline_tells_of_faults_and_verdicts_and_in_full_of_packets() -> None:
    trace = a_trace()
    brief, full = "\n".join(lines_of(filter(is_notable, trace))), "\n".join(lines_of(trace))
    assert "fault begins: Crash" in brief
    assert "declares n3 dead" in brief
    assert "thinks that n0 leads" in brief
    assert "Ping" not in brief
    assert "send to n1: Ping" in full


def test_what_agents_ask_is_told_without_their_payloads() -> None:
    trace = with_mail_and_maps().trace
    asked = [describe(entry) for entry in trace if entry.what is What.ASK]
    assert "an agent asks: send a message from boss to agent" in asked
    assert any("an agent asks: set 'k" in words and words.endswith("of map board") for words in asked)
    told = "\n".join(lines_of(trace))
    payloads = [entry.detail.payload for entry in trace if isinstance(entry.detail, SendMessage)]
    assert payloads
    assert all(payload.decode() not in told for payload in payloads if len(payload) > 10)
    assert "answers an agent: 1 message" in told


def test_the_summary_says_what_fired_and_what_was_violated() -> None:
    simulation = Simulation(a_schedule(Crash(begin=10.0, node="n3")))
    assert "Crash 1" in summary(simulation.run())
