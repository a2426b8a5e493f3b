"""The world of a simulated run: its hosts, network, ground truth and checkers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import Event, IdConflictLost
from meshp2p.core.swim.hosting import Profile
from meshp2p.errors import ConfigError
from meshp2p.simulation.agents import Agents
from meshp2p.simulation.checkers import CHECKERS, Checker, Violation
from meshp2p.simulation.digest import Digest
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.host import Host
from meshp2p.simulation.mail import FIRST_TICKET, SimulatedMail
from meshp2p.simulation.maps import SimulatedMaps
from meshp2p.simulation.multicast import Multicast
from meshp2p.simulation.network import Network
from meshp2p.simulation.oracle import Oracle
from meshp2p.simulation.schedule import NodePlan, Schedule
from meshp2p.simulation.watcher import Watcher
from meshp2p.virtual.faults import Corrupted, Fault, Forged
from meshp2p.virtual.trace import Trace, What

if TYPE_CHECKING:
    from meshp2p.simulation.secured_mesh import SecuredMesh  # it brings cryptography

__all__ = ["Ablate", "Ablation", "World"]

VIOLATIONS_MAX = 20
"""The maximum number of violations in a run. Chosen, not measured."""

PORT = 7700


def _together(hooks: Sequence[Callable[..., None]]) -> Callable[..., None]:
    """One function that calls all of these. It is called for each packet, so it must be fast."""
    if len(hooks) == 1:
        return hooks[0]

    def tell(*arguments: Any) -> None:
        for hook in hooks:
            hook(*arguments)

    return tell


class Ablation(msgspec.Struct, frozen=True):
    """The configuration that machines get instead of the schedule's, and a function that changes each new machine.
    Checkers use the schedule's configuration."""

    config: ProtocolConfig
    alter: Callable[[Host], None] | None = None


Ablate = Callable[[Schedule], Ablation]
"""Switches off the safeguards that a schedule names. Raises :class:`~meshp2p.errors.ConfigError` for an unknown one."""


class World(Watcher[Host]):
    """The hosts of one run and their environment. Nothing runs before :meth:`open_clients` was called and time
    advances.

    ``ablate`` switches off the safeguards that the schedule names. Raises :class:`~meshp2p.errors.ConfigError` if the
    schedule names a checker that does not exist, or safeguards without an ``ablate``.
    """

    def __init__(self, schedule: Schedule, *, trace: bool, ablate: Ablate | None = None) -> None:
        self.schedule = schedule
        self.engine: Engine = Engine()
        self.trace: Trace | None = Trace() if trace else None
        self.digest: Digest = Digest()
        self.violations: list[Violation] = []
        self.refusals: dict[str, int] = {}
        self.network: Network = Network(self.engine, schedule.link, random.Random(f"{schedule.seed}/network"))
        self.network.trace = self.trace
        self.fired: dict[str, int] = self.network.links.fired
        if schedule.through_wire or any(isinstance(fault, Corrupted | Forged) for fault in schedule.faults):
            from meshp2p.wire.codec import Codec  # noqa: PLC0415 - most runs need no bytes

            self.network.codec = Codec("simulation")
        self.oracle: Oracle = Oracle(self.engine, self.network, schedule.config)
        if schedule.ablations and ablate is None:
            raise ConfigError(
                f"ablation {schedule.ablations[0]!r}: safeguards are switched off by `python -m simulations` of a"
                " checkout alone: use its replay and shrink"
            )
        self._ablation = Ablation(schedule.config) if ablate is None else ablate(schedule)
        self._set_checkers()
        self._multicast: Multicast | None = None
        if schedule.multicast_interval:
            self._multicast = Multicast(self.engine, self.network, self.oracle.hosts, schedule.multicast_interval)
        self.secured: SecuredMesh | None = None
        if schedule.security is not None:
            from meshp2p.simulation.secured_mesh import SecuredMesh  # noqa: PLC0415 - it brings cryptography

            self.secured = SecuredMesh(
                schedule.nodes[0].id, schedule.security, self.oracle, self.admitted, schedule.seed
            )
        self._plans = {plan.id: plan for plan in schedule.nodes}
        self._addresses = 0
        for plan in schedule.nodes:
            self.add_host(plan.id, plan)
        self.agents: Agents
        self.maps: SimulatedMaps
        self.mail: SimulatedMail

    def open_clients(self) -> None:
        """Start agents and their messages, at their times. Call it once."""
        self.agents = Agents(self.schedule.agents, self.oracle, self.engine, self, self.schedule.seed)
        self.maps = SimulatedMaps(self.schedule.maps, self.oracle, self.schedule.seed)
        plans, reads_on = self.schedule.mail, self.schedule.reads_on
        self.mail = SimulatedMail(plans, reads_on, self.oracle, self.agents, self.schedule.seed, self)

    def _set_checkers(self) -> None:
        names = tuple(CHECKERS) if self.schedule.checks is None else self.schedule.checks
        unknown = [name for name in names if name not in CHECKERS]
        if unknown:
            raise ConfigError(f"checks: {unknown[0]!r}: expected one of {', '.join(CHECKERS)}")
        self.checkers: dict[str, Checker] = {}
        self._watching: dict[type, list[Checker]] = {}
        for name, kind in CHECKERS.items():
            if name not in names:
                continue
            checker = self.checkers[name] = kind(self.oracle, self.report)
            for event in kind.watches:
                self._watching.setdefault(event, []).append(checker)
        self._set_hooks()

    def _set_hooks(self) -> None:
        """Connect the reports of hosts and agents directly to the checkers that override the method."""
        for name in Watcher.__annotations__:
            setattr(self, name, self._hook(name))

    def _hook(self, name: str) -> Any:
        """Return one function that calls this method of all checkers that override it."""
        checkers = self.checkers.values()
        return _together(
            [getattr(each, name) for each in checkers if getattr(type(each), name) is not getattr(Checker, name)]
        )

    # Hosts

    def new_address(self) -> Address:
        self._addresses += 1
        high, low = divmod(self._addresses - 1, 250)
        return Address(f"10.{high // 250}.{high % 250}.{low + 1}", PORT)

    def add_host(self, key: str, plan: NodePlan) -> Host:
        """Add a machine with a process that is not started."""
        address = self.new_address()
        host = Host(
            key,
            Profile(plan.id, f"{key}.example", address.port),
            address,
            len(self.oracle.hosts),
            seed=self.schedule.seed,
            engine=self.engine,
            network=self.network,
            config=self._ablation.config,
            watcher=self,
            digest=self.digest,
            trace=self.trace,
            alter=self._ablation.alter,
        )
        host.clock.wall_skew = plan.wall_skew
        if not plan.has_disk:
            host.disk = None
        for _ in range(1, plan.addresses):
            host.add_address(self.new_address())
        self.oracle.hosts[key] = host
        return host

    def start_host(self, host: Host, cause: int = 0) -> None:
        """Start the host's process, tell it of its seeds, and let it look for others."""
        if self.secured is not None:
            self.secured.join(host)
        host.prepare()
        self.oracle.note_process(host)
        for checker in self.checkers.values():
            checker.started(host)
        host.start(cause)
        self.maps.open(host)
        seeds = [self.oracle.hosts[seed] for seed in self._plans[host.id].seeds]
        if host.life > 1 and not any(seed.machine is not None and seed is not host for seed in seeds):
            seeds += [other for other in self.oracle.live if other.id != host.id][:1]
        for seed in seeds:
            self.oracle.note_told(host, seed)
            host.offer("seed", seed.address)
        if self._multicast is not None:
            self._multicast.begin(host)

    def stop_host(self, host: Host, *, is_silent: bool, cause: int = 0) -> None:
        """End the host's process, as a crash does."""
        host.stop(is_silent=is_silent, cause=cause)
        if host.disk is not None:
            host.disk.crash()
        self.oracle.note_process(host)
        for checker in self.checkers.values():
            checker.stopped(host)

    # What hosts tell (see Watcher)

    def event(self, host: Host, event: Event) -> None:
        for checker in self._watching.get(type(event), ()):
            checker.event(host, event)
        if isinstance(event, IdConflictLost):
            self.engine.at(self.engine.now, self._close, (host, host.life))

    def _close(self, argument: tuple[Host, int]) -> None:
        host, life = argument
        if host.machine is not None and host.life == life:
            self.stop_host(host, is_silent=False)

    def shut_out(self, host: Host) -> None:
        self.engine.at(self.engine.now, self._close, (host, host.life))

    def resolved(self, host: Host, ticket: int, reply: CallReply) -> None:
        if ticket > FIRST_TICKET:
            self.mail.resolved(ticket, reply)
        else:
            self.agents.resolved(host, ticket, reply)

    def refused(self, host: Host, target: str, size: int, why: str) -> None:
        if why:
            self.refusals[why] = self.refusals.get(why, 0) + 1
        for checker in self.checkers.values():
            checker.refused(host, target, size, why)

    def failed(self, host: Host, what: str) -> None:
        self.report(Violation("machine", self.engine.now, host.key, what))

    def report(self, violation: Violation) -> None:
        """Record a violation."""
        self.violations.append(violation)
        if self.trace is not None:
            self.trace.add(self.engine.now, violation.node, What.VIOLATION, "", violation)
        if len(self.violations) >= VIOLATIONS_MAX:
            self.engine.stop()

    def note_fault(self, number: int, fault: Fault, *, begins: bool) -> int:
        """Tell the checkers that a fault begins or ends, then apply it. Return the trace number of the fault."""
        for checker in self.checkers.values():
            checker.fault_changes(fault, begins=begins)
        self.oracle.note_fault(number, fault, begins=begins)
        if self.trace is None:
            return 0
        return self.trace.add(self.engine.now, "", What.FAULT if begins else What.HEAL, "", fault)

    def fire(self, fault: Fault) -> None:
        """Count that a fault took effect."""
        self.network.links.count(type(fault).__name__)
