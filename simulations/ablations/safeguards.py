"""Safeguards of the protocol that can be switched off, to see that some checker then fails."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.simulation.host import Host
from meshp2p.simulation.schedule import Schedule
from meshp2p.simulation.world import Ablation
from simulations.ablations.alterations import (
    believe_late_records,
    believe_verdicts,
    count_one_confirmation,
    forget_acknowledged,
    grant_to_all,
    lead_again,
    miscount_the_ring,
    settle_on_anybody,
    tell_for_ever,
    without_crash_ping,
    without_method,
    without_second_observer,
    without_tcp_probe,
    write_nothing,
)

__all__ = ["SAFEGUARDS", "Safeguard", "ablation"]


class Safeguard(msgspec.Struct, frozen=True):
    """One safeguard: what it is, the scenario in which its absence shows, the checker that is to see it, and how it is
    switched off: other values of the configuration, or a change to the machine of a host that was just made."""

    about: str
    scenario: str
    checker: str
    config: dict[str, float] = {}
    alter: Callable[[Host], None] | None = None


SAFEGUARDS: dict[str, Safeguard] = {
    "refutation": Safeguard(
        "a node answers what is wrongly said of it (SWIM §4.2)",
        "partition",
        "convergence",
        alter=without_method("_swim", "ownership", "refute"),
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
        "convergence",
        # what came beside them hides their absence; without that, and with them, none of these runs fails
        {"indirect_probes": 0, "confirmers": 0, "patience_max": 1.0, "retransmit_margin": 2.4},
    ),
    "tcp-probe": Safeguard(
        "who does not answer by UDP is probed by TCP",
        "udp-dead",
        "convergence",
        alter=without_tcp_probe,
    ),
    "nacks": Safeguard(
        "a relay says that it lives though the target does not answer (Lifeguard §IV-A)",
        "crash",
        "local-health",
        alter=without_method("_swim", "prober", "handle_relay_no_answer"),
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
        alter=without_second_observer,
    ),
    "crash-ping": Safeguard(
        "who refuses TCP and answers a ping is not accused",
        "rejecting",
        "false-deaths",
        alter=without_crash_ping,
    ),
    "tombstones": Safeguard(
        "who departed is remembered, so that late gossip does not bring it back",
        "late-news",
        "incarnations",
        alter=believe_late_records,
    ),
    "calling-the-dead": Safeguard(
        "the dead are called again, for they may live beyond a partition",
        "seeds-gone",
        "convergence",
        alter=without_method("_swim", "departures", "handle_call"),
    ),
    "sync": Safeguard(
        "nodes whose views differ compare them",
        "deaf",
        "convergence",
        alter=without_method("_swim", "syncer", "sync_with"),
    ),
    "told-enough": Safeguard(
        "a rumour is told so often that all hear it, and no more (SWIM §4.1)",
        "calm",
        "budgets",
        alter=tell_for_ever,
    ),
    "confirmations": Safeguard(
        "only several independent confirmations shorten a suspicion (Lifeguard §IV-B)",
        "crash",
        "suspicions",
        alter=count_one_confirmation,
    ),
    "probe-ring": Safeguard(
        "each other node has its turn in every round of probes",
        "partition",
        "probe-ring",
        alter=miscount_the_ring,
    ),
    "settled-peers": Safeguard(
        "a sync settles a node only where the other is settled",
        "calm",
        "settling",
        alter=settle_on_anybody,
    ),
    "new-terms": Safeguard(
        "a node that leads again claims a new epoch",
        "quorum",
        "epochs",
        alter=lead_again,
    ),
    "bound-granters": Safeguard(
        "under a quorum a node that granted the leadership grants it to nobody else until the grant is over",
        "quorum",
        "one-leader",
        alter=grant_to_all,
    ),
    "settle-window": Safeguard(
        "a node that has just begun looks around before it names a leader",
        "calm",
        "settling",
        {"settle_timeout": 0.0},
    ),
    "pause-guard": Safeguard(
        "a node that was stopped accuses nobody before it heard somebody",
        "late-news",
        "pause-guard",
        alter=without_method("_swim", "pause_guard", "_begin"),
    ),
    "persistence": Safeguard(
        "a node keeps its incarnation and epoch across restarts",
        "restart",
        "incarnations",
        alter=write_nothing,
    ),
    "roll-call": Safeguard(
        "a probe that meets silence on all ways has many nodes checked at once (ADR 0056)",
        "isolated",
        "cuts",
        alter=without_method("_swim", "roll_call", "begin"),
    ),
    "hearsay": Safeguard(
        "a verdict on a node that was just heard is a suspicion (ADR 0057)",
        "flapping",
        "suspicions",
        alter=believe_verdicts,
    ),
    "rivals": Safeguard(
        "two processes with one id find one another, and one gives way",
        "twin",
        "giving-way",
        alter=without_method("_swim", "ownership", "_ask_rival"),
    ),
    "adoption": Safeguard(
        "a node that is asked for an instance whose home is gone becomes its home",
        "homes",
        "adoption",
        alter=without_method("_swim", "hosting", "adopt"),
    ),
    "map-comparing": Safeguard(
        "nodes that share a map compare their replicas, by digest",
        "maps",
        "maps",
        alter=without_method("_maps", "_handle_difference"),
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
        alter=without_method("_swim", "hosting", "handle_expired"),
    ),
    "redelivery": Safeguard(
        "who accepted a message delivers it again where its recipient's home forgot it, or is another",
        "home-forgets",
        "messages",
        alter=without_method("_mail", "delivery", "notice"),
    ),
    "remembered-ids": Safeguard(
        "a mailbox remembers what was acknowledged",
        "mail",
        "messages",
        alter=forget_acknowledged,
    ),
}
"""All safeguards by name."""


def _named(names: tuple[str, ...]) -> list[Safeguard]:
    for name in names:
        if name not in SAFEGUARDS:
            raise ConfigError(f"ablation {name!r}: expected one of {', '.join(SAFEGUARDS)}")
    return [SAFEGUARDS[name] for name in names]


def ablation(schedule: Schedule) -> Ablation:
    """What switches off the safeguards that the schedule names. Checkers go by the schedule's own configuration.

    Raises :class:`ConfigError` for an unknown name.
    """
    config = schedule.config
    safeguards = _named(schedule.ablations)
    for safeguard in safeguards:
        config = msgspec.structs.replace(config, **safeguard.config)

    def alter(host: Host) -> None:
        for safeguard in safeguards:
            if safeguard.alter is not None:
                safeguard.alter(host)

    return Ablation(config, alter)
