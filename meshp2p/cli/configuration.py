"""The configuration that the options of a command give."""

from __future__ import annotations

import argparse
from pathlib import Path

from meshp2p.node.config import NodeConfig
from meshp2p.node.secured_meshes import choose_mesh, find_credential
from meshp2p.node.settings import load_config

__all__ = ["configuration_of", "credential_path", "mesh_config"]

CONFIGURED = frozenset(("preset", *NodeConfig.__struct_fields__))
"""The options that become values of the configuration."""


def configuration_of(options: argparse.Namespace) -> NodeConfig:
    """The configuration of a node: options first, then ``MESHP2P_...`` variables, then the file, then the preset.
    Raises :class:`~meshp2p.errors.ConfigError`."""
    given = {name: value for name, value in vars(options).items() if name in CONFIGURED and value is not None}
    return load_config(options.config, is_strict=True, **given)


def mesh_config(options: argparse.Namespace) -> NodeConfig:
    """Return the configuration of a command that asks a node: of the options only ``--mesh`` counts. Raises
    :class:`~meshp2p.errors.ConfigError`."""
    return choose_mesh(load_config(is_strict=True, **{} if options.mesh is None else {"mesh": options.mesh}))


def credential_path(config: NodeConfig) -> Path | None:
    """Return the path of the credential for the mesh of this configuration, or None if the mesh is open."""
    credential, named = find_credential(config), config.credentials
    return named if isinstance(named, Path) else getattr(credential, "path", None)
