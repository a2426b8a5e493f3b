"""How long it may take until some nodes are one mesh, from what each of them lists now."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from meshp2p.core.directory.keeping import PAUSE_MAX
from meshp2p.core.record import State
from meshp2p.simulation.expectations import (
    call_seconds,
    detection_seconds,
    lonely_detection_seconds,
    mending_seconds,
    refutation_seconds,
    turns_seconds,
)
from meshp2p.simulation.host import Host
from meshp2p.simulation.oracle import Oracle
from meshp2p.virtual.faults import Crash, Kind, Moved

__all__ = ["mending_bound"]

SILENT_ROUNDS = 3
"""After so many rounds of probes without an answer a node that was stopped trusts its own view again."""


def mending_bound(oracle: Oracle, hosts: Sequence[Host]) -> float:
    """Within so many seconds these live nodes are one mesh, if nothing else happens and they reach one another.

    The longest of what they have to do at the same time: hold dead who is gone and let go or adopt its instances, meet
    whom they do not list, hear refutations, trust their own view after a pause, and find out which of two processes
    keeps an id; then compare their views. Each is asked of the views as they are: what need not be done takes no time.
    """
    config = oracle.config
    machines = [host.running for host in hosts]
    if not machines:
        return 0.0
    ids = {host.id: None for host in hosts}
    listed: dict[str, None] = {}
    has_suspects = has_homeless = False
    for machine in machines:
        for record in machine.records().values():
            if record.is_node:
                listed[record.id] = None
                has_suspects |= record.state is State.SUSPECT and record.id in ids
            else:
                has_homeless |= record.home not in ids
    gone = sum(name not in ids for name in listed)
    known = len(ids) + gone
    # a round that is under way may end without an answer, and relays that are gone send no nacks
    health_max = config.local_health_max
    is_troubled = oracle.fault_history.any_until() > oracle.engine.now - (health_max + 1) * config.probe_interval
    steps = (1 + gone if is_troubled else max(0, gone - 1)) * config.indirect_probes
    health = min(health_max, max(machine.local_health for machine in machines) + steps)
    usual = min(health, int(statistics.median(machine.local_health for machine in machines)))
    has_udp = _all_pass(oracle, hosts)
    waits = [0.0]
    if gone and not has_udp:
        waits.append(lonely_detection_seconds(config, known, health))
    elif gone:
        is_ring = not is_troubled and oracle.clocks_agree_since(oracle.engine.now - 2 * known * config.probe_interval)
        waits.append(detection_seconds(config, known, bad=gone - 1, health=health, is_ring=is_ring))
    if has_homeless:
        waits.append(waits[-1] + config.instance_timeout)
    if has_suspects:
        waits.append(refutation_seconds(config, health))
    parts = _parts(hosts)
    if len(parts) > 1:
        # whoever has another address than it had is not found there, and finds the others
        has_moved = any(_moves(fault) for fault in oracle.all_faults)
        every = len(oracle.hosts)
        smallest = min(len(part) for part in parts)
        waits.append(call_seconds(config, smallest, every, cut_for=oracle.engine.now, is_one_way=has_moved))
    if any(oracle.fault_history.node_until(host.id) >= oracle.engine.now - config.probe_interval for host in hosts):
        waits.append(min(SILENT_ROUNDS, 1 + gone) * (health + 1) * config.probe_interval)
    if oracle.fault_history.addresses_until() >= oracle.engine.now - 4 * known * config.probe_interval:
        # whoever lost the address of a machine that moved hears from it when it probes, in a round or the next
        waits.append(turns_seconds(config, 4 * (known - 1), usual, is_recovering=True))
    if oracle.disk_failed_at >= oracle.engine.now - PAUSE_MAX:
        # a leader claims its epoch once that is on disk, and a write that failed is made again after so long
        waits.append(PAUSE_MAX)
    if len(ids) < len(hosts):
        waits.append(2 * config.call_timeout)
    mended = mending_seconds(config, usual)
    if not has_udp:
        mended *= 2 + math.log2(known)  # what is new goes from node to node by syncs alone
    return max(waits) + mended


def _parts(hosts: Sequence[Host]) -> list[list[Host]]:
    """The nodes, by who lists whom, directly or through others."""
    parts: list[list[Host]] = []
    waiting = {host.key: host for host in hosts}
    while waiting:
        part = [waiting.pop(next(iter(waiting)))]
        for host in part:
            met = [other for other in waiting.values() if _lists(host, other) or _lists(other, host)]
            part += [waiting.pop(other.key) for other in met]
        parts.append(part)
    return parts


def _lists(host: Host, other: Host) -> bool:
    return other.id in host.listed


def _all_pass(oracle: Oracle, hosts: Sequence[Host]) -> bool:
    network = oracle.network
    if not network.rules:
        return True
    return all(network.passes(one.key, other.key, Kind.UDP) for one in hosts for other in hosts if one is not other)


def _moves(fault: object) -> bool:
    return isinstance(fault, Moved) or (isinstance(fault, Crash) and (fault.moves or bool(fault.takes)))
