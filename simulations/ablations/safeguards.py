"""Safeguards of the protocol that can be switched off, to see that some checker then fails."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from meshp2p.errors import ConfigError
from meshp2p.simulation.host import Host
from meshp2p.simulation.schedule import Schedule
from meshp2p.simulation.world import Ablation
from simulations.ablations import trust
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
    """A safeguard of the protocol, and how to switch it off.

    ``scenario`` is the scenario in which its absence shows, and ``checker`` the checker that must notice. ``config``
    replaces options of the configuration, and ``alter`` changes the machine of a newly made host.
    """

    about: str
    scenario: str
    checker: str
    config: dict[str, float] = {}
    alter: Callable[[Host], None] | None = None


SAFEGUARDS: dict[str, Safeguard] = {
    "refutation": Safeguard(
        "a node refutes false claims about itself (SWIM §4.2)",
        "partition",
        "convergence",
        alter=without_method("_swim", "ownership", "refute"),
    ),
    "suspicion": Safeguard(
        "a node that does not answer is suspected before it is declared dead (SWIM §4.2)",
        "hiccup",
        "false-deaths",
        {"suspicion_multiplier": 0.1, "suspicion_max_multiplier": 1.0, "indirect_probes": 0},
    ),
    "indirect-probes": Safeguard(
        "other nodes probe a node that does not answer (SWIM §4.1)",
        "bridge",
        "convergence",
        # later additions hide their absence; with indirect probes and without the additions no run fails
        {"indirect_probes": 0, "confirmers": 0, "patience_max": 1.0, "retransmit_margin": 2.4},
    ),
    "tcp-probe": Safeguard(
        "a node that does not answer by UDP is probed by TCP",
        "udp-dead",
        "convergence",
        alter=without_tcp_probe,
    ),
    "nacks": Safeguard(
        "a relay sends a nack if the target does not answer (Lifeguard §IV-A)",
        "crash",
        "local-health",
        alter=without_method("_swim", "prober", "handle_relay_no_answer"),
    ),
    "watches": Safeguard(
        "two nodes hold a connection to each node, which breaks when its process dies",
        "killed",
        "crash-evidence",
        {"watches": 0},
    ),
    "second-observer": Safeguard(
        "a refused connection is only a suspicion until a second node confirms it",
        "refused",
        "false-deaths",
        alter=without_second_observer,
    ),
    "crash-ping": Safeguard(
        "a node that refuses TCP but answers a ping is not accused",
        "rejecting",
        "false-deaths",
        alter=without_crash_ping,
    ),
    "tombstones": Safeguard(
        "departed instances are remembered, so that late gossip does not revive them",
        "late-news",
        "incarnations",
        alter=believe_late_records,
    ),
    "calling-the-dead": Safeguard(
        "dead nodes are called again, since they may live beyond a partition",
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
        "a rumour is sent often enough to reach all nodes, and no more (SWIM §4.1)",
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
        "each round of probes covers every other node",
        "partition",
        "probe-ring",
        alter=miscount_the_ring,
    ),
    "settled-peers": Safeguard(
        "a sync settles a node only if its peer has settled",
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
        "under a quorum, a granter grants to nobody else until its grant expires",
        "quorum",
        "one-leader",
        alter=grant_to_all,
    ),
    "settle-window": Safeguard(
        "a node that has just started waits before it names a leader",
        "calm",
        "settling",
        {"settle_timeout": 0.0},
    ),
    "pause-guard": Safeguard(
        "a suspended node accuses nobody until it heard from another node",
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
        "a probe that gets no answer on any path starts a check of many nodes (ADR 0056)",
        "isolated",
        "cuts",
        alter=without_method("_swim", "roll_call", "begin"),
    ),
    "hearsay": Safeguard(
        "a death report about a node heard recently only raises a suspicion (ADR 0057)",
        "flapping",
        "suspicions",
        alter=believe_verdicts,
    ),
    "rivals": Safeguard(
        "two processes with one id find each other, and one stops",
        "twin",
        "giving-way",
        alter=without_method("_swim", "ownership", "_ask_rival"),
    ),
    "adoption": Safeguard(
        "a node that gets a request for an instance whose home is gone adopts it",
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
        "deletions in a shared map are remembered, so that a node that was cut off does not undo them",
        "maps",
        "maps",
        {"map_deleted_retention": 1.0},
    ),
    "expiry": Safeguard(
        "an instance without heartbeats is removed",
        "homes",
        "registrations",
        alter=without_method("_swim", "hosting", "handle_expired"),
    ),
    "redelivery": Safeguard(
        "the holder delivers a message again if the recipient's home lost it or changed",
        "home-forgets",
        "messages",
        alter=without_method("_mail", "delivery", "notice"),
    ),
    "remembered-ids": Safeguard(
        "a mailbox remembers acknowledged messages",
        "mail",
        "messages",
        alter=forget_acknowledged,
    ),
    "replay-window": Safeguard(
        "a datagram that was opened is not opened again",
        "replayer",
        "replays",
        alter=trust.without_replay_window,
    ),
    "signatures": Safeguard(
        "claims count only if their authors signed them",
        "forger",
        "authorship",
        alter=trust.verify_nothing,
    ),
    "certificates": Safeguard(
        "nodes connect only if a machine of the mesh issued their certificates",
        "join",
        "admissions",
        alter=trust.admit_anybody,
    ),
    "boots": Safeguard(
        "a process that was followed by a later one is not admitted any more",
        "replayer",
        "admissions",
        alter=trust.accept_old_processes,
    ),
    "kept-revocations": Safeguard(
        "revocations are on disk",
        "revoke",
        "shut-outs",
        alter=trust.forget_revocations,
    ),
    "trust-updates": Safeguard(
        "nodes tell each other at once what is new in their trust maps",
        "revoke",
        "shut-outs",
        alter=trust.without_trust_updates,
    ),
    "key-renewal": Safeguard(
        "a node changes its key for datagrams in time",
        "renewal",
        "key-changes",
        alter=trust.without_renewal,
    ),
    "next-keys": Safeguard(
        "a node publishes its next key for datagrams before it uses it",
        "renewal",
        "key-changes",
        alter=trust.renew_without_notice,
    ),
    "former-keys": Safeguard(
        "datagrams to the former key of a node open for a while",
        "renewal",
        "key-changes",
        alter=trust.retire_at_once,
    ),
    "map-exchange": Safeguard(
        "nodes compare their trust maps when they connect",
        "sleeper",
        "shut-outs",
        alter=trust.compare_no_maps,
    ),
}
"""All safeguards by name."""


def _named(names: tuple[str, ...]) -> list[Safeguard]:
    for name in names:
        if name not in SAFEGUARDS:
            raise ConfigError(f"ablation {name!r}: expected one of {', '.join(SAFEGUARDS)}")
    return [SAFEGUARDS[name] for name in names]


def ablation(schedule: Schedule) -> Ablation:
    """Return the ablation for the safeguards that the schedule names. Checkers use the schedule's own configuration.

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
