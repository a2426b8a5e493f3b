"""``meshp2p open``: open the live page of a node in a browser."""

from __future__ import annotations

import argparse
import os
import time
import webbrowser
from urllib.parse import urlsplit

import trio

from meshp2p.cli.ask import open_client
from meshp2p.cli.configuration import mesh_config
from meshp2p.cli.output import warn, write_line
from meshp2p.client.node_requests import decode, made
from meshp2p.errors import ConfigError
from meshp2p.net.interfaces import list_interfaces
from meshp2p.node.config import is_loopback
from meshp2p.node.secured_meshes import find_credential
from meshp2p.node.settings import TOKEN_VARIABLE
from meshp2p.trust.grants import covers
from meshp2p.wire.contract import AdminKeyResponse

__all__ = ["open_page"]

_TOKEN_SECONDS = 12 * 3600  # as long as a session: chosen, not measured


async def open_page(options: argparse.Namespace) -> int:
    if options.admin and os.environ.get(TOKEN_VARIABLE):
        raise ConfigError(f"--admin shows the certificate of this machine, not a token: unset {TOKEN_VARIABLE}")
    async with open_client(options, token=_make_token(options)) as client:
        link = await client.session_link()
    url = _shown(link)
    if options.admin:
        node = link.removesuffix(urlsplit(link).path)
        # this client shows the certificate of this machine, which nobody can replay
        async with open_client(options, node=node) as client:
            response = await client._requests.send("POST", "/administration", None)
            key = made(response, lambda: decode(response, AdminKeyResponse).key)
        write_line(f"{url}#admin={key}")
        return 0
    if options.is_printed:
        write_line(url)
        return 0
    if url.startswith("https:"):
        warn("the browser knows the certificate of the node if it has imported what `meshp2p ca` prints")
    if not await trio.to_thread.run_sync(webbrowser.open, url):
        warn("no browser was found: run meshp2p open --print, and open that URL")
        return 1
    return 0


def _make_token(options: argparse.Namespace) -> str | None:
    """Return a token for a browser, signed by this machine; None in an open mesh, or if the environment has one."""
    if os.environ.get(TOKEN_VARIABLE):
        return None
    directory = find_credential(mesh_config(options))
    if directory is None:
        return None
    from meshp2p.trust.tokens import issue_token  # noqa: PLC0415  # it brings cryptography

    credential = directory.load()
    limits = credential.machine.id_patterns
    scopes = ["read", *(f"agent:{one}" for one in limits if all(covers(limit, one) for limit in limits))]
    return issue_token(credential, credential.machine.label, scopes, int(time.time()) + _TOKEN_SECONDS)[0]


def _shown(url: str) -> str:
    """Return the URL for a browser on this machine. At a node of this machine it needs no certificate."""
    host = urlsplit(url).hostname or ""
    own = {address for interface in list_interfaces() for address in interface.addresses}
    if url.startswith("https:") and (is_loopback(host) or host in own):
        return f"http:{url.removeprefix('https:')}"
    return url
