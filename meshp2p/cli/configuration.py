"""The options of the commands that read a node's configuration: one runs the node, one examines what it would do."""

from __future__ import annotations

import argparse

from meshp2p.node.config import NodeConfig
from meshp2p.node.settings import load_config

__all__ = ["add_configuration", "configuration_of"]

CONFIGURED = frozenset(("preset", *NodeConfig.__struct_fields__))
"""The options that become values of the configuration."""


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """Add the options that the commands share."""
    parser.add_argument(
        "--config", metavar="FILE", help="a TOML file to take values from (MESHP2P_CONFIG names it if absent)"
    )
    parser.add_argument("--mesh", metavar="NAME", help="the mesh's name (default)")
    parser.add_argument("--host", help="the address to bind to (loopback)")
    parser.add_argument("--port", type=int, help="UDP and TCP port; 0 takes any (7700, or any if that is taken)")
    parser.add_argument(
        "--join", action="append", metavar="NODE", help="a node to begin with, HOST:PORT or URL; may repeat"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where the node keeps its identity, known peers and messages")
    parser.add_argument(
        "--insecure-lan",
        action="store_true",
        default=None,
        help="bind to all addresses, without encryption or authentication",
    )


def configuration_of(options: argparse.Namespace) -> NodeConfig:
    """The configuration: options first, then ``MESHP2P_...`` variables, then the file. Raises
    :class:`~meshp2p.errors.ConfigError`."""
    given = {name: value for name, value in vars(options).items() if name in CONFIGURED and value is not None}
    return load_config(options.config, is_strict=True, **given)
