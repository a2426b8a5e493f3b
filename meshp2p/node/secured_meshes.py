"""The secured meshes that this user joined, and others on the network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from meshp2p.errors import ConfigError, StartError
from meshp2p.net.interfaces import advertised_addresses, list_interfaces
from meshp2p.node.config import DEFAULT_MESH, NodeConfig
from meshp2p.store.user_data import meshes_directory

if TYPE_CHECKING:
    from meshp2p.store.credential_bundle import CredentialBundle  # they bring cryptography
    from meshp2p.store.credentials import CredentialDirectory, Credentials

__all__ = [
    "announced_mesh",
    "choose_mesh",
    "count_secured",
    "find_credential",
    "how_to_join",
    "is_secured_as",
    "open_credentials",
    "split_announced",
]

_LOOK_SECONDS = 2.0


def choose_mesh(config: NodeConfig) -> NodeConfig:
    """Return the configuration with a mesh: the one that it names, that of its credentials, the one secured mesh that
    this user joined, or else ``default``.

    Raises :class:`ConfigError` if the user joined several, or the credentials are of another mesh, and
    :class:`~meshp2p.errors.StoreError` if a credential cannot be read.
    """
    if config.credentials is not None:
        name = open_credentials(config.credentials).load_name()
        if config.mesh not in (None, name):
            raise ConfigError(f"mesh = {config.mesh!r}: the credentials are of mesh {name!r}")
        return NodeConfig.of(config, mesh=name)
    if config.mesh is not None:
        return config
    joined = _joined()
    names = [] if joined is None else sorted(one.load_name() for one in joined.all())
    if len(names) > 1:
        raise ConfigError(
            f"mesh = None: this user is in {len(names)} secured meshes: {', '.join(map(repr, names))}. Name one, with"
            " mesh=, --mesh or MESHP2P_MESH"
        )
    return NodeConfig.of(config, mesh=names[0] if names else DEFAULT_MESH)


def find_credential(config: NodeConfig) -> CredentialDirectory | CredentialBundle | None:
    """Return the credential for the mesh of this configuration, or None if the mesh is open. Raises as
    :func:`choose_mesh` does."""
    if config.credentials is not None:
        return open_credentials(config.credentials, config.data_dir)
    joined = _joined()
    return None if joined is None else joined.find(config.mesh_name)


def announced_mesh(config: NodeConfig) -> str:
    """Return the name under which the mesh of this configuration is announced on the network. Raises as
    :func:`choose_mesh` does."""
    credential = find_credential(config)
    return config.mesh_name if credential is None else credential.load_announced_name()


def _joined() -> Credentials | None:
    try:
        meshes = meshes_directory()
        if not meshes.is_dir():
            return None
    except (ConfigError, OSError):  # a user without a home, or with one that is another's
        return None
    from meshp2p.store.credentials import Credentials  # noqa: PLC0415  # only where it is used

    return Credentials(meshes)


def open_credentials(
    credentials: str | os.PathLike[str] | bytes, data_dir: Path | None = None
) -> CredentialDirectory | CredentialBundle:
    """Return the credential in this directory or file, or with this content. ``data_dir`` is where its node keeps what
    it learns. Raises :class:`~meshp2p.errors.StoreError`."""
    from meshp2p.store.credential_bundle import CredentialBundle  # noqa: PLC0415  # only where it is used
    from meshp2p.store.credentials import CredentialDirectory  # noqa: PLC0415
    from meshp2p.store.private_files import read_secret  # noqa: PLC0415

    if isinstance(credentials, bytes):
        return CredentialBundle(credentials, "credentials", data_dir)
    directory = CredentialDirectory(credentials)
    if directory.path.is_dir():
        return directory
    return CredentialBundle(read_secret(directory.path), repr(str(directory.path)), data_dir)


# Meshes that this user is not in


async def count_secured(mesh: str) -> int:
    """Look by mDNS, on all networks of this machine, for nodes of secured meshes of this name, and return how many
    there are."""
    from meshp2p.discovery.mdns import browse_once, multicast_interfaces  # noqa: PLC0415  # only where it is used

    try:
        interfaces = list_interfaces()
        hosts = multicast_interfaces(advertised_addresses("::", lambda: interfaces))
        seen = await browse_once(None, _LOOK_SECONDS, hosts)
    except (OSError, StartError):
        return 0
    return len({one.instance_id for one in seen if is_secured_as(one.mesh, mesh)})


def is_secured_as(announced: str, mesh: str) -> bool:
    """Return whether the announced name is that of a secured mesh named ``mesh``."""
    mesh_id, name = split_announced(announced)
    return name == mesh and mesh_id is not None


def split_announced(announced: str) -> tuple[str | None, str]:
    """Return the id and the name of the mesh with this announced name. An open mesh has no id."""
    mesh_id, _, name = announced.partition(" ")
    return (mesh_id, name) if name and re.fullmatch("[0-9a-f]{32}", mesh_id) is not None else (None, announced)


def how_to_join(mesh: str, nodes: int) -> tuple[str, str]:
    """Return the reason and the advice to show if this machine is not in a secured mesh that is on the network."""
    count = "1 node" if nodes == 1 else f"{nodes} nodes"
    return (
        f"mesh {mesh!r} is on this network ({count}), and this machine is not in it",
        "to join, run `meshp2p invite` on a member and `meshp2p join` here",
    )
