"""The metrics of a node, each declared once: :data:`METRICS` is what ``GET /metrics`` and the docs show."""

from __future__ import annotations

import itertools
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from meshp2p.core.directory.counters import Counters
from meshp2p.core.record import State
from meshp2p.discovery.beacon import BeaconSource, BeaconStats
from meshp2p.discovery.source import Source
from meshp2p.errors import Refusal
from meshp2p.http.limits import HttpStats
from meshp2p.net.driver import Driver
from meshp2p.net.driver_parts import DELAY_BOUNDS, Datagrams, DriverStats
from meshp2p.net.peers import Peers
from meshp2p.net.port import Port
from meshp2p.node.local_node import LocalNode
from meshp2p.node.recordings import Recordings
from meshp2p.node.subscriptions import Subscriptions
from meshp2p.version import __version__

__all__ = ["METRICS", "Measured", "Metric", "expose"]


class Measured(msgspec.Struct):
    """The parts of one node that have counters and levels."""

    node: LocalNode
    driver: Driver
    datagrams: Datagrams
    peers: Peers
    port: Port
    server: HttpStats
    subscriptions: Subscriptions
    recordings: Recordings
    sources: Sequence[Source] = ()

    @property
    def counters(self) -> Counters:
        return self.driver.machine.counters

    @property
    def stats(self) -> DriverStats:
        return self.driver.stats

    @property
    def beacons(self) -> list[BeaconStats]:
        return [source.stats for source in self.sources if isinstance(source, BeaconSource)]


Samples: TypeAlias = float | Mapping[Any, float] | tuple[Sequence[int], float]
"""A number; numbers by the values of the labels; or the counts and the sum of a histogram by :data:`DELAY_BOUNDS`."""


class Metric(NamedTuple):
    """One metric. ``source`` is a path of attributes of :class:`Measured`, such a path for each value of the label, or
    a function. ``labels`` are the names of the labels: their values are closed sets, never ids."""

    name: str
    what: str
    source: str | Mapping[str, str] | Callable[[Measured], Samples]
    labels: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["counter", "gauge", "histogram"]:
        if self.name == "meshp2p_loop_delay_seconds":
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"

    def read(self, measured: Measured) -> Samples:
        """Return the current value."""
        if callable(self.source):
            return self.source(measured)
        if isinstance(self.source, str):
            samples: Samples = attrgetter(self.source)(measured)
            return samples
        return {label: attrgetter(path)(measured) for label, path in self.source.items()}


def _members(at: Measured) -> Samples:
    machine = at.driver.machine
    records, nodes = machine.records(), machine.node_count()
    suspects = Counter(record.is_node for record in records.values() if record.state is State.SUSPECT)
    return {
        ("alive", "node"): nodes - suspects[True],
        ("alive", "hosted"): len(records) - nodes - suspects[False],
        ("suspect", "node"): suspects[True],
        ("suspect", "hosted"): suspects[False],
    }


def _departed(at: Measured) -> Samples:
    found = Counter(departed.state for departed in at.driver.machine.departed() if departed.was_listed)
    return {state.name.lower(): found[state] for state in (State.DEAD, State.LEFT)}


def _refused(refused: Iterable[Mapping[Refusal, int]]) -> Samples:
    return {reason: sum(counts.get(reason, 0) for counts in refused) for reason in Refusal}


METRICS: Final = (
    Metric(
        "meshp2p_build_info",
        "Always 1; the labels are the versions of meshp2p and Python.",
        lambda _: {(__version__, platform.python_version()): 1},
        ("version", "python"),
    ),
    Metric("meshp2p_uptime_seconds", "Time since the node was opened.", "node.uptime"),
    Metric("meshp2p_ready", "Whether /readyz answers 200: 1 or 0.", lambda at: at.node.why_not_ready() is None),
    Metric(
        "meshp2p_loop_delay_seconds",
        "How much later than planned the node's timers ran, because the event loop or the machine was busy.",
        lambda at: (at.stats.delays, at.stats.delay_seconds),
    ),
    # The mesh
    Metric("meshp2p_members", "Listed members, by state and kind.", _members, ("state", "kind")),
    Metric("meshp2p_departed_members", "Members remembered as dead or left.", _departed, ("state",)),
    Metric("meshp2p_leading", "Whether this node leads: 1 or 0.", "driver.machine.is_leading"),
    Metric(
        "meshp2p_leader_known",
        "Whether this node knows a leader: 1 or 0.",
        lambda at: at.driver.machine.leader_id is not None,
    ),
    Metric("meshp2p_leader_epoch", "The leader's epoch.", "driver.machine.leader_epoch"),
    Metric("meshp2p_leader_changes_total", "Changes of the leader.", "counters.leader_changes"),
    Metric(
        "meshp2p_local_health",
        "How slow this node finds itself: 0 is healthy; more makes its probes more patient.",
        "driver.machine.local_health",
    ),
    Metric("meshp2p_probes_total", "Probes of other nodes.", "counters.probes"),
    Metric("meshp2p_probes_failed_total", "Probes without an answer.", "counters.probes_failed"),
    Metric("meshp2p_suspicions_total", "Suspicions of other nodes.", "counters.suspicions"),
    Metric("meshp2p_deaths_total", "Members that were declared dead.", "counters.deaths"),
    Metric("meshp2p_refutations_total", "Claims about this node that it refuted.", "counters.refutations"),
    Metric("meshp2p_syncs_total", "Full exchanges of views.", "counters.syncs"),
    Metric("meshp2p_syncs_failed_total", "Those that failed.", "counters.syncs_failed"),
    Metric(
        "meshp2p_claims_total",
        "Claims about members that arrived: taken, stale, or refused because no correct node makes them.",
        {"taken": "counters.items_taken", "stale": "counters.items_stale", "refused": "counters.items_refused"},
        ("outcome",),
    ),
    Metric(
        "meshp2p_members_without_room_total",
        "New members that were not listed, because members_max or members_size_max is reached.",
        "counters.records_without_room",
    ),
    Metric("meshp2p_pauses_total", "Times that this process was suspended.", "counters.pauses"),
    Metric(
        "meshp2p_rebuilds_total",
        "Inputs that were dropped because of a bug, after which the protocol began anew.",
        "counters.rebuilds",
    ),
    Metric("meshp2p_events_lost_total", "Events that readers of this node were too slow for.", "subscriptions.lost"),
    # Messages
    Metric(
        "meshp2p_messages_accepted_total",
        "Messages that this node accepted from senders.",
        "counters.messages_accepted",
    ),
    Metric(
        "meshp2p_messages_refused_total",
        "Messages that this node did not accept, by reason.",
        "counters.messages_refused",
        ("reason",),
    ),
    Metric(
        "meshp2p_messages_delivered_total",
        "Copies that were put into mailboxes of this node.",
        "counters.messages_taken",
    ),
    Metric(
        "meshp2p_messages_repeated_total",
        "Copies that arrived again, and were recognised.",
        "counters.messages_repeated",
    ),
    Metric(
        "meshp2p_messages_finished_total",
        "Copies that this node held, by outcome.",
        {
            "acknowledged": "counters.copies_acknowledged",
            "expired": "counters.copies_expired",
            "undeliverable": "counters.copies_undeliverable",
        },
        ("outcome",),
    ),
    Metric(
        "meshp2p_messages_pending",
        "Copies that wait for their acknowledgement: in the outbox of the node that accepted them, or in mailboxes.",
        {"outbox": "driver.machine.outbox.copies", "mailboxes": "driver.machine.mailboxes.pending"},
        ("place",),
    ),
    Metric("meshp2p_outbox_bytes", "Size of the held messages.", "driver.machine.outbox.bytes"),
    Metric(
        "meshp2p_mailbox_full_total",
        "Copies that a full mailbox of this node refused; they are delivered again later.",
        "counters.copies_without_room",
    ),
    Metric(
        "meshp2p_delivery_retries_total",
        "Deliveries that are repeated after a pause: the recipient's home refused, or the call to it failed.",
        {"refused": "counters.deliveries_delayed", "call_failed": "counters.mail_calls_repeated"},
        ("reason",),
    ),
    # Queries
    Metric(
        "meshp2p_queries_total",
        "Queries of this node's agent that ended, by outcome.",
        "node.queries.ended",
        ("outcome",),
    ),
    Metric(
        "meshp2p_queries_served_total",
        "Queries to this node's agent that ended, by outcome.",
        "node.answering.served",
        ("outcome",),
    ),
    Metric(
        "meshp2p_progress_dropped_total",
        "Reports of progress that did not reach the delegator of the task.",
        "node.queries.progress_dropped",
    ),
    # Shared maps
    Metric("meshp2p_map_syncs_total", "Comparisons of shared maps.", "counters.map_syncs"),
    Metric(
        "meshp2p_map_entries_total",
        "Entries of shared maps from other nodes: taken, or refused because of their stamp or the limits.",
        {"taken": "counters.map_entries_taken", "refused": "counters.map_entries_refused"},
        ("outcome",),
    ),
    # The network
    Metric(
        "meshp2p_datagrams_total",
        "UDP packets of the protocol.",
        {"received": "stats.datagrams_received", "sent": "stats.datagrams_sent"},
        ("direction",),
    ),
    Metric(
        "meshp2p_datagram_bytes_total",
        "Their bytes, without headers of UDP and IP.",
        {"received": "stats.bytes_received", "sent": "stats.bytes_sent"},
        ("direction",),
    ),
    Metric(
        "meshp2p_datagrams_unsent_total", "Packets that the operating system did not take.", "datagrams.send_errors"
    ),
    Metric(
        "meshp2p_datagrams_unsealed_total",
        "Packets that were not sent because the key of the receiver is not known, in a secured mesh.",
        "stats.datagrams_unsealed",
    ),
    Metric(
        "meshp2p_datagrams_unasked_total",
        "Answers to no ping of this node, and packets for another node.",
        "counters.datagrams_unasked",
    ),
    Metric(
        "meshp2p_input_refused_total",
        "Packets, calls and handshakes that were dropped because they are no valid data of this mesh, by reason.",
        lambda at: _refused([at.stats.refused]),
        ("reason",),
    ),
    Metric("meshp2p_calls_total", "Calls to other nodes.", "stats.calls_made"),
    Metric("meshp2p_calls_failed_total", "Those that failed, by reason.", "stats.failures", ("reason",)),
    Metric("meshp2p_calls_succeeded_total", "Those that were answered.", "stats.calls_succeeded"),
    Metric("meshp2p_calls_answered_total", "Calls of other nodes that this node answered.", "stats.calls_answered"),
    Metric(
        "meshp2p_calls_reset_total",
        "Calls and queries that this node ended early: its own, or those of others, by reason.",
        lambda at: {reason.name.lower(): count for reason, count in at.peers.budget.resets.items()},
        ("reason",),
    ),
    Metric("meshp2p_peer_buffered_bytes", "Bytes that are buffered for calls.", "peers.budget.bytes_taken"),
    Metric("meshp2p_peer_connections", "Open connections to nodes.", lambda at: len(at.peers.connections)),
    Metric(
        "meshp2p_peer_connections_opened_total",
        "Connections between this node and others: dialled, or accepted.",
        {"dialled": "peers.stats.dialled", "accepted": "peers.stats.accepted"},
        ("direction",),
    ),
    Metric(
        "meshp2p_connections_refused_total",
        "Connections that were closed before they were served: no descriptor was left, plain where only TLS is"
        " accepted, silent for too long, or no room.",
        {
            "not_accepted": "port.stats.accept_failures",
            "plain": "port.stats.plain",
            "silent": "port.stats.silent",
            "no_room": "peers.stats.crowded_out",
        },
        ("reason",),
    ),
    Metric("meshp2p_tls_connections_total", "Accepted TLS connections.", "port.stats.tls"),
    # Discovery
    Metric(
        "meshp2p_beacon_packets_total",
        "Packets of the beacon: questions and answers, sent and heard.",
        lambda at: {
            ("question", "sent"): sum(beacon.questions_asked for beacon in at.beacons),
            ("question", "received"): sum(beacon.questions_heard for beacon in at.beacons),
            ("answer", "sent"): sum(beacon.answers_sent for beacon in at.beacons),
            ("answer", "received"): sum(beacon.answers_heard for beacon in at.beacons),
        },
        ("kind", "direction"),
    ),
    Metric(
        "meshp2p_beacon_limited_total",
        "Packets of the beacon that were not read, because too many came.",
        lambda at: sum(beacon.limited for beacon in at.beacons),
    ),
    Metric(
        "meshp2p_beacon_refused_total",
        "Packets that were no beacon of this mesh, by reason.",
        lambda at: _refused([beacon.refused for beacon in at.beacons]),
        ("reason",),
    ),
    # The disk
    Metric(
        "meshp2p_store_writes_total",
        "Groups of writes to disk, by outcome.",
        {"committed": "stats.transactions", "failed": "stats.stores_failed"},
        ("outcome",),
    ),
    Metric("meshp2p_store_batches_total", "Batches in these groups.", "stats.stores"),
    Metric(
        "meshp2p_store_failing",
        "Whether the disk stores nothing now: 1 or 0.",
        lambda at: at.driver.machine.storage_failure is not None,
    ),
    Metric(
        "meshp2p_recordings_total",
        "Recordings of what this node went through that it wrote to disk, by outcome.",
        {"written": "recordings.written", "failed": "recordings.failed"},
        ("outcome",),
    ),
    Metric("meshp2p_recorder_bytes", "Memory of the flight recorder; 0 if it pauses.", "recordings.recorder.bytes"),
    # HTTP
    Metric("meshp2p_http_connections", "Open HTTP connections.", "server.connections_open"),
    Metric("meshp2p_http_connections_opened_total", "HTTP connections since the start.", "server.connections_total"),
    Metric("meshp2p_http_requests_total", "HTTP requests.", "server.requests_total"),
    Metric(
        "meshp2p_http_responses_total",
        "Answers by route and status; the route is empty if the path has none, or the caller may not call.",
        "server.responses",
        ("route", "status"),
    ),
    Metric(
        "meshp2p_http_refused_total",
        "HTTP requests and connections that the server ended without a route, by reason.",
        "server.refused",
        ("reason",),
    ),
    Metric(
        "meshp2p_http_waiting", "HTTP requests that wait for an event, such as a message.", "server.requests_waiting"
    ),
    Metric(
        "meshp2p_http_held_bytes",
        "Bodies in memory: of requests being received or processed, and of answers not read yet.",
        {"requests": "server.bodies_bytes", "answers": "server.answers_bytes"},
        ("kind",),
    ),
)


def expose(measured: Measured) -> bytes:
    """Return all metrics in Prometheus' text format, version 0.0.4."""
    lines: list[str] = []
    for metric in METRICS:
        lines += (f"# HELP {metric.name} {metric.what}", f"# TYPE {metric.name} {metric.kind}")
        lines += _lines(metric, metric.read(measured))
    return ("\n".join(lines) + "\n").encode()


def _lines(metric: Metric, samples: Samples) -> Iterable[str]:
    if isinstance(samples, tuple):
        counts, total = samples
        bounds = (*map(repr, DELAY_BOUNDS), "+Inf")
        for bound, count in zip(bounds, itertools.accumulate(counts), strict=True):
            yield f'{metric.name}_bucket{{le="{bound}"}} {count}'
        yield f"{metric.name}_sum {total!r}"
        yield f"{metric.name}_count {sum(counts)}"
    elif isinstance(samples, Mapping):
        for key, value in samples.items():
            values = key if isinstance(key, tuple) else (key,)
            pairs = (f'{name}="{value}"' for name, value in zip(metric.labels, values, strict=True))
            yield f"{metric.name}{{{','.join(pairs)}}} {value}"
    else:
        yield f"{metric.name} {float(samples)!r}"
