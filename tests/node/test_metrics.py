"""GET /metrics: every counter that exists is shown, in a format that Prometheus reads."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from typing import Any, cast

import httpx
import msgspec
import pytest
import trio

from meshp2p import MeshNode, NoHandler, QueryTimeout, RemoteError, UnknownInstance
from meshp2p.core.directory.counters import Counters
from meshp2p.discovery.beacon import BeaconSource, BeaconStats
from meshp2p.http.limits import HttpStats
from meshp2p.net.driver_parts import DriverStats
from meshp2p.net.peers import PeerStats
from meshp2p.net.port import PortStats
from meshp2p.node.metrics import METRICS, Measured, expose
from meshp2p.wire.call_bytes import Budget
from tests.http.meshes import open_mesh, registration

SAMPLE = re.compile(r'([a-z_0-9]+)(?:\{((?:[a-z_]+="[^"\\\n]*",?)+)\})? (-?[0-9.e+-]+)')
LABEL = re.compile(r'([a-z_]+)="([^"]*)"')

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    """Prometheus' text format: each metric has HELP and TYPE before its samples, and no sample is there twice."""
    found: Samples = {}
    declared: dict[str, str] = {}
    helped: list[str] = []
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, what = line.removeprefix("# HELP ").split(" ", 1)
            assert name not in helped
            assert what
            helped.append(name)
        elif line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            assert helped[-1] == name
            declared[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            name = match[1]
            base = helped[-1]
            is_of_histogram = declared[base] == "histogram" and name.removeprefix(base) in ("_bucket", "_sum", "_count")
            assert name == base or is_of_histogram, line
            key = (name, frozenset(LABEL.findall(match[2] or "")))
            assert key not in found, line
            found[key] = float(match[3])
    assert list(declared) == helped
    return found


async def scrape(node: MeshNode) -> Samples:
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{node.url}/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(response.text)


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def mark(stats: Any, numbers: Iterator[int]) -> set[float]:
    """Give each counter of this object a number of its own."""
    marks: set[float] = set()
    names = getattr(stats, "__struct_fields__", None) or (
        [field.name for field in dataclasses.fields(stats)] if dataclasses.is_dataclass(stats) else vars(stats)
    )
    for name in names:
        old = getattr(stats, name)
        if isinstance(old, set):
            continue  # the hosts that called: no counter
        if isinstance(old, dict):
            new: Any = {key: next(numbers) for key in old}
            marks |= set(new.values())
        elif isinstance(old, list):
            new = [next(numbers) for _ in old]
            marks |= set(itertools.accumulate(new))
        else:
            new = next(numbers)
            marks.add(new)
        setattr(stats, name, new)
    return marks


async def test_every_counter_of_every_part_is_shown() -> None:
    async with open_mesh("a") as [node]:
        measured: Measured = cast("Any", node)._node.metrics.args[0]
        numbers = itertools.count(1_000_003, 7)
        beacon = BeaconSource.__new__(BeaconSource)
        beacon.stats = BeaconStats()
        measured.sources = [beacon]
        counted = (Counters, DriverStats, HttpStats, PeerStats, PortStats, BeaconStats, Budget)
        budget = measured.peers.budget
        kept_budget = (budget.bytes_max, budget.bytes_taken)
        parts = (
            *(measured.counters, measured.stats, measured.server, measured.peers.stats, measured.port.stats),
            beacon.stats,
            budget,
        )
        assert tuple(map(type, parts)) == counted
        kept = [msgspec.structs.asdict(part) for part in parts[:2]]
        marks = set[float]().union(*(mark(part, numbers) for part in parts))
        marks.discard(budget.bytes_max)  # a limit
        shown = set(read(expose(measured).decode()).values())
        budget.bytes_max, budget.bytes_taken = kept_budget
        for part, values in zip(parts, kept, strict=False):
            for name, old in values.items():
                setattr(part, name, old)
        assert marks <= shown, marks - shown
        assert len(marks) > 70


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Any) -> None:
    assert re.fullmatch(r"meshp2p_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not {"id", "instance", "job", "le", "node", "member"} & set(metric.labels), "no ids, none of Prometheus' own"
    assert metric.what[0].isupper()
    assert metric.what[-1] == "."
    assert not set(metric.what) & set('\\\n"|')


def test_no_metric_is_declared_twice() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


async def test_the_metrics_count_what_happens() -> None:
    async with open_mesh("a", "b") as [a, b]:

        @b.handler("Query")
        async def answer(question: str) -> str:
            if question == "fail":
                raise ValueError("no")
            return question

        assert await a.query("b", "x") == "x"
        with pytest.raises(RemoteError):
            await a.query("b", "fail")
        with pytest.raises(NoHandler):
            await b.query("a", "x")
        await a.send("b", {"text": "hello"})
        with pytest.raises(UnknownInstance):
            await a.send("nobody", 1)
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{a.url}/no/such/path")
            await client.get(f"{a.url}/registry/agents/nobody")
            await client.post(f"{a.url}/registry/register", json=registration("hosted"))
        at_a, at_b = await scrape(a), await scrape(b)
        assert value(at_a, "meshp2p_members", state="alive", kind="node") == 2
        assert value(at_a, "meshp2p_members", state="alive", kind="hosted") == 1
        assert value(at_a, "meshp2p_leading") + value(at_b, "meshp2p_leading") == 1
        assert value(at_a, "meshp2p_leader_changes_total") >= 1
        assert value(at_a, "meshp2p_queries_total", outcome="answered") == 1
        assert value(at_a, "meshp2p_queries_total", outcome="failed") == 1
        assert value(at_b, "meshp2p_queries_total", outcome="no_handler") == 1
        assert value(at_b, "meshp2p_queries_served_total", outcome="answered") == 1
        assert value(at_b, "meshp2p_queries_served_total", outcome="failed") == 1
        assert value(at_a, "meshp2p_queries_served_total", outcome="no_handler") == 1
        assert value(at_a, "meshp2p_messages_accepted_total") == 1
        assert value(at_a, "meshp2p_messages_refused_total", reason="unknown_target") == 1
        assert value(at_a, "meshp2p_messages_pending", place="outbox") == 1
        assert value(at_b, "meshp2p_messages_delivered_total") == 1
        assert value(at_b, "meshp2p_messages_pending", place="mailboxes") == 1
        assert value(at_a, "meshp2p_http_responses_total", route="", status="404") == 1
        assert value(at_a, "meshp2p_http_responses_total", route="show_agent", status="404") == 1
        assert value(at_a, "meshp2p_datagram_bytes_total", direction="received") > 0
        assert value(at_a, "meshp2p_loop_delay_seconds_count") > 0
        assert value(at_a, "meshp2p_loop_delay_seconds_bucket", le="+Inf") == value(
            at_a, "meshp2p_loop_delay_seconds_count"
        )
        assert value(at_a, "meshp2p_ready") == 1
        assert value(at_a, "meshp2p_uptime_seconds") > 0


async def test_a_query_without_an_end_is_counted_by_why() -> None:
    async with open_mesh("a", "b") as [a, b]:

        @b.handler("Query")
        async def answer(question: str) -> str:
            await trio.sleep_forever()
            raise AssertionError

        with pytest.raises(QueryTimeout):
            await a.query("b", "x", timeout=0.01)
        with trio.move_on_after(0.01):
            await a.query("b", "x")
        samples = await scrape(a)
        assert value(samples, "meshp2p_queries_total", outcome="timed_out") == 1
        assert value(samples, "meshp2p_queries_total", outcome="cancelled") == 1


async def test_ids_of_members_are_in_no_sample() -> None:
    async with open_mesh("very-special-id") as [node]:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"{node.url}/registry/agents/very-special-id")
            text = (await client.get(f"{node.url}/metrics")).text
        assert "very-special" not in text


async def test_a_report_that_reaches_nobody_and_a_query_that_is_abandoned_are_counted() -> None:
    async with open_mesh("a", "b") as [a, b]:

        @b.handler("Query")
        async def answer(question: str) -> str:
            begun.set()
            await trio.sleep_forever()
            raise AssertionError

        begun = trio.Event()
        queries = cast("Any", a)._node.queries
        await queries.tell_progress("nobody", "c", b"1")
        await queries.tell_progress("b", "c", b"1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.query, "b", "x")
            await begun.wait()
            nursery.cancel_scope.cancel()
        samples = await scrape(a)
        assert value(samples, "meshp2p_progress_dropped_total") == 1
        assert value(samples, "meshp2p_calls_reset_total", reason="cancelled") == 1
