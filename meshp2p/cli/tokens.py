"""``meshp2p token`` and ``meshp2p ca``: tokens and the root certificate, for callers of a secured mesh over HTTP."""

from __future__ import annotations

import argparse
import time

from meshp2p.cli.membership import credential_directory
from meshp2p.cli.output import printable, warn, write_line
from meshp2p.trust.tokens import issue_token

__all__ = ["ca", "token"]


def token(options: argparse.Namespace) -> int:
    credential = credential_directory(options.mesh).load()
    scopes = [*(options.scopes or ["read"]), *(f"agent:{pattern}" for pattern in options.agents)]
    subject = options.agents[0] if options.agents else credential.machine.label
    expires_at = int(time.time() + options.seconds)
    text, token = issue_token(credential, subject, scopes, expires_at)
    write_line(text)
    warn(f"token {token.id}: scope {printable(' '.join(scopes))}")
    return 0


def ca(options: argparse.Namespace) -> int:
    credential = credential_directory(options.mesh).load()
    write_line(credential.root.to_pem().decode().rstrip())
    return 0
