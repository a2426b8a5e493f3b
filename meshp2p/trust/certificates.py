"""The three kinds of certificates of a secured mesh, as X.509.

::

    root       self-signed; names the mesh
    machine    one user on one machine; issued by the root, or by a machine that may invite
    agent      one process of one instance; issued by the machine that it runs on

The rights that a certificate grants are in a private extension, its role. The common name of the subject is the
fingerprint of its key. The authority key identifier is the fingerprint of the issuer's key. Certificates do not expire,
so a machine whose clock is wrong is still a member.

A machine certificate contains the consent of its own key to its issuer. So no member can issue a certificate for
another machine's key, and gain the rights of its inviter.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from meshp2p.core.record import ID_BYTES_MAX
from meshp2p.errors import ConfigError, Refusal, RemoteProtocolError
from meshp2p.trust.grants import check_pattern
from meshp2p.trust.keys import FINGERPRINT_BYTES, MESH_ID_BYTES, PrivateKey, PublicKey, mesh_id_of

__all__ = [
    "CERTIFICATE_BYTES_MAX",
    "LABEL_CHARACTERS_MAX",
    "AgentRole",
    "Certificate",
    "MachineRole",
    "RootRole",
    "announced_name",
    "consent_to",
    "issue_agent",
    "issue_machine",
    "issue_root",
    "mesh_name",
    "root_mesh_id",
]

CERTIFICATE_BYTES_MAX: Final = 4096
"""The longest certificate that is read. One of an agent with 16 names has about 1,500 bytes."""

LABEL_CHARACTERS_MAX: Final = 64
MESH_NAME_BYTES_MAX: Final = 64
"""With the mesh id before it, a name fits where an open mesh has one of 128 bytes."""

NAMES_MAX: Final = 32
"""DNS names and addresses in the certificate of an agent. Chosen, not measured."""

_OID: Final = x509.ObjectIdentifier("2.25.103973892924483713888182879339558925771")  # a UUID: nobody assigns it
_NOT_BEFORE: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NOT_AFTER: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)  # "no expiry", RFC 5280 §4.1.2.5
_CONSENT: Final = b"consent"
_CONSENT_BYTES_MAX: Final = 80

_MeshId = Annotated[bytes, msgspec.Meta(min_length=MESH_ID_BYTES, max_length=MESH_ID_BYTES)]
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_BYTES_MAX)]
_Label = Annotated[str, msgspec.Meta(min_length=1, max_length=LABEL_CHARACTERS_MAX)]


class RootRole(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The root of the mesh with this name."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MESH_NAME_BYTES_MAX)]


class MachineRole(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A machine credential. ``label`` is for people, such as ``anna@laptop``. ``ids`` is the pattern of the instance
    ids that it may use and grant: text with at most one ``*``. ``consent`` is the signature of :func:`consent_to`."""

    mesh: _MeshId
    label: _Label
    consent: Annotated[bytes, msgspec.Meta(max_length=_CONSENT_BYTES_MAX)]
    ids: _Id = "*"
    may_invite: bool = False
    is_admin: bool = False


class AgentRole(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """One process of the instance with this id. Of two processes of one instance the later has the higher ``boot``."""

    mesh: _MeshId
    id: _Id
    boot: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


_Role = RootRole | MachineRole | AgentRole
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Role).decode


class Certificate:
    """A certificate that was read. Reading does not check its signature: see :meth:`verify_issued_by`."""

    def __init__(self, der: bytes, public: PublicKey, issuer: bytes, role: _Role, parsed: x509.Certificate) -> None:
        self.der: bytes = der
        self.public: PublicKey = public
        self.issuer: bytes = issuer
        """The fingerprint of the key that it names as its issuer's."""
        self.role: RootRole | MachineRole | AgentRole = role
        self.x509: x509.Certificate = parsed

    def __repr__(self) -> str:
        return f"<Certificate of {self.fingerprint.hex()[:16]} by {self.issuer.hex()[:16]}: {self.role}>"

    @property
    def fingerprint(self) -> bytes:
        return self.public.fingerprint

    @classmethod
    def decode_untrusted(cls, der: bytes) -> Certificate:
        """Read a certificate in DER. Raises :class:`RemoteProtocolError`, and nothing else."""
        if len(der) > CERTIFICATE_BYTES_MAX:
            raise RemoteProtocolError(
                Refusal.TOO_LARGE, f"a certificate of {len(der)} bytes: expected at most {CERTIFICATE_BYTES_MAX}"
            )
        try:
            return cls._read(der)
        except (
            ValueError,
            TypeError,
            OverflowError,
            RecursionError,
            UnsupportedAlgorithm,
            x509.InvalidVersion,
            x509.ExtensionNotFound,
            x509.DuplicateExtension,
            x509.UnsupportedGeneralNameType,
            msgspec.DecodeError,
        ) as error:
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"no certificate of a mesh: {error}") from error

    @classmethod
    def _read(cls, der: bytes) -> Certificate:
        parsed = x509.load_der_x509_certificate(der)
        if parsed.public_bytes(serialization.Encoding.DER) != der:
            raise ValueError("bytes follow it")
        public = PublicKey.of(parsed.public_key())
        if not isinstance(parsed.signature_hash_algorithm, hashes.SHA256):
            raise ValueError("expected a signature over SHA-256")
        extensions = parsed.extensions
        issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
        private = extensions.get_extension_for_oid(_OID).value
        role = _decode(private.value if isinstance(private, x509.UnrecognizedExtension) else b"")
        if parsed.subject != _name(public.fingerprint) or parsed.issuer != _name(issuer):
            raise ValueError("its names are not the fingerprints of the keys")
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca is isinstance(role, AgentRole):
            raise ValueError("its role does not fit its basic constraints")
        if isinstance(role, AgentRole):
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if names.get_values_for_type(x509.UniformResourceIdentifier) != [_uri(role)]:
                raise ValueError(f"its alternative names do not say {_uri(role)}")
        return cls(der, public, issuer, role, parsed)

    @classmethod
    def from_pem(cls, pem: bytes) -> Certificate:
        """Read one certificate in PEM. Raises :class:`RemoteProtocolError`."""
        try:
            der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
        except ValueError as error:
            raise RemoteProtocolError(Refusal.UNTRUSTED, f"no certificate in PEM: {error}") from error
        return cls.decode_untrusted(der)

    def verify_issued_by(self, issuer: PublicKey) -> None:
        """Check its signature, and the consent of the key of a machine. Raises :class:`RemoteProtocolError`."""
        if self.issuer != issuer.fingerprint:
            raise RemoteProtocolError(
                Refusal.UNTRUSTED, f"issued by {self.issuer.hex()}: expected {issuer.fingerprint.hex()}"
            )
        self._verify_signature(issuer)
        if isinstance(self.role, MachineRole):
            self.public.verify(_CONSENT, self.role.mesh + issuer.fingerprint, self.role.consent)

    def _verify_signature(self, issuer: PublicKey) -> None:
        if self.x509.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:  # outside of what is signed
            raise RemoteProtocolError(Refusal.UNTRUSTED, "signed by another algorithm than ECDSA with SHA-256")
        if self.der[-len(self.x509.signature) - 1] != 0:  # also outside: how many bits of the last byte do not count
            raise RemoteProtocolError(Refusal.UNTRUSTED, "a signature that is no whole number of bytes")
        issuer.verify_raw(self.x509.tbs_certificate_bytes, self.x509.signature, "certificate")

    def to_pem(self) -> bytes:
        return self.x509.public_bytes(serialization.Encoding.PEM)


def consent_to(key: PrivateKey, mesh_id: bytes, issuer: bytes) -> bytes:
    """Return the signature with which the key of a new machine accepts the key with the fingerprint ``issuer`` as its
    inviter."""
    return key.sign(_CONSENT, mesh_id + issuer)


def issue_root(key: PrivateKey, name: str) -> Certificate:
    """Return the certificate of a new mesh. Raises :class:`ConfigError` if it cannot have that name."""
    if not 1 <= len(name.encode("utf-8", "surrogatepass")) <= MESH_NAME_BYTES_MAX or not name.isprintable():
        raise ConfigError(f"mesh name {name!r}: expected 1 to {MESH_NAME_BYTES_MAX} bytes of printable UTF-8")
    return _issue(key.public, key, RootRole(name), [])


def issue_machine(
    public: PublicKey,
    consent: bytes,
    label: str,
    *,
    mesh_id: bytes,
    issuer: PrivateKey,
    ids: str = "*",
    may_invite: bool = False,
    is_admin: bool = False,
) -> Certificate:
    """Return a machine certificate for the owner of ``public``. Raises :class:`ConfigError` on a wrong label or
    pattern, and :class:`RemoteProtocolError` if the consent is not by that key."""
    if not 1 <= len(label) <= LABEL_CHARACTERS_MAX or not label.isprintable():
        raise ConfigError(f"label {label!r}: expected 1 to {LABEL_CHARACTERS_MAX} printable characters")
    check_pattern(ids)
    public.verify(_CONSENT, mesh_id + issuer.fingerprint, consent)
    role = MachineRole(mesh_id, label, consent, ids, may_invite, is_admin)
    return _issue(public, issuer, role, [])


def issue_agent(
    public: PublicKey, instance_id: str, boot: int, names: Sequence[str] = (), *, mesh_id: bytes, machine: PrivateKey
) -> Certificate:
    """Return the certificate of one process of an agent. ``names`` are the DNS names and literal addresses of its node;
    those that a certificate cannot contain are left out."""
    role = AgentRole(mesh_id, instance_id, boot)
    alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(_uri(role))]
    for name in list(dict.fromkeys(names))[:NAMES_MAX]:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            if name.isascii() and name.replace("-", "").replace(".", "").isalnum():
                alternatives.append(x509.DNSName(name))
    return _issue(public, machine, role, alternatives)


def root_mesh_id(root: Certificate) -> bytes:
    """Return the id of the mesh of this root certificate. Raises :class:`RemoteProtocolError` if it is no root
    certificate, or not signed by its own key."""
    if not isinstance(root.role, RootRole):
        raise RemoteProtocolError(Refusal.UNTRUSTED, f"{root}: expected the certificate of a root")
    root.verify_issued_by(root.public)
    return mesh_id_of(root.public)


def mesh_name(root: Certificate) -> str:
    """Return the name of the mesh with this root, or an empty text if this is the certificate of no root."""
    return root.role.name if isinstance(root.role, RootRole) else ""


def announced_name(root: Certificate) -> str:
    """Return the name of this mesh on the network, where an open mesh has its name: no other mesh has it. Raises
    :class:`RemoteProtocolError` as :func:`root_mesh_id` does."""
    return f"{root_mesh_id(root).hex()} {mesh_name(root)}"


def _issue(public: PublicKey, issuer: PrivateKey, role: _Role, alternatives: list[x509.GeneralName]) -> Certificate:
    is_agent = isinstance(role, AgentRole)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not is_agent,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(public.fingerprint))
        .issuer_name(_name(issuer.fingerprint))
        .public_key(public.key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=not is_agent, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier(public.fingerprint), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(issuer.fingerprint, None, None), critical=False)
        .add_extension(x509.UnrecognizedExtension(_OID, _encode(role)), critical=False)
    )
    if is_agent:
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    signed = builder.sign(issuer.key, hashes.SHA256())
    return Certificate.decode_untrusted(signed.public_bytes(serialization.Encoding.DER))


def _name(fingerprint: bytes) -> x509.Name:
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise ValueError(f"a fingerprint of {len(fingerprint)} bytes: expected {FINGERPRINT_BYTES}")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, fingerprint.hex())])


def _uri(role: AgentRole) -> str:
    return f"meshp2p://{role.mesh.hex()}/{quote(role.id, safe='')}"
