"""Which addresses a node dials, and which paths its calls take."""

from __future__ import annotations

import math
from collections import deque

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, SyncReply, SyncRequest
from meshp2p.core.directory.relay_selector import DIRECT_RETRY_MAX
from meshp2p.core.effects import Call, CallFailed, Watch
from meshp2p.core.events import Event, InstanceDied, InstanceEvent, InstanceJoined, InstanceLeft
from meshp2p.core.swim.candidates import OWN_ADDRESS_INTERVAL
from meshp2p.simulation.checkers.base import OBSERVERS_MAX, Checker
from meshp2p.simulation.host import Host
from meshp2p.virtual.faults import Moved

__all__ = ["Detours", "DialChecker", "Watching"]

OWN_DIALS_MAX, OWN_DIALS_SECONDS = 3, 0.7 * OWN_ADDRESS_INTERVAL
"""How often a process dials its own address within so many seconds: once, and once more where it was told of it anew.
The pause is shorter by a random quarter, and clocks may be fast."""


class DialChecker(Checker):
    """A candidate has no failures counted right after its address answered, so a node that is lost there is dialled
    again at once. A node that found itself at an address does not dial it for an hour."""

    name = "dials"

    def prepare(self) -> None:
        self._own: dict[str, deque[float]] = {}

    def started(self, host: Host) -> None:
        self._own[host.key] = deque(maxlen=OWN_DIALS_MAX)

    def calls(self, host: Host, effect: Call) -> None:
        is_own = type(effect.request) is SyncRequest and effect.addresses == (host.address,)
        if is_own and not self.oracle.has_had(Moved):
            dials, now = self._own[host.key], self.oracle.engine.now
            if len(dials) == OWN_DIALS_MAX and now - dials[0] < OWN_DIALS_SECONDS:
                self.violated(host, f"dials its own address for the {OWN_DIALS_MAX + 1}th time")
            dials.append(now)

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        is_dial = type(effect.request) is SyncRequest and not effect.node_id and len(effect.addresses) == 1
        if is_dial and type(reply) is SyncReply:
            engine = self.oracle.engine
            engine.at(engine.now, self._look, (host, host.life, effect.addresses[0]))

    def _look(self, argument: tuple[Host, int, Address]) -> None:
        host, life, address = argument
        if host.machine is None or host.life != life or host.is_stopped or host.machine.has_lost_id:
            return
        for candidate in host.machine.candidates():
            if candidate.address == address and candidate.failures and not candidate.is_dialling:
                failures = f"{candidate.failures} failures are counted of it"
                self.violated(host, f"was answered at {address}, and {failures}")


WATCHES_SECONDS, WATCHES_MAX = 20.0, 10
"""Pauses between the tries of a watch double from half a second, so seven of them fit into the time."""

WATCHED_AFTER = 30.0
"""Seconds after the last disturbance within which all watches are open: the longest pause before a try is 12.5 s, and
the nodes must have met before. Chosen, not measured."""


RELAYS_MAX = 2
"""So many of the nodes that a node watches are tried as relays."""

RELAY_FAILED_SECONDS = 10.0
"""For so long after a failed call a node is no relay."""


class Watching(Checker):
    """A watch connection that cannot be opened is retried at growing intervals. If all is well, the current process of
    each node is watched by the nodes before it in the ring."""

    name = "watching"
    watches: tuple[type, ...] = (InstanceJoined, InstanceDied, InstanceLeft)

    def prepare(self) -> None:
        self._opened: dict[tuple[str, int, str, int], deque[float]] = {}

    def event(self, host: Host, event: Event) -> None:
        """An instance that comes back is watched anew."""
        if isinstance(event, InstanceEvent):
            for key in [key for key in self._opened if (key[0], key[2]) == (host.key, event.record.id)]:
                del self._opened[key]

    def watching(self, host: Host, effect: Watch) -> None:
        now = self.oracle.engine.now
        opened = self._opened.setdefault((host.key, host.life, effect.node_id, effect.boot), deque())
        opened.append(now)
        while opened[0] < now - WATCHES_SECONDS:
            opened.popleft()
        if len(opened) > WATCHES_MAX:
            opened.clear()
            self.violated(host, f"opens a watch of {effect.node_id} more than {WATCHES_MAX} times in 20 s")

    def tick(self) -> None:
        oracle = self.oracle
        ring = sorted(oracle.live, key=lambda host: host.id)
        well_since = max(oracle.disturbed_at, oracle.keepalive_until)
        if oracle.engine.now - well_since < WATCHED_AFTER or not oracle.is_undisturbed():
            return
        if oracle.network.impairments or any(host.running.node_count() != len(ring) for host in ring):
            return
        for place, host in enumerate(ring[:OBSERVERS_MAX]):
            watchers = {line.watcher for line in oracle.network.watches.of(host) if line.is_open}
            for distance in range(1, 1 + min(oracle.config.watches, len(ring) - 1)):
                if (watcher := ring[place - distance]) not in watchers:
                    self.violated(watcher, f"does not watch {host.id} {WATCHED_AFTER:g} s after all was well")


class Detours(Checker):
    """A call goes through a relay only until the direct path was tried again and worked: for ``DIRECT_RETRY_MAX`` after
    the last obstacle, and then for the duration of the call that tries it. The first relay for a node is one of those
    that it watches, unless each of these failed a call just before, or joined while this call was under way."""

    name = "detours"
    watches: tuple[type, ...] = (InstanceJoined,)

    def prepare(self) -> None:
        self._tried_at: dict[tuple[str, int, str], float] = {}
        self._relayed: dict[tuple[str, int, str], None] = {}
        self._failed_at: dict[tuple[str, int, str], float] = {}
        self._joined_at: dict[tuple[str, int, str], float] = {}

    def event(self, host: Host, event: Event) -> None:
        if isinstance(event, InstanceEvent):
            self._joined_at[host.key, host.life, event.record.id] = self.oracle.engine.now

    def replied(self, host: Host, effect: Call, reply: CallReply | CallFailed) -> None:
        if isinstance(reply, CallFailed) and effect.node_id:
            self._failed_at[host.key, host.life, effect.node_id] = self.oracle.engine.now

    def _check_relay(self, host: Host, effect: Call) -> None:
        target, relay, now = effect.target, effect.node_id, self.oracle.engine.now
        key = (host.key, host.life, target)
        ring = sorted((each.id for each in host.listed.values() if each.is_node), key=str.encode)
        if key in self._relayed or target not in ring:
            return
        self._relayed[key] = None
        place = ring.index(target)
        successors = min(self.oracle.config.watches, RELAYS_MAX)
        watched = [ring[(place + distance) % len(ring)] for distance in range(1, 1 + successors)]

        def is_usable(watched_id: str) -> bool:
            way = (host.key, host.life, watched_id)
            has_failed = self._failed_at.get(way, -math.inf) >= now - RELAY_FAILED_SECONDS
            is_new = self._joined_at.get(way, -math.inf) >= now - effect.timeout
            return not (watched_id == host.id or has_failed or is_new)

        if relay not in watched and any(map(is_usable, watched)):
            self.violated(host, f"calls {target} through {relay} first, and it watches {' and '.join(watched)}")

    def calls(self, host: Host, effect: Call) -> None:
        if not effect.target:
            return
        self._check_relay(host, effect)
        oracle = self.oracle
        now = oracle.engine.now
        due = oracle.disturbed_at + DIRECT_RETRY_MAX
        if now < due or oracle.network.impairments or not oracle.is_undisturbed():
            return
        way = (host.key, host.life, effect.target)
        tried_at = self._tried_at.setdefault(way, now)
        if tried_at < due:
            self._tried_at[way] = now
        elif now - tried_at > oracle.config.call_timeout and any(other.id == effect.target for other in oracle.live):
            about = f"{effect.target} through {effect.node_id}, {now - due + DIRECT_RETRY_MAX:.0f} s"
            self.violated(host, f"calls {about} after the direct way was open again")
