"""Keeps the trust map of a node equal to those of its peers and to its disk, and enforces it.

Two nodes compare their trust maps when they connect (:mod:`meshp2p.net.tls`). Whenever the map of a node grows after
that, it sends the new statements on all its connections. So connected nodes have equal maps, and a statement reaches
all nodes over the connections that they hold. After each growth a node closes the connections of revoked agents.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Final, Protocol

import trio

from meshp2p.errors import RemoteProtocolError, Revoked, StoreError
from meshp2p.net.open_calls import CallBroken
from meshp2p.net.peer_connection import PeerConnection
from meshp2p.net.secure_stream import VerifiedStream
from meshp2p.trust.certificates import AgentRole
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.introduction import IntroductionStep, TrustUpdate, introduce
from meshp2p.trust.known_agents import KnownAgents
from meshp2p.trust.statements import Statements
from meshp2p.wire.exchange import PART_BYTES_MAX
from meshp2p.wire.peer_frames import CallKind

__all__ = ["MeshTrust", "TrustStore", "revoked_error"]

UPDATE_SECONDS: Final = 10.0
"""How long a peer may take to answer an update. Then the connection is closed: the next one compares the maps."""

DISMISS_SECONDS: Final = 0.5
"""How long a peer that was revoked may take to read that it is. Its calls are refused meanwhile. Chosen, not
measured."""

KEEP_SECONDS: Final = 2.0
"""How often new agents are written down, together. Chosen, not measured."""

ROUNDS: Final = 3
"""How often two maps are exchanged until they are equal. Chosen, not measured."""

_Expel = Callable[[list[tuple[bytes, str]]], None]

_log = logging.getLogger("meshp2p.net")


class TrustStore(Protocol):
    """A trust map on disk, which several processes use. All of it raises :class:`~meshp2p.errors.StoreError`."""

    def refresh(self) -> None:
        """Add what other processes wrote to the map in memory."""

    async def keep(self) -> None:
        """Write the map in memory."""

    async def keep_agents(self, boots: dict[tuple[bytes, str], int], /) -> None:
        """Write down the boots of these agents, each a machine and an id."""


class MeshTrust:
    """The trust map of the node ``instance_id``. ``boots`` are those of agents that were met in earlier lives."""

    def __init__(
        self, credential: MachineCredential, instance_id: str, boots: Mapping[tuple[bytes, str], int], store: TrustStore
    ) -> None:
        self.credential: MachineCredential = credential
        self.store: TrustStore = store
        self._own_machine = credential.key.fingerprint
        self._own_id = instance_id
        self._failure = ""
        self._updating: set[PeerConnection] = set()
        self.agents: KnownAgents = KnownAgents(boots)
        self._spread = credential.trust.statements()
        self._spread_digest = credential.trust.digest()
        self._must_look = trio.Event()
        self._is_revoked = trio.Event()

    # What others say

    def refresh(self) -> None:
        """Take in what other processes of this user wrote. A failure is logged once, as this is called again soon."""
        failure = ""
        try:
            self.store.refresh()
        except StoreError as error:
            failure = str(error)
            if failure != self._failure:
                _log.error("what other processes wrote is not used: %s", failure)
        self._failure = failure

    async def merge(self, statements: Statements) -> None:
        """Add what is valid, keep it, and have it spread."""
        before = self.credential.trust.digest()
        self.credential.trust.merge_untrusted(statements)
        await self.note_growth(before)

    async def note_growth(self, before: bytes) -> None:
        """Let the statements that are new since the map had this digest be kept and spread."""
        if self.credential.trust.digest() != before:
            self._must_look.set()
            with _logging("changes of the trust map are lost when this process ends"):
                await self.store.keep()

    def introduce(self, leaf: bytes) -> Generator[IntroductionStep, bytes, tuple[bytes, AgentRole]]:
        """See :func:`~meshp2p.trust.introduction.introduce`."""
        return introduce(self.credential, leaf, self.agents)

    async def answer(self, connection: PeerConnection, body: bytes) -> bytes:
        """Take in a :class:`TrustUpdate`, and return one: with this node's map if the maps differ after that. Raises
        :class:`RemoteProtocolError`."""
        trust = self.credential.trust
        update = TrustUpdate.decode_untrusted(body)
        await self.merge(update.statements)
        if trust.digest() == update.digest:
            if connection.verified is not None:
                connection.verified.trust_digest = update.digest
            return TrustUpdate(trust.digest()).encode()
        reply = TrustUpdate(trust.digest(), trust.statements()).encode()
        return reply if len(reply) <= PART_BYTES_MAX else TrustUpdate(trust.digest()).encode()

    # Revocation

    def why_refused(self, stream: VerifiedStream) -> str:
        """Return why the other side of a connection is not trusted any more; empty if it is."""
        return self.credential.trust.why_refused(stream.machine, stream.instance_id)

    async def wait_revoked(self) -> Revoked:
        """Return when this node itself is revoked, with the error that ends it."""
        await self._is_revoked.wait()
        return revoked_error(self.credential, self._own_id) or Revoked("it was revoked")

    # Spreading

    async def run(
        self, connections: Iterable[PeerConnection], expel: _Expel, release: Callable[[PeerConnection], None]
    ) -> None:
        """Spread new statements and enforce them, until cancelled. ``expel`` is told which agents are revoked, and
        ``release`` ends the calls that are passed on for them.

        Call :meth:`look` about once a second meanwhile.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_agents)
            while True:
                await self._must_look.wait()
                self._must_look = trio.Event()
                for connection in self._enforce(connections, expel, nursery):
                    release(connection)

    def look(self, connections: Iterable[PeerConnection]) -> None:
        """Take in what other processes of this user wrote, and have :meth:`run` act if anything is to be done."""
        self.refresh()
        digest = self.credential.trust.digest()
        if digest != self._spread_digest or any(
            one.verified is not None and one.verified.trust_digest != digest for one in connections
        ):
            self._must_look.set()

    def _enforce(
        self, connections: Iterable[PeerConnection], expel: _Expel, nursery: trio.Nursery
    ) -> list[PeerConnection]:
        """Return the connections of those that turned out to be revoked."""
        barred: list[PeerConnection] = []
        trust = self.credential.trust
        digest, before, news = trust.digest(), self._spread_digest, Statements()
        if digest != before:
            statements = trust.statements()
            news = statements.without(self._spread)
            self._spread, self._spread_digest = statements, digest
        for connection in connections:
            stream = connection.verified
            if stream is None or connection.why_barred:
                continue
            if why := self.why_refused(stream):
                connection.why_barred = why
                barred.append(connection)
                nursery.start_soon(self._dismiss, connection, stream)
            elif stream.trust_digest != digest and connection not in self._updating:
                self._updating.add(connection)
                is_equal_else = stream.trust_digest == before
                nursery.start_soon(self._update, connection, stream, news if is_equal_else else Statements())
        if digest != before:
            expel(self.agents.revoked(trust))
            if not trust.is_trusted(self._own_machine, agent=self._own_id):
                self._is_revoked.set()
        return barred

    async def _keep_agents(self) -> None:
        while True:
            await trio.sleep(KEEP_SECONDS)
            boots, self.agents.new = self.agents.new, {}
            if boots:
                with _logging("which agents were met is forgotten when this process ends"):
                    await self.store.keep_agents(boots)

    async def _update(self, connection: PeerConnection, stream: VerifiedStream, news: Statements) -> None:
        """Make the maps of both sides equal, as far as they have room. If the other side does not answer, close the
        connection: the next one begins with a comparison."""
        trust = self.credential.trust
        try:
            with trio.move_on_after(UPDATE_SECONDS) as waiting:
                await connection.has_hello.wait()
                for _ in range(ROUNDS):  # others may add to the maps meanwhile; maps that are full may never be equal
                    reply = await self._ask(connection, TrustUpdate(trust.digest(), news))
                    await self.merge(reply.statements)
                    if reply.digest == trust.digest():
                        break
                    news = trust.statements()
                stream.trust_digest = trust.digest()
            if waiting.cancelled_caught:
                connection.close(f"no answer to an update of the trust map in {UPDATE_SECONDS:g} s")
        except (CallBroken, RemoteProtocolError) as error:
            connection.close(f"it takes no update of the trust map: {error}")
        finally:
            self._updating.discard(connection)

    async def _dismiss(self, connection: PeerConnection, stream: VerifiedStream) -> None:
        """Tell the other side that it is revoked, and close the connection."""
        evidence = self.credential.trust.evidence_against(stream.machine)
        with trio.move_on_after(DISMISS_SECONDS), contextlib.suppress(CallBroken, RemoteProtocolError):
            await connection.has_hello.wait()
            await self._ask(connection, TrustUpdate(self.credential.trust.digest(), evidence))
        connection.close(connection.why_barred)

    async def _ask(self, connection: PeerConnection, update: TrustUpdate) -> TrustUpdate:
        body = update.encode()
        if connection.is_closed or not connection.protocol.may_open or len(body) > PART_BYTES_MAX:
            raise CallBroken("the connection is being closed, or the map is too long for it")
        asked = connection.open_call(CallKind.TRUST, body, seconds=UPDATE_SECONDS)
        try:
            return TrustUpdate.decode_untrusted(await asked.receive() or b"")
        finally:
            asked.close()


@contextlib.contextmanager
def _logging(consequence: str) -> Iterator[None]:
    """Log a failure of the disk."""
    try:
        yield
    except StoreError as error:
        _log.error("%s: %s", consequence, error)


def revoked_error(credential: MachineCredential, instance_id: str) -> Revoked | None:
    """Return the error that ends this agent on the machine of the credential; None if it is not revoked."""
    why = credential.trust.why_revoked(credential.key.fingerprint, agent=instance_id)
    if not why:
        return None
    remedy = "use another id" if credential.is_trusted else "ask for an invitation and run: meshp2p join"
    return Revoked(f"this node is shut out of mesh {credential.name!r}: {why}. To come back, {remedy}")
