"""Attackers of a simulated secured mesh, and the revocation of machines."""

from __future__ import annotations

import random
from typing import assert_never

import msgspec

from meshp2p.core.calls import Push
from meshp2p.core.datagrams import Datagram, Gossip
from meshp2p.core.effects import Call
from meshp2p.core.record import Item, Record, Rumour, SignedRecord, State, tag_of
from meshp2p.errors import InternalError
from meshp2p.simulation.host import Host
from meshp2p.simulation.world import World
from meshp2p.virtual.faults import Impostor, Liar, SecurityFault, ShutOut

__all__ = ["Attackers"]


class Attackers:
    """What attackers do in one simulation. ``draw`` is the randomness of all faults."""

    def __init__(self, world: World, draw: random.Random) -> None:
        self._world = world
        self._random = draw

    def begin(self, number: int, fault: SecurityFault) -> None:
        """Begin a fault; ``number`` tells when it has ended."""
        world = self._world
        if world.secured is None:
            raise InternalError("an attack on a mesh that is not secured")
        match fault:
            case ShutOut(node=node, by=by, keeps_talking=keeps_talking):
                if not {node, by} <= world.secured.machines.keys() or by in world.oracle.shut_out:
                    return
                for host in world.oracle.hosts.values():
                    if host.id == node and keeps_talking and host.security is not None:
                        host.keeps_talking = True
                        host.security.hide_revocations()
                for revoked in world.secured.revoke(node, by):
                    world.oracle.note_shut_out(revoked)
                    for checker in world.checkers.values():
                        checker.revoked(revoked, by)
                world.fire(fault)
            case Liar() | Impostor():
                self._repeat((number, fault))
            case _:
                assert_never(fault)

    def _repeat(self, argument: tuple[int, Liar | Impostor]) -> None:
        number, fault = argument
        world = self._world
        if number not in world.oracle.active:
            return
        world.engine.at(world.engine.now + self._random.expovariate(fault.rate), self._repeat, argument)
        if isinstance(fault, Liar):
            self._lie(fault)
        else:
            self._knock(fault)

    # A member that lies

    def _lie(self, fault: Liar) -> None:
        world, draw = self._world, self._random
        liar = world.oracle.hosts[fault.node]
        others = [host for host in world.oracle.live if host.id != liar.id]
        if liar.machine is None or liar.security is None or len(others) < 2:
            return
        victim, witness = draw.sample(others, 2)
        target = draw.choice(others)
        claim = self._forge(liar, victim, witness)
        if draw.random() < 0.5:
            call = Call(0, (target.address,), Push(0, (claim,)), 1.0)
            world.network.call(liar, call, 0)
        else:
            named = liar if draw.random() < 0.8 else witness
            sealed = liar.security.guard.seal(Datagram(Gossip(tag_of(named.id)), (claim,)), tag_of(target.id))
            if sealed is None:
                return
            if named is not liar:
                world.oracle.misnamed[sealed] = None
            world.network.inject(sealed, liar.address, target.address)
        world.fire(fault)

    def _forge(self, liar: Host, victim: Host, witness: Host) -> Item:
        """A claim about the victim that only somebody else may make, or a false one in the liar's own name."""
        from meshp2p.trust.signatures import ClaimSigner  # noqa: PLC0415 - it brings cryptography

        security = liar.security
        if security is None:
            raise InternalError(f"host {liar.key}: no process runs")
        signer = ClaimSigner(
            security.machine.key, security.credential.mesh_id, security.keys.public_keys, lambda _: True
        )
        record = victim.running.own
        incarnation = record.incarnation + self._random.choice((0, 0, 1, 5))
        match self._random.randrange(0, 8):
            case 0:
                return signer.sign_rumour(Rumour(victim.id, incarnation, State.LEFT, victim.id))
            case 1:
                return signer.sign_rumour(Rumour(victim.id, incarnation, State.DEAD, witness.id))
            case 2:
                return Rumour(victim.id, incarnation, State.LEFT, victim.id)
            case 3 if isinstance(record, SignedRecord):  # the signature is that of another record
                return msgspec.structs.replace(record, incarnation=incarnation + 1, addresses=(liar.address,))
            case 4 if isinstance(record, SignedRecord):  # a signature is not about the state
                return msgspec.structs.replace(record, state=State.SUSPECT)
            case 5:
                stolen = Record(*(getattr(record, name) for name in Record.__struct_fields__))
                stolen = msgspec.structs.replace(stolen, incarnation=incarnation + 1, addresses=(liar.address,))
                return signer.sign_record(stolen)
            case 6:  # no process has come that far, so each claim is a new one
                incarnation += self._random.randrange(1, 1000)
                return security.signer.sign_rumour(Rumour(victim.id, incarnation, State.SUSPECT, liar.id))
            case _:
                state = self._random.choice((State.SUSPECT, State.DEAD))
                return security.signer.sign_rumour(Rumour(victim.id, record.incarnation, state, liar.id))

    # A stranger

    def _knock(self, fault: Impostor) -> None:
        from meshp2p.simulation.secured.strangers import forged_identity, old_identity  # noqa: PLC0415 - the same

        world, draw = self._world, self._random
        targets = [host for host in world.oracle.live if not fault.nodes or host.id in fault.nodes]
        targets = [host for host in targets if not host.is_stopped and not host.is_dark]
        if not targets or world.secured is None:
            return
        machines = list(world.secured.machines.values())
        identity = old_identity(machines, draw) if draw.random() < 0.5 else None
        chain, leaf = identity or forged_identity(machines, draw)
        world.secured.links.try_stranger(draw.choice(targets), chain, leaf)
        world.fire(fault)
