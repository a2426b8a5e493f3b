"""How a node comes to be one of a secured mesh: by the credential that its user has for the mesh of that name."""

from __future__ import annotations

import logging

import trio

from meshp2p.errors import LocalProtocolError, StartError, StoreError
from meshp2p.net.tls import NodeTls
from meshp2p.store.credentials import CredentialDirectory
from meshp2p.trust.keys import PrivateKey

__all__ = ["open_security"]

_log = logging.getLogger("meshp2p.node")


def open_security(directory: CredentialDirectory, instance_id: str, hostname: str) -> NodeTls:
    """A certificate for this process of the instance, and the trust map of its user. Raises :class:`StartError` if this
    machine may not use that id or was revoked, :class:`~meshp2p.errors.StoreError` if the credential is not usable."""
    credential = directory.load()
    key = PrivateKey.generate()
    try:
        certificate = credential.issue_agent(key.public, instance_id, directory.next_boot(), [hostname])
    except LocalProtocolError as error:
        raise StartError(
            f"{error}; to join the mesh again, remove {str(directory.path)!r} and run: meshp2p join"
        ) from error
    stamp = directory.trust_stamp()

    def refresh() -> None:
        nonlocal stamp
        if (now := directory.trust_stamp()) != stamp:
            stamp = now
            try:
                credential.trust.merge_untrusted(directory.load_statements())
            except StoreError as error:
                _log.error("what other processes noted of trust is not used: %s", error)

    async def keep() -> None:
        try:
            await trio.to_thread.run_sync(directory.update_trust, credential)
        except StoreError as error:
            _log.error("what was learnt of trust is not kept, and is used until this process ends: %s", error)

    return NodeTls(credential, key, certificate, refresh=refresh, keep=keep)
