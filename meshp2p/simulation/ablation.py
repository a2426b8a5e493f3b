"""Safeguards of the protocol that can be switched off, to see that some checker then fails.

It reaches into the machine under test, as nothing else here does: a safeguard has no switch of its own in ``core``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.messages import Probe
from meshp2p.core.record import Item, Record
from meshp2p.errors import ConfigError, check
from meshp2p.simulation.host import Host

__all__ = ["SAFEGUARDS", "Safeguard", "ablated_config", "alteration"]


class Safeguard(msgspec.Struct, frozen=True):
    """One safeguard: what it is, the scenario in which its absence shows, the checker that is to see it, and how it is
    switched off: other values of the configuration, or a change to the machine of a host that was just made."""

    about: str
    scenario: str
    checker: str
    config: dict[str, float] = {}
    alter: Callable[[Host], None] | None = None


def _nothing(*_arguments: Any, **_options: Any) -> None:
    return None


def _without_method(*path: str) -> Callable[[Host], None]:
    """Let this method of the machine, or of one of its parts, do nothing."""

    def alter(host: Host) -> None:
        part: Any = host.machine
        for name in path[:-1]:
            part = getattr(part, name)
        check(callable(getattr(part, path[-1], None)), f"the machine has no {'.'.join(path)} to switch off")
        setattr(part, path[-1], _nothing)

    return alter


def _believe_late_records(host: Host) -> None:
    membership: Any = host.machine._membership  # type: ignore[union-attr]
    members: Any = host.machine._state.members  # type: ignore[union-attr]
    take = membership._take

    def take_all_the_same(item: Item, now: float, *, by_sync: bool) -> None:
        if isinstance(item, Record):
            members.departed.pop(item.id, None)
        take(item, now, by_sync=by_sync)

    membership._take = take_all_the_same


def _without_tcp_probe(host: Host) -> None:
    state: Any = host.machine._state  # type: ignore[union-attr]
    call = state.call

    def call_unless_probe(addresses: Any, request: Any, handler: Any, timeout: Any = None) -> None:
        if not isinstance(request, Probe):
            call(addresses, request, handler, timeout)

    state.call = call_unless_probe


def _forget_acknowledged(host: Host) -> None:
    """Let no mailbox remember what was acknowledged."""
    receiving: Any = host.machine._messaging.receiving  # type: ignore[union-attr]
    acknowledge = receiving.acknowledge_here

    def acknowledge_and_forget(ticket: int, recipient: str, message_ids: tuple[str, ...], now: float) -> None:
        acknowledge(ticket, recipient, message_ids, now)
        if recipient in receiving.mailboxes:
            receiving.mailboxes[recipient].acknowledged.clear()

    receiving.acknowledge_here = acknowledge_and_forget


def _without_second_observer(host: Host) -> None:
    membership: Any = host.machine._membership  # type: ignore[union-attr]
    accuse = membership.accuse

    def accuse_and_convict(node_id: str, now: float, *, is_refused: bool = False) -> None:
        accuse(node_id, now, is_refused=is_refused)
        suspicion = membership._suspicions.get(node_id)
        if is_refused and suspicion is not None:
            suspicion.refused[""] = None
            membership._weigh_refusals(now)

    membership.accuse = accuse_and_convict


def _without_crash_ping(host: Host) -> None:
    prober: Any = host.machine._prober  # type: ignore[union-attr]
    prober.on_ack = lambda _message, _sender, _now: False


def _write_nothing(host: Host) -> None:
    if host.disk is not None:
        host.disk.write = _nothing  # type: ignore[method-assign]


SAFEGUARDS: dict[str, Safeguard] = {
    "refutation": Safeguard(
        "a node answers what is wrongly said of it (SWIM §4.2)",
        "partition",
        "wholeness",
        alter=_without_method("_ownership", "refute"),
    ),
    "suspicion": Safeguard(
        "a node that does not answer is suspected before it is held dead (SWIM §4.2)",
        "hiccup",
        "false-deaths",
        {"suspicion_multiplier": 0.1, "suspicion_max_multiplier": 1.0, "indirect_probes": 0},
    ),
    "indirect-probes": Safeguard(
        "others are asked to probe who does not answer (SWIM §4.1)",
        "bridge",
        "wholeness",
        # what came beside them hides their absence; without that, and with them, none of these runs fails
        {"indirect_probes": 0, "confirmers": 0, "patience_max": 1.0, "retransmit_margin": 2.4},
    ),
    "tcp-probe": Safeguard(
        "who does not answer by UDP is probed by TCP",
        "udp-dead",
        "wholeness",
        alter=_without_tcp_probe,
    ),
    "nacks": Safeguard(
        "a relay says that it lives though the target does not answer (Lifeguard §IV-A)",
        "crash",
        "local-health",
        alter=_without_method("_prober", "handle_relay_no_answer"),
    ),
    "watches": Safeguard(
        "two predecessors hold a connection to each node, which breaks when its process dies",
        "killed",
        "crash-evidence",
        {"watches": 0},
    ),
    "second-observer": Safeguard(
        "a refusal that one node found is a suspicion, and no verdict",
        "refused",
        "false-deaths",
        alter=_without_second_observer,
    ),
    "crash-ping": Safeguard(
        "who refuses TCP and answers a ping is not accused",
        "rejecting",
        "false-deaths",
        alter=_without_crash_ping,
    ),
    "tombstones": Safeguard(
        "who departed is remembered, so that late gossip does not bring it back",
        "late-news",
        "incarnations",
        alter=_believe_late_records,
    ),
    "calling-the-dead": Safeguard(
        "the dead are called again, for they may live beyond a partition",
        "seeds-gone",
        "wholeness",
        alter=_without_method("_departures", "handle_call"),
    ),
    "sync": Safeguard(
        "nodes whose views differ compare them",
        "deaf",
        "wholeness",
        alter=_without_method("_syncer", "sync_with"),
    ),
    "settle-window": Safeguard(
        "a node that has just begun looks around before it names a leader",
        "calm",
        "epochs",
        {"settle_timeout": 0.0},
    ),
    "pause-guard": Safeguard(
        "a node that was stopped accuses nobody before it heard somebody",
        "pause",
        "pause-guard",
        alter=_without_method("_pause_guard", "_begin"),
    ),
    "persistence": Safeguard(
        "a node keeps its incarnation and epoch across restarts",
        "restart",
        "incarnations",
        alter=_write_nothing,
    ),
    "rivals": Safeguard(
        "two processes with one id find one another, and one gives way",
        "twin",
        "wholeness",
        alter=_without_method("_ownership", "_ask_rival"),
    ),
    "adoption": Safeguard(
        "an instance whose home is gone is taken over by the node that hears of it",
        "homes",
        "machine",
        alter=_without_method("_hosting", "adopt"),
    ),
    "map-comparing": Safeguard(
        "nodes that share a map compare their replicas, by digest",
        "maps",
        "maps",
        alter=_without_method("_maps", "_take_difference"),
    ),
    "map-deletions": Safeguard(
        "what was deleted from a shared map is remembered, so that a node that was cut off does not bring it back",
        "maps",
        "maps",
        {"map_deleted_retention": 1.0},
    ),
    "expiry": Safeguard(
        "an instance that sends no heartbeats is let go",
        "homes",
        "registrations",
        alter=_without_method("_hosting", "handle_expired"),
    ),
    "redelivery": Safeguard(
        "who accepted a message delivers it again where its recipient's home forgot it, or is another",
        "home-forgets",
        "messages",
        alter=_without_method("_messaging", "sending", "notice"),
    ),
    "remembered-ids": Safeguard(
        "a mailbox remembers what was acknowledged",
        "mail",
        "messages",
        alter=_forget_acknowledged,
    ),
}
"""All safeguards by name."""


def _named(names: tuple[str, ...]) -> list[Safeguard]:
    for name in names:
        if name not in SAFEGUARDS:
            raise ConfigError(f"ablation {name!r}: expected one of {', '.join(SAFEGUARDS)}")
    return [SAFEGUARDS[name] for name in names]


def ablated_config(config: ProtocolConfig, names: tuple[str, ...]) -> ProtocolConfig:
    """The configuration of the machines. Checkers go by the schedule's own. Raises :class:`ConfigError` for an unknown
    name."""
    for safeguard in _named(names):
        config = msgspec.structs.replace(config, **safeguard.config)
    return config


def alteration(names: tuple[str, ...]) -> Callable[[Host], None] | None:
    """What switches these safeguards off in a host's machine. Raises :class:`ConfigError` for an unknown name."""
    changes = [safeguard.alter for safeguard in _named(names) if safeguard.alter is not None]
    if not changes:
        return None

    def alter(host: Host) -> None:
        for change in changes:
            change(host)

    return alter
