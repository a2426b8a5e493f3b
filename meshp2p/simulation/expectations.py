"""How long the protocol may take for what, from its configuration and from what is wrong.

Each function gives seconds. What happens by chance is given the time in which it is expected ``CERTAIN`` times: then it
has not happened once in ``e ** CERTAIN`` cases.
"""

from __future__ import annotations

import math

from meshp2p.core.config import ProtocolConfig
from meshp2p.core.swim.candidates import DIAL_PATIENCE, SEED_INTERVAL_LAST
from meshp2p.core.swim.confirmer import CRASH_GRACE, RECHECK_PERIODS
from meshp2p.core.swim.contact import SILENT_PERIODS
from meshp2p.core.swim.lease import GRANT_MARGIN, lease_seconds
from meshp2p.core.swim.roll_call import FIRST, GROWTH

__all__ = [
    "call_seconds",
    "contact_seconds",
    "crash_seconds",
    "cut_seconds",
    "detection_seconds",
    "false_death_seconds",
    "lonely_detection_seconds",
    "mending_seconds",
    "refutation_seconds",
    "suspicion_seconds",
    "turns_seconds",
]

CERTAIN = 12.0
"""One case in 163,000 is blamed on the protocol though it only had bad luck. Chosen, not measured."""


def wanted_confirmations(config: ProtocolConfig, nodes: int) -> int:
    """How many confirmations make a suspicion short among so many nodes; 0 where too few could confirm."""
    wanted = max(0, int(config.suspicion_multiplier) - 2)
    return wanted if nodes - 2 >= wanted else 0


def suspicion_seconds(
    config: ProtocolConfig, nodes: int, confirmations: int, *, is_doubted: bool = False, silent: int = 0
) -> float:
    """How long a suspicion lasts that so many others confirmed. ``is_doubted``: another view holds the suspect dead.
    ``silent`` of the other nodes are suspected too, or dead: nobody waits for those that were drawn to confirm it.

    By the rule in docs/protocol.md (Lifeguard §IV-B), written anew, and without patience, which makes it longer.
    """
    base = config.suspicion_timeout(nodes)
    wanted = wanted_confirmations(config, nodes)
    least = base
    if wanted and config.confirmers:
        least = min(base, config.suspicion_confirmed_multiplier * config.probe_interval)
    longest = max(base, least) * config.suspicion_max_multiplier
    if config.confirmers:
        wanted = min(wanted, max(0, min(config.confirmers, nodes - 2) - silent))
    seconds = least
    if wanted:
        share = math.log(min(confirmations, wanted) + 1) / math.log(wanted + 1)
        seconds = max(least, longest - (longest - least) * share)
    if is_doubted:
        # one failed check is enough then: its period, and the suspicion
        seconds = min(seconds, base, (1 + config.suspicion_confirmed_multiplier) * config.probe_interval)
    return seconds


def turns_seconds(config: ProtocolConfig, turns: int, health: int, *, is_recovering: bool) -> float:
    """How long so many probes of one node take, whose local health is ``health`` at first: a period is stretched by
    it, and each answered probe takes one off (Lifeguard §IV-A). ``is_recovering``: most of its probes are answered."""
    stretched = (max(0, health - turn) if is_recovering else health for turn in range(turns))
    return config.probe_interval * (turns + sum(stretched))


def detection_seconds(
    config: ProtocolConfig,
    nodes: int,
    *,
    bad: int = 0,
    health: int = 0,
    is_patient: bool = True,
    is_ring: bool = False,
) -> float:
    """Until a node that is gone is dead for another, among ``nodes`` that are listed, both included.

    ``bad`` of the others do not probe, or are not heard of: they are gone, or impaired, too. ``health`` is the worst
    local health of the rest. ``is_patient``: the node was slow, or was accused within the last minute and lived.
    ``is_ring``: clocks agree, so that each node is probed by another one in each period (ADR 0031).

    The wait for the first probe, its period, the suspicion, and the time in which gossip tells of the death.
    """
    probers = max(1, nodes - 1)
    good = max(1, probers - bad)
    # random turns, as where clocks disagree; a round has each other node once, so two rounds of 2n are the most
    turns = min(math.ceil(CERTAIN * probers / good), 4 * probers)
    if is_ring and not health:
        # 2 where all is well; a bad one may be next in the ring, and each change of the mesh begins another ring
        turns = min(turns, 2 + 2 * bad)
    is_recovering = good > bad
    wait = turns_seconds(config, turns, health, is_recovering=is_recovering)
    period = (health + 1) * config.probe_interval
    wanted = wanted_confirmations(config, nodes)
    lasts = suspicion_seconds(config, nodes, min(wanted, good - 1))
    if is_patient:
        least = suspicion_seconds(config, nodes, wanted)
        lasts = max(lasts, least * config.patience_max)
    if wanted and good > 1:
        # confirmers check for a period; where too many of them are bad, further probes confirm
        checks = 1 if bad <= config.confirmers - wanted else 2 + bad + wanted
        lasts = max(lasts, checks * period)
    return wait + period + lasts + told_seconds(config)


def lonely_detection_seconds(config: ProtocolConfig, nodes: int, health: int) -> float:
    """The same for a node that hears of nobody's finding, as where UDP is dead: its own probes, over TCP, in a round
    and the next, and a suspicion that nobody confirms."""
    wait = turns_seconds(config, 4 * max(1, nodes - 1), health, is_recovering=True)
    return wait + (health + 1) * config.probe_interval + suspicion_seconds(config, nodes, 0)


def cut_seconds(config: ProtocolConfig, nodes: int) -> float:
    """Until each side of a cut lists itself alone, among so many nodes that were whole and well before, whatever its
    size: 8 s with the defaults (ADR 0056).

    A probe that meets silence is begun within a period and over after another; the waves of the roll call, each so many
    times as large as those before; its last checks; the suspicion; five rounds of gossip.
    """
    waves = 1 + max(0, math.ceil(math.log(max(1, nodes / FIRST), 1 + GROWTH)))
    lasts = suspicion_seconds(config, nodes, wanted_confirmations(config, nodes))
    return 3 * config.probe_interval + waves * config.probe_timeout + lasts + 5 * config.gossip_interval


def contact_seconds(config: ProtocolConfig) -> float:
    """Until a node that hears nobody says so: what it heard last may have come just before the cut, or a leg later."""
    return (SILENT_PERIODS + 0.1) * config.probe_interval


def told_seconds(config: ProtocolConfig) -> float:
    """Until gossip told all: the rounds of a dozen hops, where three would do."""
    return 10 * config.gossip_interval


def crash_seconds(config: ProtocolConfig, leg: float) -> float:
    """Until all know that a process died whose machine lives, where nothing else is wrong and a leg takes so long.

    Two were told by their connections and are refused, or one was and asks others, who wait for an ack as long as a
    probe does; all of that takes a dozen legs; then three rounds of gossip, each with its leg.
    """
    return CRASH_GRACE + config.probe_timeout + 3 * config.gossip_interval + 20 * leg


def call_seconds(config: ProtocolConfig, part: int, nodes: int, *, cut_for: float, is_one_way: bool = False) -> float:
    """Until ``part`` of so many nodes and the rest, who do not list each other, have met.

    Those who hold each other dead are called: each node calls a dead one with a probability of dead / all in each
    interval, so the ``part`` nodes and the others together make ``2 x part x rest / nodes`` calls; half as many where
    the one side does not know where the other is. Those who never met are dialled after a pause that has doubled, up to
    1.25 times the longest, and a dial may have begun just before the cut ended. Where nobody was seen for
    ``DIAL_PATIENCE`` the pauses of seeds are longer.
    """
    calls = max(1e-9, part * (nodes - part) / nodes * (1 if is_one_way else 2))
    called = (1 + CERTAIN / calls) * config.dead_call_interval
    pause = config.dial_interval_max if cut_for < DIAL_PATIENCE else SEED_INTERVAL_LAST
    return max(called, 1.25 * pause + config.call_timeout)


def refutation_seconds(config: ProtocolConfig, health: int) -> float:
    """Until a suspicion of a node that lives and is reached again came to nothing, or to a death that is refuted.

    Whoever accused it checks it again every ``RECHECK_PERIODS``, by which it hears; a suspicion that is confirmed ends
    before that.
    """
    recheck = (RECHECK_PERIODS + health + 1) * config.probe_interval
    return max(recheck, config.suspicion_confirmed_multiplier * config.patience_max * config.probe_interval)


def mending_seconds(config: ProtocolConfig, health: int) -> float:
    """Until the views of nodes that list each other are one, and they name one leader.

    Gossip; then each node exchanges its view with two others in a period, one of which finds the difference when views
    have stood still for ``sync_grace``; a sync may fail once and be made again; what it brought is gossiped; and a node
    that lost a third of its view looks around for the settle window. Under a quorum the grants to an earlier leader
    expire, then the new one asks.
    """
    compared = 2 * (health + 1) * config.probe_interval
    synced = config.sync_grace + compared + 2 * config.call_timeout
    granted = 2 * GRANT_MARGIN * lease_seconds(config) if config.quorum else 0.0
    return told_seconds(config) + synced + config.settle_timeout + granted


def false_death_seconds(config: ProtocolConfig, nodes: int) -> float:
    """Until an accusation that was right when it was made can no longer kill.

    A check by a node that finds itself slow has its last ping half a stretched period before it ends; what it then
    confirms may end a suspicion at once. Any other suspicion of before is a confirmed one and ends in time, or is told
    to the accused, which refutes: by the accuser that checks it again, or as the last word before the verdict.
    """
    confirmed = suspicion_seconds(config, nodes, wanted_confirmations(config, nodes)) * config.patience_max
    checked = (config.local_health_max + 1) / 2 * config.probe_interval
    return max(confirmed, checked) + told_seconds(config)
