"""The configuration of a node that the options of a command give."""

from __future__ import annotations

import argparse

from meshp2p.node.config import NodeConfig
from meshp2p.node.settings import load_config

__all__ = ["configuration_of"]

CONFIGURED = frozenset(("preset", *NodeConfig.__struct_fields__))
"""The options that become values of the configuration."""


def configuration_of(options: argparse.Namespace) -> NodeConfig:
    """The configuration: options first, then ``MESHP2P_...`` variables, then the file, then the preset. Raises
    :class:`~meshp2p.errors.ConfigError`."""
    given = {name: value for name, value in vars(options).items() if name in CONFIGURED and value is not None}
    return load_config(options.config, is_strict=True, **given)
