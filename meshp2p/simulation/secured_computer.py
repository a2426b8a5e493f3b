"""A simulated computer in a secured mesh, or in an open one: what guards the process on it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from meshp2p.core.address import Address
from meshp2p.core.calls import CallReply, CallRequest, Push, SyncReply, SyncRequest
from meshp2p.core.datagrams import Datagram
from meshp2p.core.effects import CallFailed, Effect, Failure, Send
from meshp2p.core.record import Item, Record
from meshp2p.errors import RemoteProtocolError
from meshp2p.simulation.computer import Computer
from meshp2p.simulation.endpoint import CallInProgress
from meshp2p.simulation.engine import Engine
from meshp2p.simulation.network import Network
from meshp2p.simulation.watcher import Watcher

if TYPE_CHECKING:
    from meshp2p.simulation.secured.machines import MachineOnDisk, NodeSecurity  # they bring cryptography

__all__ = ["SecuredComputer"]


class SecuredComputer(Computer):
    """A computer whose process is guarded if it is in a secured mesh. ``watcher`` is told what the guard does."""

    def __init__(
        self, key: str, node_id: str, address: Address, *, seed: int, engine: Engine, network: Network, watcher: Any
    ) -> None:
        super().__init__(key, node_id, address, seed=seed, engine=engine, network=network)
        self.member: MachineOnDisk | None = None
        """The machine in a secured mesh, None in an open one."""
        self.security: NodeSecurity | None = None
        """The security of the process in a secured mesh."""
        self.key_seconds: float = 0.0
        """How long a process of a secured mesh uses a key for datagrams."""
        self.retired_seconds: float = 0.0
        """How long it opens datagrams to its former key."""
        self.renewed_at: float = -math.inf
        """The virtual time at which the process last changed its key."""
        self.keeps_talking: bool = False
        """Whether the process goes on if its machine was revoked."""
        self._watcher: Watcher[Any] = watcher

    def _begin_security(self, draw: random.Random) -> dict[str, Any]:
        """Begin the security of a new process. Return the arguments that its machine gets for that."""
        self.security = None if self.member is None else self.member.start_process(self.id, draw)
        return {} if self.security is None else {"signer": self.security.signer, "process": self.security.process}

    def _end_security(self) -> None:
        self.security = None

    # What arrives, and what is sent

    def seal(self, effect: Send) -> bytes | None:
        """Seal a datagram of a secured mesh. Return None if the keys of its receiver are not known."""
        return None if self.security is None else self.security.guard.seal(effect.datagram, effect.to)

    def _open(self, data: bytes, source: Address) -> Datagram | None:
        """Open a datagram of a secured mesh."""
        if self.security is None:
            return None
        try:
            datagram = self.security.guard.open_untrusted(data, self.now)
        except RemoteProtocolError as error:
            self._network.traffic.refused += 1
            self._watcher.barred(self, data, source, error.reason)
            return None
        self._watcher.opened(self, data, datagram)
        self._watcher.handed(self, datagram.items)
        return datagram

    def _admit(self, exchange: CallInProgress) -> CallRequest | CallFailed:
        """Return the request of a call without claims that nobody may make, or why it is refused."""
        caller, request = exchange.relay or exchange.caller, exchange.effect.request
        life = exchange.life if exchange.relay is None else caller.life
        if why := self._network.introduce(caller, life, self):
            return CallFailed(Failure.UNREACHABLE, why)
        if self.security is None:
            return request
        try:
            request = self.security.guard.check_request(request, self._network.machine_of(caller), self.now)
        except RemoteProtocolError as error:
            return CallFailed(Failure.UNREACHABLE, str(error))
        self._watcher.handed(self, _claims_in(request))
        return request

    def _check_reply(self, reply: CallReply | CallFailed, peer: str) -> CallReply | CallFailed:
        """Return the reply of the computer ``peer`` without claims that nobody may make, or why it is refused."""
        if self.security is None or isinstance(reply, CallFailed):
            return reply
        try:
            reply = self.security.guard.check_reply(reply, self._network.id_of(peer), self.now)
        except RemoteProtocolError as error:
            return CallFailed(Failure.UNREACHABLE, str(error))
        self._watcher.handed(self, _claims_in(reply))
        return reply

    # Trust

    def _note_stranger(self, record: Record) -> None:
        for address in record.addresses[:1]:
            self.offer("record", address, record.id)

    def expel(self) -> None:
        """Remove what was revoked from the lists of this node, or end it if it was revoked itself."""
        security = self.security
        if security is None:
            return
        if security.is_revoked and not self.keeps_talking:
            self._watcher.shut_out(self)
            return
        gone = [*security.agents.revoked(security.credential.trust), *security.guard.revoked_agents()]
        self._perform(self.running.expel(list(dict.fromkeys(gone)), self.now, security.guard.is_trusted_caller), 0)

    # The keys for datagrams

    def _await_renewal(self) -> None:
        if self.security is not None:
            self._do_after(self.key_seconds - self.retired_seconds, self._renew_keys)

    def _do_after(self, seconds: float, action: Callable[[], None]) -> None:
        self._engine.at(self._engine.now + seconds, partial(self._act, self.life), action)

    def _renew_keys(self) -> None:
        if self.security is not None:
            self.security.guard.renew_keys()
            self.renewed_at = self._engine.now
            self._perform(self.running.republish(self.now), 0)
            self._do_after(self.retired_seconds, self._retire_keys)

    def _retire_keys(self) -> None:
        if self.security is not None:
            self.security.guard.retire_keys()
            self._await_renewal()

    # What a host does

    def offer(self, source: str, address: Address, instance_id: str | None = None) -> None:
        raise NotImplementedError

    def _perform(self, effects: list[Effect], cause: int) -> None:
        raise NotImplementedError


def _claims_in(message: CallRequest | CallReply) -> tuple[Item, ...]:
    """The claims that the machine gets by this call."""
    match message:
        case SyncRequest(sender=Record() as sender):
            return (sender,)
        case Push(items=items):
            return items
        case SyncReply(sender=sender, items=items):
            return (sender, *items)
        case _:
            return ()
