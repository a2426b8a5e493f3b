from __future__ import annotations

import json
import re

from meshp2p.simulation.pictures import shiviz
from meshp2p.simulation.pictures.shiviz import FAULTS, NETWORK, PARSER
from meshp2p.virtual.trace import What
from tests.simulation.pictures.runs import a_partition, by_hand

Event = tuple[str, str, dict[str, int]]


def parsed(log: str) -> list[Event]:
    """As ShiViz reads it: the first line is the parser, the second the delimiter between executions."""
    parser, delimiter, rest = log.split("\n", 2)
    assert parser == PARSER
    assert delimiter == ""
    events = [
        (match["host"], match["event"], json.loads(match["clock"]))
        for match in re.finditer(parser.replace("(?<", "(?P<"), rest)
    ]
    assert len(events) * 2 == rest.count("\n")
    return events


def test_each_host_counts_its_own_events_without_a_gap() -> None:
    counts: dict[str, int] = {}
    for host, _, clock in parsed(shiviz(a_partition().trace)):
        counts[host] = counts.get(host, 0) + 1
        assert clock[host] == counts[host]
    assert set(counts) == {"n0", "n1", "n2", "n3", "n4", NETWORK, FAULTS}


def test_what_was_received_comes_after_what_was_sent() -> None:
    log = shiviz(by_hand().trace)
    sent = next(clock for host, event, clock in parsed(log) if event == "send Gossip (n1)")
    received = next(clock for host, event, clock in parsed(log) if event == "receive Gossip (n0)")
    assert all(received.get(host, 0) >= count for host, count in sent.items())
    assert received["n1"] > sent.get("n1", 0)


def test_nodes_that_never_heard_of_one_another_are_concurrent() -> None:
    last = {host: clock for host, _, clock in parsed(shiviz(by_hand().trace))}
    assert "n2" not in last["n0"]
    assert "n0" not in last["n2"]


def test_a_lost_packet_is_the_networks_and_not_its_receivers() -> None:
    lost = [(host, event) for host, event, _ in parsed(shiviz(by_hand().trace)) if event.startswith("drop")]
    assert lost == [(NETWORK, "drop Partition (n0)")]


def test_a_crash_comes_after_its_fault() -> None:
    clock = next(clock for host, event, clock in parsed(shiviz(by_hand().trace)) if event == "stop killed")
    assert clock[FAULTS] == 2


def test_all_that_is_told_is_in_the_log() -> None:
    trace = a_partition().trace
    told = sum(entry.what not in {What.TIMER, What.PERSIST} for entry in trace)
    assert len(parsed(shiviz(trace))) == told


def test_any_id_becomes_a_host_of_its_own() -> None:
    names = ("a b", "a%20b", '{"x": 1}\n')
    hosts = {host for host, _, _ in parsed(shiviz(by_hand(*names).trace))}
    assert len(hosts - {NETWORK, FAULTS}) == 3
    assert len({host for host, _, _ in parsed(shiviz(by_hand(NETWORK, FAULTS, "x").trace))}) == 5
