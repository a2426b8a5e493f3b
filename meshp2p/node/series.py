"""Fifteen minutes of the metrics that the status shows as graphs, sampled from the table of metrics."""

from __future__ import annotations

import collections
import math
from array import array
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

import trio

from meshp2p.node.metrics import METRICS, Measured
from meshp2p.wire.status_contract import TimeSeries

__all__ = ["SAMPLES_MAX", "SAMPLE_SECONDS", "SERIES", "Series", "SeriesKeeper"]

SAMPLE_SECONDS: Final = 5.0
SAMPLES_MAX: Final = 180
"""How many samples are kept: 15 minutes."""

_METRICS: Final = {metric.name: metric for metric in METRICS}


class Series(NamedTuple):
    """One graph: a metric, or those values of it whose first label is among ``labels``. A counter is shown as a rate
    per second, and a histogram as its mean."""

    name: str
    what: str
    unit: str
    metric: str
    labels: tuple[str, ...] = ()


SERIES: Final = (
    Series("members", "Members", "", "meshp2p_members"),
    Series("suspects", "Suspects", "", "meshp2p_members", ("suspect",)),
    Series("deaths", "Deaths", "/s", "meshp2p_deaths_total"),
    Series("leader_changes", "Changes of the leader", "/s", "meshp2p_leader_changes_total"),
    Series("probes_failed", "Failed probes", "/s", "meshp2p_probes_failed_total"),
    Series("syncs", "Full syncs", "/s", "meshp2p_syncs_total"),
    Series("accepted", "Messages accepted", "/s", "meshp2p_messages_accepted_total"),
    Series("delivered", "Messages delivered", "/s", "meshp2p_messages_delivered_total"),
    Series("refused", "Messages refused", "/s", "meshp2p_messages_refused_total"),
    Series("outbox", "Messages held in the outbox", "", "meshp2p_messages_pending", ("outbox",)),
    Series("unread", "Unread messages", "", "meshp2p_messages_pending", ("mailboxes",)),
    Series("queries", "Queries asked", "/s", "meshp2p_queries_total"),
    Series("served", "Queries answered", "/s", "meshp2p_queries_served_total"),
    Series("received_bytes", "Datagrams in", "B/s", "meshp2p_datagram_bytes_total", ("received",)),
    Series("sent_bytes", "Datagrams out", "B/s", "meshp2p_datagram_bytes_total", ("sent",)),
    Series("calls", "Calls to nodes", "/s", "meshp2p_calls_total"),
    Series("calls_failed", "Failed calls", "/s", "meshp2p_calls_failed_total"),
    Series("other_mesh", "Packets of other meshes", "/s", "meshp2p_input_refused_total", ("other_mesh",)),
    Series("other_beacons", "Beacons of other meshes", "/s", "meshp2p_beacon_refused_total", ("other_mesh",)),
    Series("revoked", "Input from revoked machines", "/s", "meshp2p_input_refused_total", ("revoked",)),
    Series("http_requests", "HTTP requests", "/s", "meshp2p_http_requests_total"),
    Series("loop_delay", "Delay of the event loop", "s", "meshp2p_loop_delay_seconds"),
)
"""All series. Each is a metric of :data:`~meshp2p.node.metrics.METRICS`."""


class SeriesKeeper:
    """Samples one node, in memory of a fixed size: 4 bytes for each sample."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured
        self._values: list[array[float]] = [array("f") for _ in SERIES]
        self._last: list[tuple[float, float]] = []
        """The count and the sum of each series at the last sample."""
        self._sampled_at = 0.0

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Sample until cancelled."""
        while True:
            self.sample()
            await sleep(SAMPLE_SECONDS)

    def sample(self) -> None:
        now = trio.current_time()
        present = [self._read(series) for series in SERIES]
        seconds = now - self._sampled_at
        if self._last and seconds > 0:
            for series, values, new, old in zip(SERIES, self._values, present, self._last, strict=True):
                values.append(_shown(series, new, old, seconds))
                if len(values) > SAMPLES_MAX:
                    del values[0]
        self._last, self._sampled_at = present, now

    def increase(self, name: str, seconds: float) -> int:
        """Return by how much a counter grew in about the last ``seconds``."""
        place = next(index for index, series in enumerate(SERIES) if series.name == name)
        rates = self._values[place][-math.ceil(seconds / SAMPLE_SECONDS) :]
        since = self._read(SERIES[place])[1] - (self._last[place][1] if self._last else 0)
        return round(sum(rates) * SAMPLE_SECONDS + since)

    def shown(self) -> list[TimeSeries]:
        """Return all series, each with ``SAMPLES_MAX`` values."""
        return [
            TimeSeries(
                series.name,
                series.what,
                series.unit,
                [None] * (SAMPLES_MAX - len(values)) + [float(f"{value:.4g}") for value in values],
            )
            for series, values in zip(SERIES, self._values, strict=True)
        ]

    def _read(self, series: Series) -> tuple[float, float]:
        """Return the count, for a histogram, and the value or sum."""
        samples = _METRICS[series.metric].read(self._measured)
        if isinstance(samples, tuple):
            return sum(samples[0]), samples[1]
        if not isinstance(samples, Mapping):
            return 0, float(samples)
        totals: collections.Counter[str] = collections.Counter()
        for key, value in samples.items():
            totals[str(key[0] if isinstance(key, tuple) else key)] += value  # type: ignore[assignment]  # it may be a float
        return 0, float(sum(totals[label] for label in series.labels or totals))


def _shown(series: Series, new: tuple[float, float], old: tuple[float, float], seconds: float) -> float:
    kind = _METRICS[series.metric].kind
    if kind == "gauge":
        return new[1]
    if kind == "counter":
        return max(0.0, new[1] - old[1]) / seconds
    return (new[1] - old[1]) / max(1.0, new[0] - old[0])
