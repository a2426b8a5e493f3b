"""``meshp2p token`` and ``meshp2p ca``: tokens and the root certificate, for callers of a secured mesh over HTTP."""

from __future__ import annotations

import argparse
import time
from typing import Any

from meshp2p.cli.membership import add_mesh_option, credential_directory, duration
from meshp2p.cli.output import printable, warn, write_line
from meshp2p.trust.tokens import issue_token

__all__ = ["add_commands"]

TOKEN_SECONDS = 30 * 86400.0
"""How long a token is valid by default."""


def add_commands(commands: Any) -> None:
    token = commands.add_parser(
        "token",
        description="Print a token, signed by this machine. A program sends it as `Authorization: Bearer TOKEN`. No"
        " node is asked. The token permits acting as the instances of --agent, and reading unless --scope says"
        " otherwise.",
    )
    add_mesh_option(token)
    token.add_argument(
        "--agent",
        dest="agents",
        action="append",
        default=[],
        metavar="ID",
        help="an id or a pattern of ids that it may act as; may be repeated",
    )
    token.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        choices=("read", "admin"),
        help="what else the token permits (default: read); may be repeated",
    )
    token.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        default=TOKEN_SECONDS,
        metavar="TIME",
        help="how long it is valid, such as 1h or 30d (default: 30d)",
    )
    token.set_defaults(run=_token)

    ca = commands.add_parser(
        "ca",
        description="Print the root certificate of a mesh in PEM. It is no secret. Programs verify the nodes with it,"
        " as with `curl --cacert FILE`.",
    )
    add_mesh_option(ca)
    ca.set_defaults(run=_ca)


def _token(options: argparse.Namespace) -> int:
    credential = credential_directory(options.mesh).load()
    scopes = [*(options.scopes or ["read"]), *(f"agent:{pattern}" for pattern in options.agents)]
    subject = options.agents[0] if options.agents else credential.machine.label
    expires_at = int(time.time() + options.seconds)
    text, token = issue_token(credential, subject, scopes, expires_at)
    write_line(text)
    warn(f"token {token.id}: scope {printable(' '.join(scopes))}")
    return 0


def _ca(options: argparse.Namespace) -> int:
    credential = credential_directory(options.mesh).load()
    write_line(credential.root.to_pem().decode().rstrip())
    return 0
