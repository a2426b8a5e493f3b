"""The verdict: each fault is named with its remedy, and a mesh without faults is called well."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from meshp2p.core.record import State
from meshp2p.node.verdict import (
    FOUND_MAX,
    DeadAgent,
    Facts,
    HeardReport,
    duration,
    find_islands,
    find_problems,
    judge,
)
from meshp2p.wire.reports import HandlerLoad, MailboxLoad, PoorLink, RivalSeen
from tests.node.reports import a_report, an_agent

NAMES = ("a", "b", "c")


def facts(own: dict[str, Any] | None = None, *, b: HeardReport | None = None, **changes: Any) -> Facts:
    """A mesh of three nodes, a, b and c, seen from a, in which all is well but for the changes."""
    agents = [an_agent(name) for name in NAMES]
    well = Facts(
        own=a_report("a", **(own or {})),
        agents=agents,
        reports={"b": b or HeardReport(a_report("b")), "c": HeardReport(a_report("c"))},
        leader=agents[0],
        leader_for=7300.0,
    )
    return msgspec.structs.replace(well, **changes)


def heard(offset: float = 0.0, differs_for: float = 0.0, **changes: Any) -> HeardReport:
    return HeardReport(a_report("b", **changes), offset, differs_for)


def test_a_mesh_without_faults_is_well() -> None:
    assert find_problems(facts()) == []
    verdict = judge(facts(), [])
    assert verdict.severity == "ok"
    assert verdict.text == "3 agents; all 3 nodes agree; a leads, epoch 7, for 2 h; no message waits"
    assert verdict.remedy is None


def test_the_verdict_says_how_long_the_oldest_message_waits_and_who_did_not_report() -> None:
    seen = facts({"mailboxes": (MailboxLoad("x", 1, 12.3),)}, reports={"b": heard()})
    assert judge(seen, find_problems(seen)).text.startswith("3 agents; the 2 of 3 nodes that reported agree; a leads")
    assert judge(seen, find_problems(seen)).text.endswith("the oldest message has waited 12 s")


def test_the_only_node_is_called_so() -> None:
    seen = facts(agents=[an_agent("a")], reports={})
    assert "1 agent; this is the only node" in judge(seen, find_problems(seen)).text


BUSY = HandlerLoad("Query", running=16, waiting=4, limit=16, done=0, failed=0, mean=0.0, longest=3.0)
LONG = HandlerLoad("Query", running=1, waiting=0, limit=16, done=9, failed=0, mean=0.5, longest=6.0)
FAULTS: dict[str, tuple[Facts, str, str, str]] = {
    "a dead agent": (
        facts(dead=[DeadAgent("d", 185.0, "b", "refused", is_node=True)]),
        "dead_agent",
        "d died 3 min ago: its process is gone, found by b",
        "start d again",
    ),
    "disagreeing views": (
        facts(b=heard(view=2, members=2, leader="b", differs_for=2.0)),
        "disagreeing_views",
        "the nodes disagree: a lists 3 agents, b lists 2; they name the leaders a and b",
        "meshp2p doctor",
    ),
    "a stuck mailbox": (
        facts(b=heard(mailboxes=(MailboxLoad("x", 5, 130.0),))),
        "stuck_mailbox",
        "x has not read 5 messages, the oldest for 2 min",
        "acknowledges",
    ),
    "a one-way link": (
        facts({"links": (PoorLink("b", "pings", "", "", 0.0),)}, b=heard(links=(PoorLink("a", "pings", "", "", 9.0),))),
        "one_way_link",
        "packets from a do not reach b, but those from b reach a",
        "firewall",
    ),
    "a one-way link before a probe found it": (
        facts({"links": (PoorLink("b", "pings", "", "", 1.6),)}),
        "one_way_link",
        "packets from b do not reach a, but those from a reach b",
        "firewall",
    ),
    "a link blocked both ways that one side notices first": (
        facts({"links": (PoorLink("b", "pings", "", "", 1.6),)}, b=heard(links=(PoorLink("a", "pings", "", "", 1.2),))),
        "blocked_link",
        "UDP packets do not pass between a and b",
        "firewall",
    ),
    "a link on which only one side can connect": (
        facts({"links": (PoorLink("b", "relayed", "c", "", 0.0),)}),
        "one_way_link",
        "a cannot connect to b, but b connects to a; calls go through c",
        "firewall",
    ),
    "a wrong clock": (
        facts(b=heard(offset=3600.0)),
        "wrong_clock",
        "the clock of b is 60 min ahead of the others",
        "NTP",
    ),
    "a duplicate id": (
        facts({"rivals": (RivalSeen("a", "10.0.0.9", 4.0),)}),
        "duplicate_id",
        "a second process, on 10.0.0.9, uses the id a",
        "another id",
    ),
    "a full disk": (
        facts(b=heard(storage_failure="no space left")),
        "full_disk",
        "b stores nothing on disk and refuses messages: no space left",
        "make room",
    ),
    "another mesh": (facts({"other_mesh": 3}), "other_mesh", "another mesh is on this network", "--mesh"),
    "a revoked machine": (
        facts(revoked={"d": "machine 'laptop' was revoked by the root"}),
        "revoked_machine",
        "machine 'laptop' was revoked by the root; removed: d",
        "invite",
    ),
    "a slow handler": (
        facts(b=heard(handlers=(BUSY,))),
        "slow_handler",
        "the Query handler of b has worked for 3 s on one message, and 4 messages wait",
        "timeout",
    ),
    "a handler that is slower than usual": (
        facts(b=heard(handlers=(LONG,))),
        "slow_handler",
        "the Query handler of b has worked for 6 s on one message (usually 500 ms)",
        "timeout",
    ),
    "a revoked machine that still calls": (facts({"revoked": 2}), "revoked_machine", "still calls a", "stop meshp2p"),
    "a suspect": (
        facts(agents=[*map(an_agent, NAMES), an_agent("d", state=State.SUSPECT)]),
        "suspect_agent",
        "d does not answer",
        "wait",
    ),
    "a link blocked both ways": (
        facts(
            {"links": (PoorLink("b", "unreachable", "", "timed out", 9.0),)},
            b=heard(links=(PoorLink("a", "unreachable", "", "timed out", 9.0),)),
        ),
        "blocked_link",
        "a and b cannot connect to each other; messages wait",
        "firewall",
    ),
    "blocked datagrams": (
        facts({"links": (PoorLink("b", "pings", "", "", 1e9),)}, b=heard(links=(PoorLink("a", "pings", "", "", 1e9),))),
        "blocked_link",
        "UDP packets do not pass between a and b",
        "firewall",
    ),
    "a node that is not ready": (facts(not_ready="the node is settling"), "not_ready", "settling", "wait"),
    "no quorum": (
        facts(leader=None, quorum=4),
        "no_leader",
        "there is no leader: 3 of at least 4 nodes are here",
        "start the missing",
    ),
    "a slow node": (facts(b=heard(local_health=6)), "slow_node", "b is slow", "busy"),
    "a problem of the network": (
        facts(problems=[("no-udp", "UDP is blocked", "open UDP port 7700")]),
        "no_udp",
        "UDP is blocked",
        "open UDP",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_in_the_verdict_with_its_remedy(fault: str) -> None:
    seen, name, text, remedy = FAULTS[fault]
    findings = find_problems(seen)
    assert [finding.name for finding in findings] == [name]
    verdict = judge(seen, findings)
    assert text in verdict.text
    assert verdict.remedy is not None
    assert remedy in verdict.remedy
    assert verdict.severity == findings[0].severity != "ok"


def test_one_id_on_two_hosts_is_one_finding() -> None:
    seen = facts({"rivals": (RivalSeen("a", "10.0.0.9", 4.0), RivalSeen("a", "127.0.0.1", 4.0))})
    [finding] = find_problems(seen)
    assert finding.text == "a second process, on 10.0.0.9 and 127.0.0.1, uses the id a"


def test_many_lies_make_no_more_than_so_many_findings() -> None:
    lie = heard(
        handlers=(HandlerLoad("q", 1, 9, 1, 0, 0, 0.0, 1e9),) * 2 * FOUND_MAX,
        rivals=tuple(RivalSeen(f"x{number}", "h", 1.0) for number in range(2 * FOUND_MAX)),
    )
    seen = facts(b=lie)
    assert len(find_problems(seen)) == 2 * FOUND_MAX
    assert judge(seen, find_problems(seen)).text.endswith("999 × duplicate id, 1000 × slow handler)")


def test_findings_of_one_kind_are_counted() -> None:
    seen = facts(dead=[DeadAgent(name, 5.0, "", "silent", is_node=True) for name in ("d", "e", "f")])
    assert judge(seen, find_problems(seen)).text == "d died 5 s ago: it did not answer (also: 2 × dead agent)"


def test_the_verdict_names_the_worst_and_counts_up_the_others() -> None:
    seen = facts(
        {"other_mesh": 1, "mailboxes": (MailboxLoad("x", 5, 130.0),)},
        dead=[DeadAgent("d", 5.0, "", "silent", is_node=True)],
    )
    verdict = judge(seen, find_problems(seen))
    assert verdict.text == "d died 5 s ago: it did not answer (also: stuck mailbox)"
    assert [finding.name for finding in find_problems(seen)] == ["dead_agent", "stuck_mailbox", "other_mesh"]


WELL = {
    "pings that were lost": facts(
        {"links": (PoorLink("b", "pings", "", "", 1.0),)}, b=heard(links=(PoorLink("a", "pings", "", "", 1.0),))
    ),
    "a node that is heard no more and reports no more": facts(
        {"links": (PoorLink("b", "pings", "", "", 9.0),)}, b=HeardReport(a_report("b"), is_late=True)
    ),
    "an old report of a node that heard nobody": facts(
        b=HeardReport(a_report("b", links=(PoorLink("a", "pings", "", "", 9.0),)), is_late=True)
    ),
    "views that differ for a moment": facts(b=heard(view=2, members=2)),
    "a clock that is a little wrong": facts(b=heard(offset=4.0)),
    "a message that was just sent": facts({"mailboxes": (MailboxLoad("x", 9, 59.0),)}),
    "a first call that takes a while": facts(b=heard(handlers=(HandlerLoad("Query", 1, 0, 16, 0, 0, 0.0, 59.0),))),
    "a call that takes as long as others": facts(b=heard(handlers=(HandlerLoad("Query", 1, 0, 16, 9, 0, 30.0, 60.0),))),
    "messages that wait for a moment": facts(b=heard(handlers=(HandlerLoad("Query", 16, 9, 16, 9, 0, 0.1, 0.1),))),
}


@pytest.mark.parametrize("case", WELL)
def test_what_is_normal_is_no_finding(case: str) -> None:
    assert find_problems(WELL[case]) == []


def test_of_two_clocks_nobody_knows_which_is_wrong() -> None:
    seen = facts(agents=[an_agent("a"), an_agent("b")], reports={"b": heard(offset=-90.0)})
    [finding] = find_problems(seen)
    assert finding.text == "the clocks of a and b differ by 90 s"
    assert finding.about == ("a", "b")


def test_the_own_clock_may_be_the_wrong_one() -> None:
    seen = facts(reports={"b": heard(offset=600.0), "c": heard(offset=601.0)})
    [finding] = find_problems(seen)
    assert finding.text == "the clock of a is 10 min behind the others"


def test_nodes_that_fell_silent_are_an_island() -> None:
    seen = facts(
        dead=[
            DeadAgent("d", 5.0, "a", "silent", is_node=True),
            DeadAgent("e", 5.0, "a", "refused", is_node=True),
            DeadAgent("f", 5.0, "a", "home_lost", is_node=False),
        ]
    )
    assert find_islands(seen) == {"a": 0, "b": 0, "c": 0, "d": 1}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1e308, "0 ms"),
        (0.0, "0 ms"),
        (0.08, "80 ms"),
        (1.0, "1 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_durations_are_written_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\udc80", "a\nb", "\u202e"])
def test_what_others_chose_is_escaped_in_sentences(hostile: str) -> None:
    leader = an_agent(hostile, is_leader=True)
    assert judge(facts(leader=leader), []).text.isprintable()
    seen = facts(b=heard(storage_failure=hostile), problems=[("alone", hostile, hostile)], leader=leader)
    for finding in find_problems(seen):
        assert (finding.text + finding.remedy).isascii()
        assert (finding.text + finding.remedy).isprintable()
    assert judge(seen, find_problems(seen)).text.isprintable()


@pytest.mark.parametrize("how", ["pings", "relayed", "unreachable"])
def test_a_node_that_is_suspected_is_no_matter_of_firewalls(how: Any) -> None:
    """As one whose process is stopped while it is asked much: calls to it fail before it is declared dead."""
    seen = facts(
        {"links": (PoorLink("d", how, "", "no answer", 9.0),)},
        agents=[*map(an_agent, NAMES), an_agent("d", state=State.SUSPECT)],
        b=heard(links=(PoorLink("d", how, "a", "no answer", 9.0),)),
    )
    assert [finding.name for finding in find_problems(seen)] == ["suspect_agent"]
