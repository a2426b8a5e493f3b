"""Joining a mesh with a code or a token: both sides as plain objects, bytes in and bytes out.

::

    newcomer                                      inviter
    JoinHello      version, rendezvous, key ->
                                               <- JoinChallenge   its key, mesh id, element
    JoinAnswer     element, proof, consent  ->
                                               <- JoinWelcome     proof, and sealed: root, chain, trust map
                                               <- JoinRefused     instead of either, with the reason

The key exchange (SPAKE2) is bound to both public keys, to the mesh and to the invitation. All further keys depend on
every byte that was sent before. The newcomer proves first that it knows the code. An impostor as inviter can test one
guess. A newcomer with a wrong code is counted before it learns anything. Only a newcomer that proved it can open what
is sealed.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from meshp2p.errors import ConfigError, JoinFailed, LocalProtocolError, Refusal, RemoteProtocolError
from meshp2p.trust.certificates import (
    CERTIFICATE_BYTES_MAX,
    LABEL_CHARACTERS_MAX,
    Certificate,
    consent_to,
)
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.grants import check_pattern
from meshp2p.trust.keys import MESH_ID_BYTES, PUBLIC_KEY_BYTES_MAX, PrivateKey, PublicKey
from meshp2p.trust.machines import CHAIN_MAX
from meshp2p.trust.spake import ELEMENT_BYTES, PasswordExchange
from meshp2p.trust.spoken import JoinCode, JoinToken
from meshp2p.trust.statements import Statements

__all__ = ["REQUEST_BYTES_MAX", "WELCOME_BYTES_MAX", "Invitation", "InviterSide", "JoinRefusal", "NewcomerSide"]

REQUEST_BYTES_MAX: Final = 1024
"""The longest frame that an inviter reads, and that a newcomer reads before the welcome."""

WELCOME_BYTES_MAX: Final = 4 << 20
"""The longest welcome: a trust map has about 1.5 MB at its bounds."""

_VERSION: Final = 1
_LENGTH_BYTES: Final = 4
_PROOF_BYTES: Final = 32

_Key = Annotated[bytes, msgspec.Meta(max_length=PUBLIC_KEY_BYTES_MAX)]
_MeshId = Annotated[bytes, msgspec.Meta(min_length=MESH_ID_BYTES, max_length=MESH_ID_BYTES)]
_Element = Annotated[bytes, msgspec.Meta(min_length=ELEMENT_BYTES, max_length=ELEMENT_BYTES)]
_Proof = Annotated[bytes, msgspec.Meta(min_length=_PROOF_BYTES, max_length=_PROOF_BYTES)]
_Der = Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]


class JoinRefusal(enum.IntEnum):
    """Why an inviter refuses somebody."""

    NOT_READ = 0
    """The inviter received no message of this protocol and version."""
    NO_INVITATION = 1
    """No such invitation is open: it was used, it expired, or it ended after wrong codes."""
    WRONG_CODE = 2
    NOT_ISSUED = 3
    """The code was right, but the inviter could not issue the certificate."""


class JoinHello(msgspec.Struct, frozen=True, array_like=True, tag=0):
    version: Annotated[int, msgspec.Meta(ge=0, le=255)]
    rendezvous: Annotated[str, msgspec.Meta(max_length=32)]
    key: _Key


class JoinChallenge(msgspec.Struct, frozen=True, array_like=True, tag=1):
    key: _Key
    mesh: _MeshId
    element: _Element


class JoinAnswer(msgspec.Struct, frozen=True, array_like=True, tag=2):
    element: _Element
    proof: _Proof
    consent: Annotated[bytes, msgspec.Meta(max_length=80)]
    label: Annotated[str, msgspec.Meta(min_length=1, max_length=LABEL_CHARACTERS_MAX)]


class JoinWelcome(msgspec.Struct, frozen=True, array_like=True, tag=3):
    proof: _Proof
    sealed: Annotated[bytes, msgspec.Meta(max_length=WELCOME_BYTES_MAX)]


class JoinRefused(msgspec.Struct, frozen=True, array_like=True, tag=4):
    reason: JoinRefusal


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    root: _Der
    chain: Annotated[tuple[_Der, ...], msgspec.Meta(min_length=1, max_length=CHAIN_MAX)]
    statements: Statements


_encode: Final = msgspec.msgpack.Encoder().encode
_to_inviter: Final = msgspec.msgpack.Decoder(JoinHello | JoinAnswer)
_to_newcomer: Final = msgspec.msgpack.Decoder(JoinChallenge | JoinWelcome | JoinRefused)
_sealed: Final = msgspec.msgpack.Decoder(_Sealed)


class Invitation:
    """An open invitation. ``uses`` newcomers that know ``secret`` may join until ``expires_at``. The other arguments
    are the rights of a newcomer: see :class:`~meshp2p.trust.certificates.MachineRole`. Raises :class:`ConfigError` on
    an invalid pattern of ids."""

    def __init__(
        self,
        secret: JoinCode | JoinToken,
        expires_at: float,
        *,
        uses: int = 1,
        ids: str = "*",
        may_invite: bool = False,
        is_admin: bool = False,
    ) -> None:
        check_pattern(ids)
        self.secret: JoinCode | JoinToken = secret
        self.expires_at: float = expires_at
        self.uses_left: int = uses
        self.ids: str = ids
        self.may_invite: bool = may_invite
        self.is_admin: bool = is_admin
        self.wrong: list[str] = []
        """The hosts that gave a wrong code, in order."""

    def is_open(self, now: float) -> bool:
        """Whether somebody can still join with it."""
        return self.uses_left > 0 and now < self.expires_at and not self.has_failed

    @property
    def has_failed(self) -> bool:
        """Whether it ended because of wrong codes."""
        return self.secret.tries_max is not None and len(self.wrong) >= self.secret.tries_max


class _Frames:
    """Frames of a stream: a length in 4 bytes, then that many bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes, bytes_max: int) -> bytes | None:
        """Add bytes. Return the next frame, None if it is not complete yet. Raises :class:`RemoteProtocolError` if it
        is too long, or if bytes follow it: no side may send out of turn."""
        self._buffer += data
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
        if length > bytes_max:
            raise RemoteProtocolError(Refusal.TOO_LARGE, f"a frame of {length} bytes: expected at most {bytes_max}")
        if len(self._buffer) > _LENGTH_BYTES + length:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, "bytes follow a frame before it was answered")
        if len(self._buffer) < _LENGTH_BYTES + length:
            return None
        frame = bytes(self._buffer[_LENGTH_BYTES:])
        self._buffer.clear()
        return frame


class _Keys:
    """The keys that each side derives from the exchange. They are equal only if both saw the same bytes before."""

    def __init__(self, shared: bytes, transcript: bytes) -> None:
        derived = HKDF(hashes.SHA256(), 96, hashlib.sha256(transcript).digest(), b"meshp2p/2 join").derive(shared)
        self._newcomer, self._inviter, sealing = derived[:32], derived[32:64], derived[64:]
        self._cipher = ChaCha20Poly1305(sealing)

    def proof_of_newcomer(self, statement: bytes) -> bytes:
        return hmac.digest(self._newcomer, statement, "sha256")

    def proof_of_inviter(self, statement: bytes) -> bytes:
        return hmac.digest(self._inviter, statement, "sha256")

    def seal(self, data: bytes) -> bytes:
        """Encrypt the one message for which the key is used. Call it once."""
        return self._cipher.encrypt(bytes(12), data, None)

    def unseal(self, data: bytes) -> bytes:
        return self._cipher.decrypt(bytes(12), data, None)


class InviterSide:
    """The inviter's side of one attempt. ``find`` looks up an invitation by its rendezvous; ``host`` is the newcomer's
    address. Every call of :meth:`receive_data` returns what is to be sent. If ``is_over``, the connection is to be
    closed after that. ``joined`` are the newcomer's certificates, its own first, if it joined. Otherwise ``why`` gives
    the reason."""

    def __init__(self, credential: MachineCredential, find: Callable[[str], Invitation | None], host: str) -> None:
        self.is_over: bool = False
        self.joined: tuple[Certificate, ...] = ()
        self.why: str = ""
        self._credential = credential
        self._find = find
        self._host = host
        self._frames = _Frames()
        self._transcript = b""
        self._invitation: Invitation | None = None
        self._newcomer: PublicKey | None = None
        self._exchange: PasswordExchange | None = None

    def receive_data(self, data: bytes, now: float) -> bytes:
        """Return the bytes to send in reply. Never raises."""
        if self.is_over:
            return b""
        try:
            frame = self._frames.receive(data, REQUEST_BYTES_MAX)
            if frame is None:
                return b""
            message = _to_inviter.decode(frame)
            if isinstance(message, JoinHello) and self._exchange is None:
                return self._challenge(message, frame, now)
            if isinstance(message, JoinAnswer) and self._exchange is not None:
                return self._judge(message, self._exchange, now)
            return self._refuse(JoinRefusal.NOT_READ, f"{type(message).__name__} out of turn")
        except (RemoteProtocolError, msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            return self._refuse(JoinRefusal.NOT_READ, str(error))

    def _challenge(self, hello: JoinHello, frame: bytes, now: float) -> bytes:
        if hello.version != _VERSION:
            return self._refuse(JoinRefusal.NOT_READ, f"version {hello.version}: expected {_VERSION}")
        invitation = self._find(hello.rendezvous)
        if invitation is None or not invitation.is_open(now):
            return self._refuse(JoinRefusal.NO_INVITATION, f"no open invitation {hello.rendezvous!r}")
        self._invitation, self._newcomer = invitation, PublicKey.decode_untrusted(hello.key)
        own = self._credential.key.public
        self._exchange = _exchange(invitation.secret, self._newcomer, own, self._credential.mesh_id, is_newcomer=False)
        reply = _encode(JoinChallenge(own.spki, self._credential.mesh_id, self._exchange.element))
        self._transcript = _framed(frame) + _framed(reply)
        return _framed(reply)

    def _judge(self, answer: JoinAnswer, exchange: PasswordExchange, now: float) -> bytes:
        invitation, newcomer = self._invitation, self._newcomer
        if invitation is None or newcomer is None or not invitation.is_open(now):
            return self._refuse(JoinRefusal.NO_INVITATION, "the invitation ended meanwhile")
        keys = _Keys(exchange.finish(answer.element), self._transcript + answer.element)
        said = answer.consent + answer.label.encode()
        if not hmac.compare_digest(answer.proof, keys.proof_of_newcomer(said)):
            invitation.wrong.append(self._host)
            return self._refuse(JoinRefusal.WRONG_CODE, f"{self._host} gave a wrong code")
        try:
            chain = self._credential.invite(
                newcomer,
                answer.consent,
                answer.label,
                ids=invitation.ids,
                may_invite=invitation.may_invite,
                is_admin=invitation.is_admin,
            )
        except (LocalProtocolError, ConfigError, RemoteProtocolError) as error:
            return self._refuse(JoinRefusal.NOT_ISSUED, str(error))
        invitation.uses_left -= 1
        statements = self._credential.trust.statements()
        content = _Sealed(self._credential.root.der, tuple(one.der for one in chain), statements)
        sealed = keys.seal(_encode(content))
        self.joined, self.is_over = chain, True
        return _framed(_encode(JoinWelcome(keys.proof_of_inviter(sealed), sealed)))

    def _refuse(self, reason: JoinRefusal, why: str) -> bytes:
        self.is_over, self.why = True, why
        return _framed(_encode(JoinRefused(reason)))


class NewcomerSide:
    """The newcomer's side of one attempt: a typed code is tried once. ``label`` is this machine's name for people.
    ``credential`` is set when the machine has joined."""

    def __init__(self, secret: JoinCode | JoinToken, label: str) -> None:
        self.credential: MachineCredential | None = None
        self._secret = secret
        self._label = label[:LABEL_CHARACTERS_MAX]
        self._key = PrivateKey.generate()
        self._frames = _Frames()
        self._hello = _encode(JoinHello(_VERSION, secret.rendezvous, self._key.public.spki))
        self._keys: _Keys | None = None
        self._mesh_id = b""

    def begin(self) -> bytes:
        """Return the first bytes to send."""
        return _framed(self._hello)

    def receive_data(self, data: bytes) -> bytes:
        """Return the bytes to send now. Raises :class:`JoinFailed` if the inviter refused or does not know the code,
        and :class:`RemoteProtocolError` if it sent invalid data. Close the connection then."""
        frame = self._frames.receive(data, REQUEST_BYTES_MAX if self._keys is None else WELCOME_BYTES_MAX)
        if frame is None:
            return b""
        try:
            message = _to_newcomer.decode(frame)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, f"no message of an inviter: {error}") from error
        match message:
            case JoinRefused(reason=reason):
                raise JoinFailed(_WHY_REFUSED[reason])
            case JoinChallenge() if self._keys is None:
                return self._answer(message, frame)
            case JoinWelcome() if self._keys is not None and self.credential is None:
                self.credential = self._open(message, self._keys)
                return b""
            case _:
                raise RemoteProtocolError(Refusal.BAD_SHAPE, f"{type(message).__name__} out of turn")

    def _answer(self, challenge: JoinChallenge, frame: bytes) -> bytes:
        if self._secret.mesh_id not in (None, challenge.mesh):
            raise JoinFailed("the machine that answered is in another mesh than the token is for")
        inviter = PublicKey.decode_untrusted(challenge.key)
        exchange = _exchange(self._secret, self._key.public, inviter, challenge.mesh, is_newcomer=True)
        shared = exchange.finish(challenge.element)
        self._keys = _Keys(shared, _framed(self._hello) + _framed(frame) + exchange.element)
        self._mesh_id = challenge.mesh
        consent = consent_to(self._key, challenge.mesh, inviter.fingerprint)
        proof = self._keys.proof_of_newcomer(consent + self._label.encode())
        return _framed(_encode(JoinAnswer(exchange.element, proof, consent, self._label)))

    def _open(self, welcome: JoinWelcome, keys: _Keys) -> MachineCredential:
        if not hmac.compare_digest(welcome.proof, keys.proof_of_inviter(welcome.sealed)):
            raise JoinFailed("the machine that answered does not know the code: it is not the inviter")
        try:
            content = _sealed.decode(keys.unseal(welcome.sealed))
        except (InvalidTag, msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise RemoteProtocolError(Refusal.BAD_SHAPE, f"the welcome cannot be read: {error!r}") from error
        chain = [Certificate.decode_untrusted(der) for der in content.chain]
        credential = MachineCredential(Certificate.decode_untrusted(content.root), self._key, chain)
        if credential.mesh_id != self._mesh_id:
            raise RemoteProtocolError(Refusal.OTHER_MESH, "the welcome is to another mesh")
        credential.trust.merge_untrusted(content.statements)
        return credential


_WHY_REFUSED: Final = {
    JoinRefusal.NOT_READ: "the inviter could not read what this machine sent: are the versions of meshp2p the same?",
    JoinRefusal.NO_INVITATION: "no such invitation is open: it was used, it expired, or wrong codes ended it;"
    " ask for a new one (meshp2p invite)",
    JoinRefusal.WRONG_CODE: "the code is wrong: type it again, or ask for a new one (meshp2p invite)",
    JoinRefusal.NOT_ISSUED: "the code was right, but the inviter may not invite: see what it says there",
}


def _exchange(
    secret: JoinCode | JoinToken, newcomer: PublicKey, inviter: PublicKey, mesh_id: bytes, *, is_newcomer: bool
) -> PasswordExchange:
    return PasswordExchange(
        secret.text.encode(),
        newcomer=b"meshp2p/2 newcomer\0" + mesh_id + newcomer.fingerprint,
        inviter=b"meshp2p/2 inviter\0" + mesh_id + inviter.fingerprint,
        is_newcomer=is_newcomer,
    )


def _framed(body: bytes) -> bytes:
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body
