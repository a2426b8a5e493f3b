"""Bearer tokens: what they grant, and what is refused."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.errors import ConfigError, LocalProtocolError, Refusal, RemoteProtocolError
from meshp2p.trust.callers import KNOWN_MAX, Callers
from meshp2p.trust.certificates import issue_agent
from meshp2p.trust.credential import MachineCredential, found_mesh
from meshp2p.trust.grants import covers, matches
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.tokens import TOKEN_BYTES_MAX, issue_token, token_signer, verify_token
from tests.trust.builders import invite_credential

NOW = 1_800_000_000
ROOT_KEY, FIRST = found_mesh("studio", "first")
SCOPES = ["read", "agent:translator-1"]


def invited(inviter: MachineCredential = FIRST, **rights: Any) -> MachineCredential:
    return invite_credential(inviter, **rights)


TOKEN, _ = issue_token(FIRST, "translator-1", SCOPES, NOW + 60)


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    header, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    return msgspec.json.decode(header), msgspec.json.decode(claims), signature


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: object, claims: object, key: PrivateKey = FIRST.key) -> str:
    text = ".".join(encoded(msgspec.json.encode(part)) for part in (header, claims))
    return f"{text}.{encoded(key.sign_jws(text.encode()))}"


def refusal(token: str, credential: MachineCredential = FIRST, now: float = NOW) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        verify_token(token, credential.trust, now)
    return caught.value


def test_a_token_grants_what_it_names_and_nothing_else() -> None:
    token = verify_token(TOKEN, FIRST.trust, NOW)
    assert token.expires_at == NOW + 60
    assert (token.grant.may_read, token.grant.is_admin) == (True, False)
    assert token.grant.may_act_as("translator-1")
    assert not token.grant.may_act_as("translator-2")
    assert token_signer(token.id, FIRST.trust) == FIRST.machine


@pytest.mark.parametrize("pattern", ["a b", "é*", "100%", 'a"b\\c', "x/y:z@w", "\n", "a+b&c", "*"])
def test_a_pattern_of_any_characters_is_kept(pattern: str) -> None:
    text, token = issue_token(FIRST, "s", [f"agent:{pattern}"], NOW)
    assert token.grant.ids == (pattern,)
    assert text.isascii()


def test_it_expires() -> None:
    verify_token(TOKEN, FIRST.trust, NOW + 59.9)
    assert "expired at 2027-01-15T08:01:00Z" in str(refusal(TOKEN, now=NOW + 60))


def test_it_can_be_revoked_alone() -> None:
    credential = invited()
    revoked, other = (issue_token(credential, "s", ["read"], NOW + 60) for _ in range(2))
    credential.trust.revoke(credential.key, credential.key.fingerprint, token=revoked[1].id)
    with pytest.raises(RemoteProtocolError, match=f"token {revoked[1].id}: it was revoked"):
        verify_token(revoked[0], credential.trust, NOW)
    assert verify_token(other[0], credential.trust, NOW).id == other[1].id


def test_a_token_of_another_mesh_is_refused() -> None:
    _, other = found_mesh("studio", "first")
    token, _ = issue_token(other, "translator-1", SCOPES, NOW + 60)
    assert "a token for mesh" in str(refusal(token))
    header, claims, _ = parts_of(token)
    assert "which is not in the mesh" in str(refusal(signed(header, {**claims, "aud": FIRST.mesh_id.hex()}, other.key)))


@pytest.mark.parametrize("alg", ["none", "None", "", "HS256", "ES384", "RS256", None, 1])
def test_no_other_algorithm_is_read(alg: object) -> None:
    header, claims, signature = parts_of(TOKEN)
    text = ".".join(encoded(msgspec.json.encode(part)) for part in ({**header, "alg": alg}, claims))
    mac = HMAC(FIRST.key.public.spki, SHA256())  # a public key taken for a shared secret
    mac.update(text.encode())
    for forged in (b"", signature, FIRST.key.sign_jws(text.encode()), mac.finalize()):
        assert refusal(f"{text}.{encoded(forged)}").reason is Refusal.BAD_SHAPE


@pytest.mark.parametrize("more", [{"crit": ["exp"]}, {"jwk": {}}, {"x5c": []}, {"b64": False}, {"typ": "JOSE"}])
def test_a_header_with_other_members_is_refused(more: dict[str, Any]) -> None:
    header, claims, _ = parts_of(TOKEN)
    assert refusal(signed({**header, **more}, claims)).reason is Refusal.BAD_SHAPE


@pytest.mark.parametrize(
    "change",
    [{"exp": NOW + 1e9}, {"exp": "never"}, {"exp": None}, {"exp": -1}, {"exp": 1 << 60}, {"sub": ""}, {"nbf": 1}]
    + [{"scope": scope} for scope in ("", "write", "read  read", " read", "agent", "READ", None, ["read"])]
    + [{"jti": jti} for jti in ("", "x", "0" * 33, f"{'0' * 16}-{'0' * 16}")],
)
def test_claims_that_are_not_ours_are_refused(change: dict[str, Any]) -> None:
    header, claims, _ = parts_of(TOKEN)
    refusal(signed(header, {**claims, **change}))


def test_a_signature_by_another_machine_is_refused() -> None:
    other = invited()
    header, claims, _ = parts_of(TOKEN)
    assert "the signature (token) is not by" in str(refusal(signed(header, claims, other.key)))
    # under its own name it may sign, and its tokens are its own
    own, _ = issue_token(other, "translator-1", SCOPES, NOW + 60)
    assert verify_token(own, FIRST.trust, NOW).grant.owner != verify_token(TOKEN, FIRST.trust, NOW).grant.owner


def test_a_machine_grants_only_ids_that_it_may_use_itself() -> None:
    worker = invited(ids="worker-*")
    for pattern in ("*", "work*", "leader", "worker", "*-1"):
        with pytest.raises(LocalProtocolError, match="may not grant the id"):
            issue_token(worker, "s", [f"agent:{pattern}"], NOW + 60)
        header, claims, _ = parts_of(issue_token(worker, "s", ["agent:worker-1"], NOW + 60)[0])
        assert "may not grant" in str(refusal(signed(header, {**claims, "scope": f"agent:{pattern}"}, worker.key)))
    for pattern in ("worker-*", "worker-1", "worker-*-a"):
        issue_token(worker, "s", [f"agent:{pattern}"], NOW + 60)


def test_only_an_admin_grants_admin() -> None:
    assert issue_token(FIRST, "s", ["admin"], NOW)[1].grant.is_admin
    with pytest.raises(LocalProtocolError, match="may not grant the scope admin"):
        issue_token(invited(), "s", ["admin"], NOW)


@pytest.mark.parametrize("scope", ["agent:", "agent:a*b*c", "agent:" + "x" * 200])
def test_a_pattern_that_cannot_be_is_refused_when_a_token_is_made(scope: str) -> None:
    with pytest.raises(ConfigError, match="id pattern"):
        issue_token(FIRST, "s", [scope], NOW)


def test_the_tokens_of_a_revoked_machine_and_of_those_it_invited_are_refused() -> None:
    root_key, first = found_mesh("studio", "first")
    inviter = invited(first, may_invite=True)
    newcomer = invited(inviter)
    first.trust.merge_untrusted(newcomer.trust.statements())
    callers = Callers(first, lambda: None)
    tokens = [issue_token(one, "s", SCOPES, NOW + 60)[0] for one in (inviter, newcomer)]
    for token in tokens:
        assert callers.by_token(token, NOW).may_act_as("translator-1")
    first.trust.revoke(root_key, inviter.key.fingerprint)
    for token in tokens:  # also what was verified before
        with pytest.raises(RemoteProtocolError, match="revoked"):
            callers.by_token(token, NOW)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "é.é.é",
        "x" * TOKEN_BYTES_MAX,
        "x" * (TOKEN_BYTES_MAX + 1),
        f"{TOKEN}.",
        f" {TOKEN}",
        f"{TOKEN}=",
        TOKEN.replace(".", "=.", 1),
        TOKEN[:-1],
        TOKEN + "A",
        TOKEN.upper(),
        "null.null.null",
        "W10.W10.W10",
        f"{encoded(b'[' * 3000)}.{encoded(b'{}')}.AA",
    ],
)
def test_malformed_and_oversize_tokens_are_refused(token: str) -> None:
    refusal(token)


@given(st.integers(0, len(TOKEN) - 1), st.characters(max_codepoint=255))
def test_a_token_with_any_character_changed_is_refused(place: int, character: str) -> None:
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    if changed != TOKEN:
        refusal(changed)


@given(st.text(), st.text(), st.text())
def test_random_parts_are_refused(header: str, claims: str, signature: str) -> None:
    refusal(f"{header}.{claims}.{signature}")
    refusal(".".join(encoded(part.encode("utf-8", "replace")) for part in (header, claims, signature)))


PATTERNS = st.tuples(st.text("ab", max_size=3), st.sampled_from(["", "*"]), st.text("ab", max_size=3)).map("".join)


@given(PATTERNS, PATTERNS, st.text("ab", max_size=8))
def test_a_pattern_that_covers_another_matches_all_that_it_matches(pattern: str, other: str, instance_id: str) -> None:
    if covers(pattern, other) and matches(other, instance_id):
        assert matches(pattern, instance_id)
    assert covers(pattern, pattern)
    assert covers("*", other)


# Callers


def test_only_valid_tokens_are_remembered_and_no_more_than_a_bound() -> None:
    callers = Callers(FIRST, lambda: None)
    callers.by_token(TOKEN, NOW)
    for number in range(KNOWN_MAX + 10):
        with pytest.raises(RemoteProtocolError):
            callers.by_token(f"{TOKEN}{number}", NOW)
    assert list(callers._known) == [TOKEN]
    with pytest.raises(RemoteProtocolError, match="expired"):
        callers.by_token(TOKEN, NOW + 60)
    assert not callers._known


def test_a_certificate_grants_what_its_machine_or_agent_may() -> None:
    worker = invited(ids="worker-*")
    callers = Callers(FIRST, lambda: None)
    machine = callers.by_certificate(worker.machine.chain[0].der)
    assert machine.may_act_as("worker-1")
    assert not machine.may_act_as("leader")
    assert not machine.is_admin
    assert callers.by_certificate(FIRST.machine.chain[0].der).is_admin
    agent = callers.by_certificate(worker.issue_agent(PrivateKey.generate().public, "worker-1", 1).der)
    assert (agent.may_act_as("worker-1"), agent.may_act_as("worker-2"), agent.is_admin) == (True, False, False)


@pytest.mark.parametrize("kind", ["root", "stranger", "beyond its pattern", "star", "noise"])
def test_other_certificates_grant_nothing(kind: str) -> None:
    worker = invited(ids="worker-*")
    key = PrivateKey.generate().public
    der = {
        "root": FIRST.root.der,
        "stranger": found_mesh("studio", "x")[1].machine.chain[0].der,
        "beyond its pattern": issue_agent(key, "leader", 1, mesh_id=worker.mesh_id, machine=worker.key).der,
        "star": FIRST.issue_agent(key, "a*b", 1).der,
        "noise": b"\0" * 100,
    }[kind]
    with pytest.raises(RemoteProtocolError):
        Callers(FIRST, lambda: None).by_certificate(der)


def test_programs_on_the_machine_may_act_as_what_the_machine_may() -> None:
    local = Callers(invited(ids="worker-*"), lambda: None).local
    assert (local.may_act_as("worker-1"), local.may_act_as("leader")) == (True, False)
    assert (local.may_read, local.is_admin) == (True, False)
