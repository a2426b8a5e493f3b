"""Users of this machine who are in secured meshes, for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshp2p.store.credentials import CredentialDirectory, Credentials
from meshp2p.store.user_data import meshes_directory
from meshp2p.trust.credential import found_mesh
from meshp2p.trust.keys import PrivateKey
from tests.trust.builders import invite_credential

__all__ = ["Users"]


class Users:
    """Users of this machine, each with a data directory. Whoever acts is the process's user."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._monkeypatch = monkeypatch

    def act(self, name: str) -> None:
        self._monkeypatch.setenv("XDG_DATA_HOME", str(self._directory / name))

    def found(self, name: str, mesh: str = "studio") -> tuple[PrivateKey, CredentialDirectory]:
        self.act(name)
        root_key, credential = found_mesh(mesh, name)
        return root_key, Credentials(meshes_directory()).add(credential, root_key)

    def invite(
        self,
        inviter: CredentialDirectory,
        name: str,
        *,
        ids: str = "*",
        may_invite: bool = False,
        is_admin: bool = False,
    ) -> CredentialDirectory:
        credential = inviter.load()
        invited = invite_credential(credential, name, ids=ids, may_invite=may_invite, is_admin=is_admin)
        inviter.update_trust(credential)
        self.act(name)
        return Credentials(meshes_directory()).add(invited)
