"""Time bounds for the protocol, from its configuration and the current faults.

Each function returns seconds. A random event gets the time in which it is expected ``CERTAIN`` times. So in one of ``e
** CERTAIN`` cases it has not happened by then.
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
    "told_seconds",
    "turns_seconds",
]

CERTAIN = 12.0
"""One case in 163,000 counts as a failure of the protocol although it was bad luck. Chosen, not measured."""


def wanted_confirmations(config: ProtocolConfig, nodes: int) -> int:
    """Return how many confirmations shorten a suspicion among this many nodes; 0 if too few nodes could confirm it."""
    wanted = max(0, int(config.suspicion_multiplier) - 2)
    return wanted if nodes - 2 >= wanted else 0


def suspicion_seconds(
    config: ProtocolConfig, nodes: int, confirmations: int, *, is_doubted: bool = False, silent: int = 0
) -> float:
    """Return how long a suspicion with this many confirmations lasts. ``is_doubted``: another view considers the
    suspect dead. ``silent`` of the other nodes are suspected or dead too, so nobody waits for those of them that were
    chosen to confirm it.

    This implements the rule in docs/protocol.md (Lifeguard §IV-B) independently, and without patience, which makes a
    suspicion longer.
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
    """Return how long this many probes of one node take, if its local health begins at ``health``. Local health
    stretches the period, and each answered probe lowers it by one (Lifeguard §IV-A). ``is_recovering``: most probes are
    answered."""
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
    """Return the time until a node that is gone is declared dead by another, among ``nodes`` listed nodes, including
    both.

    ``bad`` of the others do not probe or are not heard, because they are gone or impaired too. ``health`` is the worst
    local health of the rest. ``is_patient``: the node was slow, or refuted an accusation within the last minute.
    ``is_ring``: clocks agree, so that each node is probed by another one in each period (ADR 0031).

    The time is that of the wait for the first probe, its period, the suspicion, and gossip.
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
    """Return the same for a node that hears no findings of others, for example if UDP is blocked: the time of its own
    probes over TCP, in one round and the next, and of a suspicion without confirmations."""
    wait = turns_seconds(config, 4 * max(1, nodes - 1), health, is_recovering=True)
    return wait + (health + 1) * config.probe_interval + suspicion_seconds(config, nodes, 0)


def cut_seconds(config: ProtocolConfig, nodes: int) -> float:
    """Return the time until each side of a cut lists only its own nodes, if this many nodes had one view and no faults
    before the cut, whatever the sizes of the sides: 8 s with the defaults (ADR 0056).

    A probe without an answer begins within a period and ends after another. Then follow the waves of the roll call,
    each a multiple of the earlier ones; its last checks; the suspicion; and five rounds of gossip.
    """
    waves = 1 + max(0, math.ceil(math.log(max(1, nodes / FIRST), 1 + GROWTH)))
    lasts = suspicion_seconds(config, nodes, wanted_confirmations(config, nodes))
    return 3 * config.probe_interval + waves * config.probe_timeout + lasts + 5 * config.gossip_interval


def contact_seconds(config: ProtocolConfig) -> float:
    """Return the time until a node without contact reports that. The last packet may have arrived just before the cut,
    or a leg later."""
    return (SILENT_PERIODS + 0.1) * config.probe_interval


def told_seconds(config: ProtocolConfig) -> float:
    """Return the time until gossip reached all nodes: the rounds of a dozen hops, although three are enough."""
    return 10 * config.gossip_interval


def crash_seconds(config: ProtocolConfig, leg: float) -> float:
    """Return the time until all nodes know that a process died whose machine is alive, if nothing else is wrong and a
    leg takes this long.

    Either two nodes lose their watch connections and are refused, or one does and asks others, which wait for an ack as
    long as a probe does. All of that takes a dozen legs. Then follow three rounds of gossip, each with its leg.
    """
    return CRASH_GRACE + config.probe_timeout + 3 * config.gossip_interval + 20 * leg


def call_seconds(config: ProtocolConfig, part: int, nodes: int, *, cut_for: float, is_one_way: bool = False) -> float:
    """Return the time until ``part`` of this many nodes and the rest, which do not list each other, have met.

    Nodes that consider each other dead are called: each node calls a dead one with a probability of dead / all in each
    interval. So the two sides together make ``2 x part x rest / nodes`` calls, or half as many if one side does not
    know the addresses of the other. Nodes that never met are dialled after a doubled pause of up to 1.25 times the
    longest, and a dial may have begun just before the cut ended. If no node was seen for ``DIAL_PATIENCE``, the pauses
    of seeds are longer.
    """
    calls = max(1e-9, part * (nodes - part) / nodes * (1 if is_one_way else 2))
    called = (1 + CERTAIN / calls) * config.dead_call_interval
    pause = config.dial_interval_max if cut_for < DIAL_PATIENCE else SEED_INTERVAL_LAST
    return max(called, 1.25 * pause + config.call_timeout)


def refutation_seconds(config: ProtocolConfig, health: int) -> float:
    """Return the time until a suspicion of a live node that can be reached again has ended, or led to a death that is
    refuted.

    The accuser checks the suspect again every ``RECHECK_PERIODS``, which tells it of the suspicion. A confirmed
    suspicion ends before that.
    """
    recheck = (RECHECK_PERIODS + health + 1) * config.probe_interval
    return max(recheck, config.suspicion_confirmed_multiplier * config.patience_max * config.probe_interval)


def mending_seconds(config: ProtocolConfig, health: int) -> float:
    """Return the time until the views of nodes that list each other are equal, and they name one leader.

    First comes gossip. Then each node exchanges its view hash with two others per period, and one of these finds the
    difference when the views have not changed for ``sync_grace``. A sync may fail once and be repeated. Its news is
    gossiped. A node that lost a third of its view waits for the settle window. Under a quorum the grants to an earlier
    leader expire before the new one asks.
    """
    compared = 2 * (health + 1) * config.probe_interval
    synced = config.sync_grace + compared + 2 * config.call_timeout
    granted = 2 * GRANT_MARGIN * lease_seconds(config) if config.quorum else 0.0
    return told_seconds(config) + synced + config.settle_timeout + granted


def false_death_seconds(config: ProtocolConfig, nodes: int) -> float:
    """Return the time until an accusation that was right when it was made can no longer lead to a death.

    The last ping of a check by a slow node is sent half a stretched period before the check ends, and its result may
    end a suspicion at once. Any other earlier suspicion is confirmed and ends in time, or the accused hears of it and
    refutes: from the accuser that checks it again, or from the last ping before the verdict.
    """
    confirmed = suspicion_seconds(config, nodes, wanted_confirmations(config, nodes)) * config.patience_max
    checked = (config.local_health_max + 1) / 2 * config.probe_interval
    return max(confirmed, checked) + told_seconds(config)
