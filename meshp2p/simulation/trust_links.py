"""Connections between the nodes of a simulated secured mesh, and what they tell each other about trust over them.

A connection opens with the first call or watch between two processes, and ends as connections of nodes do. A handshake
takes no time of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Final

from meshp2p.errors import RemoteProtocolError
from meshp2p.simulation.endpoint import Endpoint
from meshp2p.simulation.host import Host
from meshp2p.simulation.network import Network
from meshp2p.simulation.secured.machines import NodeSecurity
from meshp2p.trust.certificates import AgentRole
from meshp2p.trust.introduction import Introduction, IntroductionStep, TrustUpdate, introduce
from meshp2p.trust.statements import Statements

__all__ = ["SecuredLinks"]

UPDATE_SECONDS: Final = 10.0
ROUNDS: Final = 3
"""As in :mod:`meshp2p.net.mesh_trust`."""

_Process = tuple[str, int]
"""The key of a host, and the life of its process."""

_Steps = Generator[IntroductionStep, bytes | None, tuple[bytes, AgentRole]]


class _IntroducedSide:
    """One side of an introduction: the step that it waits to take, or ``why`` it refuses the other side, or whom it
    admits."""

    def __init__(self, security: NodeSecurity, leaf: bytes) -> None:
        self.why: str = ""
        self.admitted: tuple[bytes, AgentRole] | None = None
        self.step: IntroductionStep | None = None
        self._steps: _Steps = introduce(security.credential, leaf, security.agents)  # type: ignore[assignment]
        self.advance(None)

    def advance(self, received: bytes | None) -> None:
        try:
            self.step = self._steps.send(received)
        except StopIteration as end:
            self.step, self.admitted = None, end.value
        except RemoteProtocolError as error:
            self.step, self.why = None, str(error)

    def take_step(self, body: bytes | None) -> None:
        """Take the step with this message of the other side; None if it has closed the connection."""
        if self.step is not None and self.step.bytes_max == 0:
            self.advance(b"")
        elif self.step is not None and body is None:
            self.step, self.why = None, "it closed the connection"
        elif self.step is not None:
            self.advance(body)


class SecuredLinks:
    """All connections of one mesh. ``admitted`` is told which process a host has admitted."""

    def __init__(
        self,
        network: Network,
        hosts: Mapping[str, Host],
        admitted: Callable[[Host, bytes, str, int], None],
    ) -> None:
        self._network = network
        self._engine = network.engine
        self._hosts = hosts
        self._admitted = admitted
        self._agreed: dict[frozenset[_Process], dict[_Process, bytes]] = {}
        """The digest of the trust map on which both sides agreed last, as each knows it."""
        self._updating: set[tuple[_Process, _Process]] = set()

    # Opening and closing

    def connect(self, dialler: Endpoint, listener: Endpoint) -> str:
        """Connect two processes, unless they are connected. Return why one refuses the other, or an empty string."""
        one, other = self._hosts[dialler.key], self._hosts[listener.key]
        pair = frozenset((_process(one), _process(other)))
        if pair in self._agreed and self._network.connections.stands(one, other):
            self._network.connections.note(one, other)
            return ""
        self._agreed.pop(pair, None)
        if one.security is None or other.security is None or one.is_stopped or one.is_dark:
            return "it does not answer"
        sides = (
            _IntroducedSide(one.security, other.security.certificate.der),
            _IntroducedSide(other.security, one.security.certificate.der),
        )
        while any(side.step is not None for side in sides):
            bodies = [None if side.step is None else side.step.body for side in sides]
            for side, body in zip(sides, reversed(bodies), strict=True):
                side.take_step(body)
        for host, side in zip((one, other), sides, strict=True):
            self._note_side(host, side)
        if any(side.admitted is None for side in sides):
            return sides[0].why or sides[1].why
        self._agreed[pair] = {_process(host): _security(host).credential.trust.digest() for host in (one, other)}
        self._network.connections.note(one, other)
        return ""

    def machine_of(self, host: Endpoint) -> bytes:
        """Return the fingerprint of a host's machine; empty if its process has ended."""
        security = self._hosts[host.key].security
        return b"" if security is None else security.fingerprint

    def try_stranger(self, host: Host, chain: tuple[bytes, ...], leaf: bytes) -> None:
        """Let somebody without a host connect to this one, with these certificates and the digest of its trust map."""
        security = _security(host)
        side = _IntroducedSide(security, leaf)
        side.take_step(Introduction(chain, security.credential.trust.digest()).encode())
        self._note_side(host, side)

    def _note_side(self, host: Host, side: _IntroducedSide) -> None:
        if side.admitted is not None:
            machine, role = side.admitted
            self._admitted(host, machine, role.id, role.boot)
        host.handle_trust(host.life, self.look, host)

    def _close(self, one: Host, other: Host) -> None:
        self._agreed.pop(frozenset((_process(one), _process(other))), None)
        for line in list(self._network.connections.watches.values()):
            if line.watched is not None and {line.watcher.key, line.watched.key} == {one.key, other.key}:
                self._network.watches.cut(line)

    def _peers(self, host: Host) -> Iterator[Host]:
        """The hosts to which this one is connected."""
        own = _process(host)
        for pair in list(self._agreed):
            if own not in pair:
                continue
            (key, life), *_ = pair - {own}
            peer = self._hosts[key]
            if peer.life == life and peer.security is not None and self._network.connections.stands(host, peer):
                yield peer
            else:
                del self._agreed[pair]

    # Trust

    def look(self, host: Host) -> None:
        """Spread and enforce what is new in the trust map of a process."""
        security = host.security
        if security is None:
            return
        trust = security.credential.trust
        grown = security.take_news()
        for peer in self._peers(host):
            agreed = self._agreed[frozenset((_process(host), _process(peer)))][_process(host)]
            other = _security(peer)
            if trust.why_refused(other.fingerprint, other.node_id):
                self._send(host, peer, TrustUpdate(trust.digest(), trust.evidence_against(other.fingerprint)), 0)
                self._close(host, peer)
            elif agreed != trust.digest() and (_process(host), _process(peer)) not in self._updating:
                self._updating.add((_process(host), _process(peer)))
                news = grown[1] if grown is not None and grown[0] == agreed else Statements()
                self._send(host, peer, TrustUpdate(trust.digest(), news), ROUNDS)
                timeout = (host, _process(host), peer, _process(peer))
                self._engine.at(self._engine.now + UPDATE_SECONDS, self._give_up, timeout)
        if grown is not None:
            host.expel()

    def _send(self, host: Host, peer: Host, update: TrustUpdate, rounds: int) -> None:
        """Send an update, which may be followed by ``rounds`` - 1 more; 0: it is not answered."""
        delay = self._network.legs(host.key, peer.key, 1)
        if delay is not None:
            deliver = partial(peer.handle_trust, peer.life, self._answer, host, host.life, peer, update)
            self._engine.at(self._engine.now + delay, deliver, rounds)

    def _answer(self, host: Host, life: int, peer: Host, update: TrustUpdate, rounds: int) -> None:
        trust = _security(peer).credential.trust
        trust.merge_untrusted(update.statements)
        is_equal = trust.digest() == update.digest
        if is_equal:
            self._agree(peer, host, update.digest)
        delay = self._network.legs(peer.key, host.key, 1)
        if rounds and delay is not None:
            reply = TrustUpdate(trust.digest(), Statements() if is_equal else trust.statements())
            deliver = partial(host.handle_trust, life, self._take_reply, host, peer, reply)
            self._engine.at(self._engine.now + delay, deliver, rounds)
        self.look(peer)

    def _take_reply(self, host: Host, peer: Host, reply: TrustUpdate, rounds: int) -> None:
        trust = _security(host).credential.trust
        trust.merge_untrusted(reply.statements)
        if reply.digest != trust.digest() and rounds > 1:
            self._send(host, peer, TrustUpdate(trust.digest(), trust.statements()), rounds - 1)
        else:
            self._agree(host, peer, trust.digest())
        self.look(host)

    def _agree(self, host: Host, peer: Host, digest: bytes) -> None:
        agreed = self._agreed.get(frozenset((_process(host), _process(peer))))
        self._updating.discard((_process(host), _process(peer)))
        if agreed is not None:
            agreed[_process(host)] = digest

    def _give_up(self, update: tuple[Host, _Process, Host, _Process]) -> None:
        """Close the connection if an update was not answered in time."""
        host, process, peer, other = update
        if (process, other) in self._updating:
            self._updating.discard((process, other))
            if (process, other) == (_process(host), _process(peer)):
                self._close(host, peer)


def _process(host: Host) -> _Process:
    return (host.key, host.life)


def _security(host: Host) -> NodeSecurity:
    security = host.security
    if security is None:
        raise AssertionError
    return security
