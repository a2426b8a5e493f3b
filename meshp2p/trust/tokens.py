"""Bearer tokens for the HTTP API: JWS in its compact form, signed with ES256 by a machine of the mesh (RFC 7515).

::

    header     alg = ES256, kid = the fingerprint of the machine's key
    payload    aud = the mesh id, sub = whose token it is, scope, exp = Unix seconds, jti = the name of the token

``scope`` is a list of ``read``, ``agent:PATTERN`` with the pattern percent-encoded, and ``admin``. Any other
member, and any other algorithm, is refused.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import secrets
from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple, TypeVar
from urllib.parse import quote, unquote

import msgspec

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import LocalProtocolError, Refusal, RemoteProtocolError
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.grants import Grant, check_pattern, covers
from meshp2p.trust.keys import FINGERPRINT_BYTES, MESH_ID_BYTES
from meshp2p.trust.machines import MeshMachine
from meshp2p.trust.trust_map import TrustMap

__all__ = ["TOKEN_BYTES_MAX", "Token", "issue_token", "token_signer", "verify_token"]

TOKEN_BYTES_MAX: Final = 4096
"""The longest token that is read. One with a single id has about 500 bytes. Chosen, not measured."""

_AGENT: Final = "agent:"
_SAFE: Final = "*:/@"
_SIGNER_DIGITS: Final = 16  # of the signer's fingerprint, with which a jti begins
_EXPIRES_MAX: Final = 253_402_300_799  # the end of the year 9999

_T = TypeVar("_T")


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    alg: Literal["ES256"]
    kid: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * FINGERPRINT_BYTES}}}\\Z")]
    typ: Literal["JWT"] = "JWT"


class _Claims(msgspec.Struct, forbid_unknown_fields=True):
    aud: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{2 * MESH_ID_BYTES}}}\\Z")]
    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)]
    scope: str
    exp: Annotated[int, msgspec.Meta(ge=0, le=_EXPIRES_MAX)]
    jti: Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{_SIGNER_DIGITS}}}-[0-9a-f]{{16}}\\Z")]


class Token(NamedTuple):
    """What a valid token says. ``expires_at`` is in Unix seconds, ``id`` its ``jti``."""

    grant: Grant
    expires_at: int
    id: str


def issue_token(
    credential: MachineCredential, subject: str, scopes: Sequence[str], expires_at: int
) -> tuple[str, Token]:
    """Return a token that this machine signs. ``scopes`` are ``read``, ``agent:PATTERN`` and ``admin``; ``expires_at``
    is in Unix seconds.

    Raises :class:`ConfigError` on a scope that there is not, and :class:`LocalProtocolError` if this machine may not
    grant it.
    """
    kid = credential.key.fingerprint.hex()
    for scope in scopes:
        if scope.startswith(_AGENT):
            check_pattern(scope.removeprefix(_AGENT))
    encoded = [f"{_AGENT}{quote(one.removeprefix(_AGENT), _SAFE)}" if one.startswith(_AGENT) else one for one in scopes]
    claims = _Claims(
        credential.mesh_id.hex(),
        subject,
        " ".join(dict.fromkeys(encoded)),
        expires_at,
        f"{kid[:_SIGNER_DIGITS]}-{secrets.token_hex(8)}",
    )
    signed = b".".join(_to_base64(msgspec.json.encode(part)) for part in (_Header("ES256", kid), claims))
    text = b".".join((signed, _to_base64(credential.key.sign_jws(signed)))).decode()
    try:
        return text, verify_token(text, credential.trust, 0)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"mesh {credential.name!r}: {error}") from error


def verify_token(text: str, trust: TrustMap, now: float) -> Token:
    """Return what a token grants at this time, in Unix seconds. Raises :class:`RemoteProtocolError`, which says what is
    wrong with it."""
    if len(text) > TOKEN_BYTES_MAX:
        raise RemoteProtocolError(
            Refusal.TOO_LARGE, f"a token of {len(text)} bytes: expected at most {TOKEN_BYTES_MAX}"
        )
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():
        raise RemoteProtocolError(Refusal.BAD_SHAPE, "no token: expected three parts with a dot between them")
    header = _decode(parts[0], _Header, "header")
    claims = _decode(parts[1], _Claims, "payload")
    signer = bytes.fromhex(header.kid)
    machine = trust.machines.get(signer)
    if claims.aud != trust.mesh_id.hex():
        raise RemoteProtocolError(Refusal.UNTRUSTED, f"a token for mesh {claims.aud}: expected {trust.mesh_id.hex()}")
    if machine is None:
        raise RemoteProtocolError(Refusal.UNTRUSTED, f"a token of machine {header.kid}, which is not in the mesh")
    if claims.exp <= now:
        raise RemoteProtocolError(Refusal.UNTRUSTED, f"the token expired at {_time_text(claims.exp)}")
    machine.key.verify_jws(f"{parts[0]}.{parts[1]}".encode(), _from_base64(parts[2], "signature"))
    if not trust.is_trusted(signer):
        raise RemoteProtocolError(Refusal.REVOKED, f"a token of {machine.label!r}: that machine was revoked")
    if not trust.is_trusted(signer, token=claims.jti):
        raise RemoteProtocolError(Refusal.REVOKED, f"token {claims.jti}: it was revoked")
    return Token(_grant_of(claims, header.kid, machine), claims.exp, claims.jti)


def _grant_of(claims: _Claims, kid: str, machine: MeshMachine) -> Grant:
    """Return what a scope grants. Raises :class:`RemoteProtocolError` if the machine may not grant it."""
    if not claims.jti.startswith(kid[:_SIGNER_DIGITS]):
        raise RemoteProtocolError(Refusal.UNTRUSTED, f"jti {claims.jti!r}: expected one of the signer's")
    ids: list[str] = []
    scopes = claims.scope.split(" ")
    for scope in scopes:
        if scope.startswith(_AGENT):
            ids.append(unquote(scope.removeprefix(_AGENT), errors="replace"))
        elif scope not in ("read", "admin"):
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"scope {scope[:80]!r}: expected read, agent:PATTERN or admin")
    for pattern in ids:
        if not all(covers(limit, pattern) for limit in machine.id_patterns):
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"machine {machine.label!r} may not grant the id {pattern!r}")
    if "admin" in scopes and not machine.is_admin:
        raise RemoteProtocolError(Refusal.UNTRUSTED, f"machine {machine.label!r} may not grant the scope admin")
    return Grant(
        owner=f"{kid}/{claims.sub}",
        ids=tuple(ids),
        limits=tuple(machine.id_patterns),
        may_read="read" in scopes,
        is_admin="admin" in scopes,
    )


def token_signer(token_id: str, trust: TrustMap) -> MeshMachine | None:
    """Return the machine that signed the token with this ``jti``; None if it is not in the mesh."""
    signer = token_id[:_SIGNER_DIGITS]
    return next((one for key, one in trust.machines.items() if key.hex()[:_SIGNER_DIGITS] == signer), None)


def _decode(part: str, shape: type[_T], what: str) -> _T:
    data = _from_base64(part, what)
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(Refusal.BAD_SHAPE, f"the {what} of the token: {error}") from None


def _to_base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _from_base64(text: str, what: str) -> bytes:
    """Return the bytes, if this is their one encoding."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        data = b""
    if _to_base64(data).decode() != text:
        raise RemoteProtocolError(Refusal.BAD_SHAPE, f"the {what} of the token is not base64url without padding")
    return data


def _time_text(unix_seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(unix_seconds, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
