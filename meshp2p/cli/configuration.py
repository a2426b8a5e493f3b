"""The options of the commands that read a node's configuration: one runs the node, one examines what it would do."""

from __future__ import annotations

import argparse

from meshp2p.core.presets import PRESETS
from meshp2p.node.config import NodeConfig
from meshp2p.node.settings import load_config

__all__ = ["add_configuration", "configuration_of"]

CONFIGURED = frozenset(("preset", *NodeConfig.__struct_fields__))
"""The options that become values of the configuration."""


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """Add the options of the configuration. Each of these commands takes all of them, so that the doctor can be given
    the arguments of a node as they are."""
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
        help="bind to all addresses, so that the LAN reaches the node",
    )
    parser.add_argument(
        "--preset", metavar="NAME", help=f"where the mesh runs: {', '.join(one.name for one in PRESETS)}"
    )
    parser.add_argument("--id", help="the node's id, 1 to 128 bytes (made from the time and the host's name)")
    parser.add_argument(
        "--no-mdns",
        dest="mdns",
        action="store_false",
        default=None,
        help="neither announce this node nor look for others by mDNS",
    )
    parser.add_argument(
        "--beacon",
        action=argparse.BooleanOptionalAction,
        help="look for others by the UDP beacon, or do not (as mDNS is)",
    )
    parser.add_argument(
        "--capability", dest="capabilities", action="append", metavar="NAME", help="what this agent can do; may repeat"
    )
    parser.add_argument(
        "--profile",
        dest="profiles",
        action="append",
        metavar="NAME",
        help="an agent profile that runs here; may repeat",
    )
    parser.add_argument(
        "--allow-host",
        dest="allow_hosts",
        action="append",
        metavar="NAME",
        help="another name or address of this node that callers may use; may repeat",
    )
    parser.add_argument(
        "--require-token",
        action="store_true",
        default=None,
        help="in a secured mesh, ask also programs on this machine for a token",
    )


def configuration_of(options: argparse.Namespace) -> NodeConfig:
    """The configuration: options first, then ``MESHP2P_...`` variables, then the file, then the preset. Raises
    :class:`~meshp2p.errors.ConfigError`."""
    given = {name: value for name, value in vars(options).items() if name in CONFIGURED and value is not None}
    return load_config(options.config, is_strict=True, **given)
