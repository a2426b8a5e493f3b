"""The TLS identities that a user's credential gives to nodes of a secured mesh, and to callers."""

from __future__ import annotations

import ssl

import trio

from meshp2p.errors import LocalProtocolError, StartError
from meshp2p.net.mesh_trust import MeshTrust, revoked_error
from meshp2p.net.tls import NodeTls, make_caller_context
from meshp2p.store.credential_bundle import CredentialBundle
from meshp2p.store.credentials import CredentialDirectory
from meshp2p.store.trust_files import Boots
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.keys import PrivateKey

__all__ = ["TrustOnDisk", "open_caller", "open_security"]


def open_security(directory: CredentialDirectory | CredentialBundle, instance_id: str, hostname: str) -> NodeTls:
    """Issue a certificate for this process, and load the trust map of its user.

    Raises :class:`~meshp2p.errors.Revoked`, :class:`StartError` if this machine may not use the id, and
    :class:`~meshp2p.errors.StoreError` if the credential cannot be used.
    """
    credential = directory.load()
    key = PrivateKey.generate()
    revoked = revoked_error(credential, instance_id)
    if revoked is not None:
        raise revoked
    try:
        certificate = credential.issue_agent(key.public, instance_id, directory.next_boot(), [hostname])
    except LocalProtocolError as error:
        raise StartError(str(error)) from error
    disk = TrustOnDisk(directory, credential)
    return NodeTls(MeshTrust(credential, instance_id, directory.load_agents(), disk), key, certificate)


def open_caller(directory: CredentialDirectory | CredentialBundle) -> ssl.SSLContext:
    """Return the TLS context with which a caller of the HTTP API of a secured mesh proves its identity and verifies
    nodes. Raises :class:`~meshp2p.errors.StoreError` if the credential cannot be used."""
    credential = directory.load()
    return make_caller_context(credential, MeshTrust(credential, "", {}, TrustOnDisk(directory, credential)).refresh)


class TrustOnDisk:
    """Keeps the trust map of a loaded credential equal to the one on disk, which other processes of this user write
    too. It is a :class:`~meshp2p.net.mesh_trust.TrustStore`. Each method raises :class:`~meshp2p.errors.StoreError`."""

    def __init__(self, directory: CredentialDirectory | CredentialBundle, credential: MachineCredential) -> None:
        self._directory = directory
        self._credential = credential
        self._stamp: object = None

    def refresh(self) -> None:
        """Merge the statements that other processes wrote."""
        if (stamp := self._directory.trust_stamp()) != self._stamp:
            self._credential.trust.merge_untrusted(self._directory.load_statements())
            self._stamp = stamp  # not before: what could not be read is read again

    async def keep(self) -> None:
        """Write the trust map. The map itself is used in this thread only."""
        while True:
            self.refresh()
            statements, stamp = self._credential.trust.statements(), self._stamp
            if await trio.to_thread.run_sync(self._directory.write_trust, statements, stamp):
                return

    async def keep_agents(self, boots: Boots) -> None:
        """Write the agents that were met."""
        await trio.to_thread.run_sync(self._directory.add_agents, boots)
