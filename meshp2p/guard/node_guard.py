"""Guards the machine of one node: it gets only datagrams that were opened and claims that were verified."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from meshp2p.core.calls import CallReply, CallRequest
from meshp2p.core.datagrams import Datagram
from meshp2p.core.record import Record, SignedRecord, id_owner
from meshp2p.errors import Refusal
from meshp2p.guard.claim_guard import ClaimGuard
from meshp2p.guard.datagram_guard import DatagramGuard
from meshp2p.guard.guarded_machine import GuardedMachine
from meshp2p.trust.datagram_keys import DatagramKeys
from meshp2p.trust.known_agents import KnownAgents
from meshp2p.trust.trust_map import TrustMap
from meshp2p.wire.codec import Codec

__all__ = ["NodeGuard"]


class NodeGuard:
    """The guard of one node. ``agents`` gets the records of nodes, ``note_stranger`` those of nodes whose machines are
    not in the trust map, and ``count_refused`` the reason for which a claim was left out."""

    def __init__(
        self,
        trust: TrustMap,
        agents: KnownAgents,
        keys: DatagramKeys,
        codec: Codec,
        known: GuardedMachine,
        note_stranger: Callable[[Record], None],
        count_refused: Callable[[Refusal], None],
    ) -> None:
        self._trust = trust
        self._known = known
        self._claims = ClaimGuard(trust, agents, known, note_stranger, count_refused)
        self._datagrams = DatagramGuard(trust, keys, codec, known)
        self.seal: Callable[[Datagram, int], bytes | None] = self._datagrams.seal
        """See :meth:`~meshp2p.guard.datagram_guard.DatagramGuard.seal`."""
        self.renew_keys: Callable[[], None] = self._datagrams.renew_keys
        """See :meth:`~meshp2p.guard.datagram_guard.DatagramGuard.renew_keys`."""
        self.retire_keys: Callable[[], None] = self._datagrams.retire_keys
        """See :meth:`~meshp2p.guard.datagram_guard.DatagramGuard.retire_keys`."""

    def open_untrusted(self, data: bytes, now: float) -> Datagram:
        """Decrypt and decode a datagram, and leave out the claims that nobody may make. Raises
        :class:`RemoteProtocolError`, and nothing else."""
        datagram, owner = self._datagrams.open_untrusted(data)
        if not datagram.items:
            return datagram
        return msgspec.structs.replace(datagram, items=self._claims.check_items(datagram.items, owner, now))

    @property
    def is_crowded(self) -> bool:
        """See :attr:`~meshp2p.guard.datagram_guard.DatagramGuard.is_crowded`."""
        return self._datagrams.is_crowded

    def check_request(self, request: CallRequest, sender: bytes, now: float) -> CallRequest:
        """See :meth:`~meshp2p.guard.claim_guard.ClaimGuard.check_request`."""
        return self._claims.check_request(request, sender, now)

    def check_reply(self, reply: CallReply, replier: str, now: float) -> CallReply:
        """See :meth:`~meshp2p.guard.claim_guard.ClaimGuard.check_reply`."""
        return self._claims.check_reply(reply, replier, now)

    def is_usurper(self, instance_id: str, machine: bytes) -> bool:
        """Whether an id is that of a node of another machine than this one."""
        return id_owner(self._known.claim_of(instance_id)) not in (b"", machine)

    def revoked_agents(self) -> list[tuple[bytes, str]]:
        """Return the machines and ids of the listed nodes whose machines are not trusted any more."""
        nodes = [one for one in self._known.records().values() if isinstance(one, SignedRecord) and one.is_node]
        agents = [(node.proof.owner, node.id) for node in nodes]
        return [one for one in agents if not self._trust.is_trusted(one[0], agent=one[1])]

    def is_trusted_caller(self, owner: str) -> bool:
        """Whether the machine of a caller of the HTTP API is trusted: see :class:`~meshp2p.trust.grants.Grant`."""
        return self._trust.is_trusted(bytes.fromhex(owner.partition("/")[0]))
