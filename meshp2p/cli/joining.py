"""``meshp2p invite`` and ``meshp2p join``: let a machine into a secured mesh."""

from __future__ import annotations

import argparse
import os
import sys

import trio

from meshp2p.cli.ask import BROWSE_SECONDS, find_announced
from meshp2p.cli.membership import credential_directory, label_of, own_credentials
from meshp2p.cli.output import printable, progress, warn, write_line
from meshp2p.core.address import Address, parse_endpoint
from meshp2p.errors import ConfigError, JoinFailed, LocalProtocolError
from meshp2p.net.joining import join_at
from meshp2p.node.inviting import CODE_SECONDS, announced_name, serve_invitation
from meshp2p.node.security import TrustOnDisk
from meshp2p.node.settings import JOIN_TOKEN_VARIABLE
from meshp2p.store.credential_bundle import bundle_of
from meshp2p.store.credentials import CredentialDirectory
from meshp2p.store.private_files import write_secret
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.joining import Invitation, NewcomerSide
from meshp2p.trust.spoken import JoinCode, JoinToken, parse_invitation

__all__ = ["invite", "join", "resolve"]


# Inviting


def invite(options: argparse.Namespace) -> int:
    directory = credential_directory(options.mesh)
    credential = directory.load()
    machine = credential.machine
    if not (credential.is_trusted and machine.may_invite):
        raise LocalProtocolError(
            f"this machine may not invite others to mesh {credential.name!r}: run meshp2p invite on one that `meshp2p"
            " trust` lists with 'may invite'"
        )
    if options.admin and not machine.is_admin:
        raise LocalProtocolError(f"this machine is no admin of mesh {credential.name!r}: only admins make admins")
    if options.uses is not None and not options.token:
        raise ConfigError(f"--uses {options.uses}: expected only beside --token")
    secret = JoinToken.draw(credential.mesh_id) if options.token else JoinCode.draw()
    return trio.run(_serve_invitation, options, directory, credential, secret)


async def _serve_invitation(
    options: argparse.Namespace,
    directory: CredentialDirectory,
    credential: MachineCredential,
    secret: JoinCode | JoinToken,
) -> int:
    seconds = CODE_SECONDS if options.seconds is None else options.seconds
    invitation = Invitation(
        secret,
        trio.current_time() + seconds,
        uses=options.uses or 1,
        ids=options.ids,
        may_invite=options.may_invite,
        is_admin=options.admin,
    )

    def show(port: int) -> None:
        if options.token:
            write_line(secret.text)
        else:
            write_line(f"on the other machine run  meshp2p join  and type the code:  {secret.text}")
        warn(f"the invitation is open at port {port} for {seconds:g} s, as long as this command runs")

    disk = TrustOnDisk(directory, credential)
    await serve_invitation(
        credential,
        invitation,
        disk,
        lambda text: write_line(printable(text)),
        show,
        host=options.host,
        port=options.port,
    )
    if invitation.uses_left == 0 or (options.token and invitation.uses_left < (options.uses or 1)):
        return 0
    if invitation.has_failed:
        warn(f"wrong codes ended the invitation: from {', '.join(invitation.wrong)}; run meshp2p invite again")
    else:
        warn("nobody joined in time: run meshp2p invite again")
    return 1


# Joining


def join(options: argparse.Namespace) -> int:
    secret = parse_invitation(os.environ.get(JOIN_TOKEN_VARIABLE) or _ask())
    own = own_credentials()
    if options.export is not None and options.export.exists():
        raise ConfigError(f"--export {str(options.export)!r}: expected a file that does not exist")
    if options.export is None and secret.mesh_id is not None and own.has(secret.mesh_id):
        write_line("this user is in the mesh already")
        return 0
    credential = trio.run(_join_mesh, options, secret)
    if options.export is None:
        own.add(credential)
    else:
        write_secret(options.export, bundle_of(credential))
    inviter = credential.trust.machines.get(credential.machine.inviter)
    by = "" if inviter is None else f", invited by {inviter.label}"
    write_line(printable(f"joined mesh {credential.name!r}{by}"))
    if options.export is None:
        write_line(printable(f"agents that this user starts here with mesh={credential.name!r} are in it"))
    else:
        write_line(printable(f"nodes with credentials={str(options.export)!r} are in it"))
    return 0


def _ask() -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        print("code: ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline() if sys.stdin is not None else ""
    if not line.strip():
        raise ConfigError(f"no code was given: type it, or set {JOIN_TOKEN_VARIABLE}")
    return line


async def _join_mesh(options: argparse.Namespace, secret: JoinCode | JoinToken) -> MachineCredential:
    if options.at is not None:
        addresses = await resolve(options.at)
    else:
        with progress("looking for the inviter"):
            found = await find_announced(announced_name(secret))
        if not found:
            raise JoinFailed(
                f"no open invitation with this code was seen on this network in {BROWSE_SECONDS:g} s: does meshp2p"
                " invite still run? If no multicast passes between the machines, name the inviter with --at HOST:PORT"
            )
        addresses = found[0]
    return await join_at(addresses, NewcomerSide(secret, label_of(options)))


async def resolve(text: str) -> tuple[Address, ...]:
    """Return the addresses of ``--at``. Raises :class:`JoinFailed`."""
    endpoint = parse_endpoint(text)
    try:
        found = await trio.socket.getaddrinfo(endpoint.host, endpoint.port, type=trio.socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise JoinFailed(f"--at {text}: {error}") from error
    return tuple(Address(str(entry[4][0]), endpoint.port) for entry in found)
