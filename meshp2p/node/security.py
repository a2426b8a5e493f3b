"""What a user's credential is used for: the TLS identity of a node in a secured mesh, and of a caller."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable

import trio

from meshp2p.errors import LocalProtocolError, StartError, StoreError
from meshp2p.net.tls import NodeTls, make_caller_context
from meshp2p.store.credentials import CredentialDirectory
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.keys import PrivateKey

__all__ = ["open_caller", "open_security"]

_log = logging.getLogger("meshp2p.node")


def open_security(directory: CredentialDirectory, instance_id: str, hostname: str) -> NodeTls:
    """Issue a certificate for this process, and load the trust map of its user.

    Raises :class:`StartError` if this machine may not use the id or was revoked, and
    :class:`~meshp2p.errors.StoreError` if the credential cannot be used.
    """
    credential = directory.load()
    key = PrivateKey.generate()
    try:
        certificate = credential.issue_agent(key.public, instance_id, directory.next_boot(), [hostname])
    except LocalProtocolError as error:
        raise StartError(
            f"{error}; to join the mesh again, remove {str(directory.path)!r} and run: meshp2p join"
        ) from error

    async def keep() -> None:
        try:
            await trio.to_thread.run_sync(directory.update_trust, credential)
        except StoreError as error:
            _log.error("changes of the trust map cannot be stored, and are lost when this process ends: %s", error)

    return NodeTls(credential, key, certificate, refresh=_refresher(directory, credential), keep=keep)


def open_caller(directory: CredentialDirectory) -> ssl.SSLContext:
    """What a caller of the HTTP API of a secured mesh needs to show who it is and to verify nodes. Raises
    :class:`~meshp2p.errors.StoreError` if the credential cannot be used."""
    credential = directory.load()
    return make_caller_context(credential, _refresher(directory, credential))


def _refresher(directory: CredentialDirectory, credential: MachineCredential) -> Callable[[], None]:
    """Takes into the trust map of ``credential`` what other processes have written."""
    stamp = directory.trust_stamp()

    def refresh() -> None:
        nonlocal stamp
        if (now := directory.trust_stamp()) != stamp:
            stamp = now
            try:
                credential.trust.merge_untrusted(directory.load_statements())
            except StoreError as error:
                _log.error("the trust map on disk cannot be read and is not used: %s", error)

    return refresh
