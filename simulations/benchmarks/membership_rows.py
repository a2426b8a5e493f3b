"""The rows of the membership benchmark and their aims."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from simulations.benchmarks.impaired_mesh import LOSSES
from simulations.benchmarks.report import Row

__all__ = ["ROWS"]


def _always(text: str) -> Callable[[int], str]:
    return lambda _: text


def _small(few: str, many: str) -> Callable[[int], str]:
    return lambda nodes: few if nodes <= 16 else many


ROWS: Final = (
    Row("start_full", "told to begin -> all views full, s", _small("1", "2")),
    Row("spawn_full", "spawned -> all views full, s"),
    Row("cold_mdns_ready", "multicast alone: last ready -> all full, s", _always("0.3")),
    Row("cold_mdns_spawned", "multicast alone: spawned -> all full, s", _always("1 at 10")),
    Row("cold_beacon_ready", "beacon alone: last ready -> all full, s"),
    Row("cold_beacon_spawned", "beacon alone: spawned -> all full, s"),
    Row("cold_blocked_ready", "multicast blocked: last ready -> all full, s", _always("5")),
    Row("cold_blocked_spawned", "multicast blocked: spawned -> all full, s"),
    Row("kill_first", "killed (SIGKILL) -> first knows, s"),
    Row("kill_each", "killed (SIGKILL) -> each knows, s (p99)", tail="p99"),
    Row("kill_all", "killed (SIGKILL) -> all know, s", _small("0.1 (1)", "0.2 (1)")),
    Row("leader_first", "leader killed -> first names the next, s"),
    Row("leader_all", "leader killed -> all name the next, s", _small("0.1 (1)", "0.2 (1)")),
    Row("silent_first", "silent host -> first knows, s"),
    Row("silent_each", "silent host -> each knows, s (p99)", tail="p99"),
    Row("silent_all", "silent host -> all know, s", _always("5 (8)")),
    Row("leave_first", "leaves -> first knows, s"),
    Row("leave_all", "leaves -> all know, s"),
    Row("spread_each", "a change -> each knows, s (p99)", tail="p99"),
    Row("spread_all", "a change -> all know, s", _always("0.1 (0.5)")),
    Row("heal_all", "partition mended -> all views full, s", _always("1 (5)")),
    Row("heal_leader", "partition mended -> one leader, s", _always("1 (5)")),
    Row("datagrams", "idle: datagrams a node and s", _always("2.2"), panel="cost"),
    Row("datagram_bytes", "idle: UDP bytes a node and s", _always("300"), panel="cost"),
    Row("tcp_bytes", "idle: TCP bytes a node and s", panel="cost"),
    Row("processor", "idle: CPU s a node and minute", _always("0.6"), panel="cost"),
    Row("resident", "resident memory of a node, MB", _always("45"), panel="cost"),
    Row("proportional", "the same, shared pages divided, MB", panel="cost"),
    Row("resident_mdns", "resident memory with multicast, MB", _always("45"), panel="cost"),
    *(
        Row(f"dead_at_{loss}", f"healthy nodes held dead, {loss} % UDP loss", _always("0"), panel="count")
        for loss in LOSSES
    ),
    Row("dead_healthy", "healthy nodes held dead, a tenth starved", _always("0"), panel="count"),
    Row("dead_starved", "starved nodes held dead, a tenth starved", panel="count"),
    Row("false_deaths", "healthy nodes held dead, all else", _always("0"), panel="count"),
)
"""The aims of the project; the worst allowed value is in parentheses."""
