"""Keys and certificates: what is read, and what is refused."""

from __future__ import annotations

import itertools
import warnings

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from meshp2p.errors import ConfigError, RemoteProtocolError
from meshp2p.trust.certificates import (
    CERTIFICATE_BYTES_MAX,
    AgentRole,
    Certificate,
    RootRole,
    consent_to,
    issue_agent,
    issue_machine,
    issue_root,
    root_mesh_id,
)
from meshp2p.trust.grants import matches
from meshp2p.trust.keys import PrivateKey, PublicKey
from tests.trust.builders import MadeMesh

MESH = MadeMesh()
MACHINE = MESH.invite("anna@laptop")
AGENT = MACHINE.start_agent("worker-1", 7)


def test_a_certificate_reads_as_it_was_issued() -> None:
    for certificate in (MESH.root, MACHINE.certificate, AGENT):
        again = Certificate.decode_untrusted(certificate.der)
        assert again.role == certificate.role
        assert again.fingerprint == certificate.fingerprint
    assert MESH.root.role == RootRole("studio")
    assert AGENT.role == AgentRole(MESH.id, "worker-1", 7)
    assert AGENT.issuer == MACHINE.fingerprint


def test_a_key_survives_its_file() -> None:
    assert PrivateKey.from_pem(MACHINE.key.to_pem()).fingerprint == MACHINE.fingerprint


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no key",
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        ec.generate_private_key(ec.SECP384R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        PrivateKey.generate().key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        ),
    ],
    ids=["empty", "text", "ed25519", "p384", "encrypted"],
)
def test_a_file_without_a_p256_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ValueError, match="key"):
        PrivateKey.from_pem(pem)


def test_only_keys_on_p256_in_our_encoding_are_read() -> None:
    spki = MACHINE.key.public.spki
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    foreign = other.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    compressed = MACHINE.key.public.key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    assert PublicKey.decode_untrusted(spki).fingerprint == MACHINE.fingerprint
    for wrong in (b"", spki[:-1], spki + b"\0", foreign, compressed, bytes(91), bytes(10_000)):
        with pytest.raises(RemoteProtocolError):
            PublicKey.decode_untrusted(wrong)


def test_a_signature_holds_for_its_purpose_and_statement_only() -> None:
    signature = MACHINE.key.sign(b"one", b"text")
    MACHINE.key.public.verify(b"one", b"text", signature)
    for purpose, statement, key in (
        (b"two", b"text", MACHINE.key),
        (b"one", b"other", MACHINE.key),
        (b"one", b"text", MESH.key),
    ):
        with pytest.raises(RemoteProtocolError, match="signature"):
            key.public.verify(purpose, statement, signature)


def test_a_certificate_is_only_by_its_issuer() -> None:
    AGENT.verify_issued_by(MACHINE.key.public)
    MACHINE.certificate.verify_issued_by(MESH.key.public)
    with pytest.raises(RemoteProtocolError, match="issued by"):
        AGENT.verify_issued_by(MESH.key.public)


def test_nobody_makes_himself_the_inviter_of_a_key_that_did_not_consent() -> None:
    thief = MESH.invite("thief")
    consent = consent_to(MACHINE.key, MESH.id, MESH.key.fingerprint)  # taken from its certificate
    with pytest.raises(RemoteProtocolError, match="consent"):
        issue_machine(MACHINE.key.public, consent, "anna@laptop", mesh_id=MESH.id, issuer=thief.key)


def test_an_impostor_root_has_another_mesh_id() -> None:
    impostor = MadeMesh("studio")
    assert impostor.id != MESH.id
    with pytest.raises(RemoteProtocolError, match="expected the certificate of a root"):
        root_mesh_id(MACHINE.certificate)


def test_a_changed_certificate_is_refused_or_not_signed() -> None:
    agents = [AGENT]
    while agents[-1].der[-1] & 1:  # in one that ends with a zero bit, that bit may be declared not to count
        agents.append(MACHINE.start_agent("a"))
    for agent in {AGENT, agents[-1]}:
        for position, bit in itertools.product(range(len(agent.der)), range(8)):
            changed = bytearray(agent.der)
            changed[position] ^= 1 << bit
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # cryptography warns of odd numbers before it refuses
                with pytest.raises(RemoteProtocolError):
                    Certificate.decode_untrusted(bytes(changed)).verify_issued_by(MACHINE.key.public)


@given(st.binary(max_size=300))
def test_bytes_are_no_certificate(data: bytes) -> None:
    for hostile in (data, AGENT.der + data + b"\0", AGENT.der[: len(data)]):
        with pytest.raises(RemoteProtocolError):
            Certificate.decode_untrusted(hostile)


def test_a_huge_certificate_is_not_read() -> None:
    with pytest.raises(RemoteProtocolError, match="at most"):
        Certificate.decode_untrusted(AGENT.der + bytes(CERTIFICATE_BYTES_MAX))


@pytest.mark.parametrize("instance_id", ["a", "wörker 1/2", "~0190-host", "../..", "x" * 128, "\U0001f600", "a\nb"])
def test_any_instance_id_has_a_certificate(instance_id: str) -> None:
    role = MACHINE.start_agent(instance_id).role
    assert isinstance(role, AgentRole)
    assert role.id == instance_id


def test_names_that_no_certificate_holds_are_left_out() -> None:
    key = PrivateKey.generate()
    names = ["laptop.local", "192.0.2.7", "fe80::1", "lärm", "two words", "", "laptop.local", *map(str, range(100))]
    certificate = issue_agent(key.public, "a", 1, names, mesh_id=MESH.id, machine=MACHINE.key)
    certificate.verify_issued_by(MACHINE.key.public)
    assert len(certificate.der) < CERTIFICATE_BYTES_MAX


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "\ud800"])
def test_a_mesh_needs_a_printable_name(name: str) -> None:
    with pytest.raises(ConfigError, match="mesh name"):
        issue_root(PrivateKey.generate(), name)


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("*", ["", "a", "worker-1"], []),
        ("worker-*", ["worker-", "worker-1"], ["worker", "a-worker-1"]),
        ("*-gpu", ["a-gpu", "-gpu"], ["gpu", "a-gpu-1"]),
        ("ab*ba", ["abba", "abxba"], ["aba", "ab"]),
        ("exact", ["exact"], ["exactly", "exac", ""]),
        ("a.c", ["a.c"], ["abc"]),
    ],
)
def test_a_pattern_covers_ids(pattern: str, covered: list[str], not_covered: list[str]) -> None:
    assert [one for one in covered if not matches(pattern, one)] == []
    assert [one for one in not_covered if matches(pattern, one)] == []
