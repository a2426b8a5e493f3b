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
        "--config", metavar="FILE", help="a TOML file with options (default: the file that MESHP2P_CONFIG names)"
    )
    parser.add_argument(
        "--mesh", metavar="NAME", help='the name of the mesh (default: the one that this user joined, else "default")'
    )
    parser.add_argument(
        "--credentials", metavar="FILE", help="the credential of a secured mesh, as meshp2p join --export wrote it"
    )
    parser.add_argument("--host", help="the address to bind to (default: loopback)")
    parser.add_argument(
        "--port", type=int, help="the UDP and TCP port; 0 means any free port (default: 7700, or any if that is taken)"
    )
    parser.add_argument(
        "--join", action="append", metavar="NODE", help="a node to contact first, HOST:PORT or URL; may be repeated"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="the directory in which the node stores its identity, known peers and messages",
    )
    parser.add_argument(
        "--insecure-lan",
        action="store_true",
        default=None,
        help="bind to all addresses, so that other machines can reach the node",
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help=f"a set of options for one kind of network: {', '.join(one.name for one in PRESETS)}",
    )
    parser.add_argument(
        "--id", help="the id of the node, 1 to 128 bytes (default: made from the time and the host name)"
    )
    parser.add_argument(
        "--no-mdns",
        dest="mdns",
        action="store_false",
        default=None,
        help="do not announce this node by mDNS, and do not look for others",
    )
    parser.add_argument(
        "--beacon",
        action=argparse.BooleanOptionalAction,
        help="turn the UDP beacon on or off (default: the same as mDNS)",
    )
    parser.add_argument(
        "--capability",
        dest="capabilities",
        action="append",
        metavar="NAME",
        help="a capability of this agent; may be repeated",
    )
    parser.add_argument(
        "--profile",
        dest="profiles",
        action="append",
        metavar="NAME",
        help="a profile of this agent; may be repeated",
    )
    parser.add_argument(
        "--allow-host",
        dest="allow_hosts",
        action="append",
        metavar="NAME",
        help="another host name under which HTTP callers may address this node; may be repeated",
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
