"""The TLS context of a client, which verifies nodes and has the certificate of the client."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from meshp2p.errors import ConfigError, NotInvited
from meshp2p.node.config import check_path
from meshp2p.store.user_data import meshes_directory

if TYPE_CHECKING:
    from meshp2p.store.credential_bundle import CredentialBundle  # they bring cryptography
    from meshp2p.store.credentials import CredentialDirectory

__all__ = ["make_context"]


def make_context(
    credentials: str | os.PathLike[str] | None, ca: str | os.PathLike[str] | None
) -> ssl.SSLContext | bool:
    """Return the TLS context for these arguments of a client. True stands for the default of httpx.

    Raises :class:`~meshp2p.errors.ConfigError`, :class:`~meshp2p.errors.NotInvited` and
    :class:`~meshp2p.errors.StoreError`.
    """
    if credentials is not None and ca is not None:
        raise ConfigError("credentials and ca: expected one of them, as the credentials name the root of the mesh")
    for field, path in (("credentials", credentials), ("ca", ca)):
        if path is not None and not isinstance(path, (str, os.PathLike)):
            raise ConfigError(f"{field} = {path!r:.80}: expected a path")
        if path is not None:
            check_path(field, path)
    if credentials is not None:
        from meshp2p.node.security import open_caller  # noqa: PLC0415  # it brings cryptography

        return open_caller(_find(credentials))
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"ca = {str(ca)!r}: expected a file of certificates in PEM: {error}") from None


def _find(credentials: str | os.PathLike[str]) -> CredentialDirectory | CredentialBundle:
    from meshp2p.node.secured_meshes import open_credentials  # noqa: PLC0415  # it brings meshp2p.net
    from meshp2p.store.credentials import Credentials  # noqa: PLC0415

    if not isinstance(credentials, str) or os.sep in credentials:
        return open_credentials(credentials)
    found = Credentials(meshes_directory()).find(credentials)
    if found is None:
        raise NotInvited(
            f"credentials = {credentials!r}: this user is in no secured mesh of that name: run meshp2p join, or name"
            f" the directory or file of a credential, as './{credentials}'"
        )
    return found
