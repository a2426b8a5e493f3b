"""TLS 1.3 on the port of a node of a secured mesh: between nodes, and for callers of the HTTP API.

Of two nodes, both show a certificate that leads to the root of the mesh. Then each says who is above it, both trust
maps become one if they differ, and what is known then decides. A revoked node has shown a valid certificate, and is
refused there: it is sent the revocation instead of the map. A caller need not show a certificate. The ALPN protocol
tells nodes and callers apart.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from typing import Any, Final

import trio

from meshp2p.core.machine import Machine
from meshp2p.core.record import Record
from meshp2p.errors import InternalError, LocalProtocolError, Refusal, RemoteProtocolError
from meshp2p.guard.node_guard import NodeGuard
from meshp2p.net.mesh_trust import DISMISS_SECONDS, MeshTrust
from meshp2p.net.secure_stream import CallerStream, VerifiedStream
from meshp2p.net.tls_stream import TlsStream
from meshp2p.trust.callers import Callers
from meshp2p.trust.certificates import AgentRole, Certificate
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.datagram_keys import DatagramKeys
from meshp2p.trust.introduction import IntroductionStep
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.machines import CHAIN_MAX
from meshp2p.trust.signatures import ClaimSigner
from meshp2p.trust.statements import Statements
from meshp2p.wire.codec import Codec

__all__ = ["HANDSHAKE_SECONDS", "NodeTls", "make_caller_context"]

HANDSHAKE_SECONDS: Final = 10.0
"""How long the other side may take until it is identified. Chosen, not measured."""

_MESH: Final = "meshp2p/2"
_HTTP: Final = "http/1.1"
_DER: Final = 2  # of Certificate.public_bytes() in CPython
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

_log = logging.getLogger("meshp2p.net")


class NodeTls:
    """One node: ``certificate`` is its own, for ``key``. It is a :class:`~meshp2p.net.security.Security`."""

    def __init__(self, trust: MeshTrust, key: PrivateKey, certificate: Certificate) -> None:
        self.trust: MeshTrust = trust
        credential = trust.credential
        self._key = key
        self._certificate = certificate
        self._names: tuple[str, ...] = ()
        self._callers = Callers(credential, trust.refresh)
        self._datagram_keys = DatagramKeys()
        self.signer: ClaimSigner = ClaimSigner(
            credential.key, credential.mesh_id, self._datagram_keys.public_keys, credential.machine.may_use
        )
        root = credential.root.to_pem().decode()
        self._accepting = _make_context(ssl.PROTOCOL_TLS_SERVER, root)
        self._dialling = _make_context(ssl.PROTOCOL_TLS_CLIENT, root)
        self._show_certificate()

    @property
    def mesh(self) -> str:
        return self.trust.credential.announced_name

    @property
    def process(self) -> int:
        """See :class:`~meshp2p.net.security.Security`."""
        role = self._certificate.role
        if not isinstance(role, AgentRole):
            raise InternalError(f"{self._certificate!r}: expected the certificate of an agent")
        return role.boot

    @property
    def callers(self) -> Callers:
        """See :class:`~meshp2p.net.security.Security`."""
        return self._callers

    def guard(
        self,
        machine: Machine,
        codec: Codec,
        note_stranger: Callable[[Record], None],
        count_refused: Callable[[Refusal], None],
    ) -> NodeGuard:
        """See :class:`~meshp2p.net.security.Security`."""
        trust, agents = self.trust.credential.trust, self.trust.agents
        return NodeGuard(trust, agents, self._datagram_keys, codec, machine, note_stranger, count_refused)

    def rename(self, names: Sequence[str]) -> None:
        """See :class:`~meshp2p.net.security.Security`."""
        role = self._certificate.role
        if self._names == tuple(names) or not isinstance(role, AgentRole):
            return
        try:
            shown = dict.fromkeys((*_LOOPBACK, *names))
            self._certificate = self.trust.credential.issue_agent(self._key.public, role.id, role.boot, list(shown))
        except LocalProtocolError as error:  # it was revoked
            _log.error("the certificate of this node keeps its old names: %s", error)
            return
        self._names = tuple(names)
        self._show_certificate()

    def _show_certificate(self) -> None:
        chain = (self._certificate, *self.trust.credential.machine.chain)
        for context in (self._accepting, self._dialling):
            _load_chain(context, chain, self._key)

    async def accept(self, stream: trio.abc.Stream, host: str) -> VerifiedStream | CallerStream:
        """See :class:`~meshp2p.net.security.Security`."""
        tls = TlsStream(stream, self._accepting, server_side=True)
        async with _identifying(tls):
            await tls.do_handshake()
            if tls.alpn_protocol not in (None, _HTTP):
                return await self._verify(tls)
            leaf = tls.certificate
            return CallerStream(tls, host, lambda: None if leaf is None else self._callers.by_certificate(leaf))

    async def dial(self, stream: trio.abc.Stream) -> VerifiedStream:
        """See :class:`~meshp2p.net.security.Security`."""
        tls = TlsStream(stream, self._dialling, server_side=False)
        async with _identifying(tls):
            await tls.do_handshake()
            return await self._verify(tls)

    async def _verify(self, stream: TlsStream) -> VerifiedStream:
        leaf = stream.certificate
        if stream.alpn_protocol != _MESH or leaf is None:
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"expected {_MESH} and a certificate")
        self.trust.refresh()
        trust = self.trust.credential.trust
        before = trust.digest()
        try:
            machine, role = await _introduce(stream, self.trust.introduce(leaf))
        except RemoteProtocolError:
            await self.trust.note_growth(before)  # even if the other side is refused now
            raise
        await self.trust.note_growth(before)
        return VerifiedStream(stream, role.id, machine, trust.digest())


@contextlib.asynccontextmanager
async def _identifying(stream: TlsStream) -> AsyncIterator[None]:
    """Bound the time of this block, and close the stream unless it ends without an error. Raises
    :class:`RemoteProtocolError` and ``OSError`` as :class:`~meshp2p.net.security.Security` does."""
    is_known = False
    try:
        with trio.fail_after(HANDSHAKE_SECONDS):
            yield
        is_known = True
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"{error.__cause__.verify_message}") from error
        raise ConnectionError(f"no TLS connection of this mesh: {error.__cause__ or error}") from error
    except trio.TooSlowError as error:
        raise TimeoutError(f"it did not say who it is in {HANDSHAKE_SECONDS:g} s") from error
    finally:
        if not is_known:
            await trio.aclose_forcefully(stream)


def _make_context(side: int, root: str) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the certificate names the node; its addresses change
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols([_MESH])
    if side == ssl.PROTOCOL_TLS_SERVER:
        context.verify_mode = ssl.CERT_OPTIONAL  # callers of the HTTP API may have a token instead
        context.set_alpn_protocols([_MESH, _HTTP])
        context.num_tickets = 0
    context.load_verify_locations(cadata=root)
    return context


def make_caller_context(credential: MachineCredential, refresh: Callable[[], None]) -> ssl.SSLContext:
    """Return the TLS context of a caller of the HTTP API on a machine of the mesh. It shows the certificate of the
    machine, and accepts every node of the mesh whose machine is not known to be revoked, at whatever name or address.
    ``refresh`` is called before the trust map is used."""
    context = _make_context(ssl.PROTOCOL_TLS_CLIENT, credential.root.to_pem().decode())
    context.set_alpn_protocols([_HTTP])
    _load_chain(context, credential.machine.chain, credential.key)

    class VerifiedNode(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            leaf, *chain = _chain_of(self)
            refresh()
            try:
                credential.trust.merge_untrusted(Statements(tuple(chain[:CHAIN_MAX])))
                credential.trust.verify_agent(Certificate.decode_untrusted(leaf))
            except RemoteProtocolError as error:
                raise ssl.SSLCertVerificationError(str(error)) from error

    context.sslobject_class = VerifiedNode
    return context


def _chain_of(tls: Any) -> list[bytes]:
    """Return the certificates that the other side has sent, its own first. There is a public method since Python
    3.13."""
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    return [one.public_bytes(_DER) for one in tls._sslobj.get_unverified_chain()]


def _load_chain(context: ssl.SSLContext, chain: Iterable[Certificate], key: PrivateKey) -> None:
    with tempfile.NamedTemporaryFile() as file:  # ssl reads keys from files only; nobody else may read this one
        file.write(b"".join(one.to_pem() for one in chain) + key.to_pem())
        file.flush()
        context.load_cert_chain(file.name)


async def _introduce(
    stream: TlsStream, steps: Generator[IntroductionStep, bytes, tuple[bytes, AgentRole]]
) -> tuple[bytes, AgentRole]:
    """Take these steps. Return and raise as they do."""
    try:
        step = next(steps)
        while True:
            if step.bytes_max:
                step = steps.send(await _exchange(stream, step.body, step.bytes_max))
            else:
                await _tell(stream, step.body)
                step = next(steps)
    except StopIteration as end:
        result: tuple[bytes, AgentRole] = end.value
        return result


async def _exchange(stream: TlsStream, body: bytes, bytes_max: int) -> bytes:
    """Send a message, and receive one at the same time: both sides may send more than the network holds."""
    received: bytes | Exception = b""
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # receiving says why
                await stream.send_all(len(body).to_bytes(4, "big") + body)

        nursery.start_soon(send)
        try:
            received = await _receive_message(stream, bytes_max)
        except (RemoteProtocolError, trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            received = error
            nursery.cancel_scope.cancel()
    if isinstance(received, Exception):
        raise received
    return received


async def _tell(stream: TlsStream, body: bytes) -> None:
    """Send a message, and drop what arrives, so that the other side can read it before the connection is closed."""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        with trio.move_on_after(DISMISS_SECONDS):
            await stream.send_all(len(body).to_bytes(4, "big") + body)
            while await stream.receive_some(64 * 1024):
                pass


async def _receive_message(stream: TlsStream, bytes_max: int) -> bytes:
    length = int.from_bytes(await _receive(stream, 4), "big")
    if length > bytes_max:
        raise RemoteProtocolError(Refusal.TOO_LARGE, f"a message of {length} bytes: expected at most {bytes_max}")
    return await _receive(stream, length)


async def _receive(stream: TlsStream, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        data = await stream.receive_some(min(count - len(received), 64 * 1024))
        if not data:
            raise ConnectionError("it closed the connection before it said who it is")
        received += data
    return bytes(received)
