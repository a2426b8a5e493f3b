"""``meshp2p init``, ``meshp2p trust`` and ``meshp2p root``: a secured mesh, as this user of this machine has it."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import socket

import msgspec
import trio

from meshp2p.cli.output import printable, to_json_line, warn, write_line
from meshp2p.discovery.mdns import browse_once, multicast_interfaces
from meshp2p.errors import ConfigError, NotInvited, StartError
from meshp2p.net.interfaces import list_interfaces
from meshp2p.node.config import DEFAULT_PORT
from meshp2p.node.platform import find_place
from meshp2p.node.settings import load_config
from meshp2p.store.credentials import CredentialDirectory, Credentials
from meshp2p.store.user_data import meshes_directory
from meshp2p.trust.certificates import LABEL_CHARACTERS_MAX
from meshp2p.trust.credential import MachineCredential, found_mesh
from meshp2p.trust.machines import MeshMachine

__all__ = ["credential_directory", "export", "init", "label_of", "own_credentials", "trust"]

_LOOK_SECONDS = 2.0


class _MachineRow(msgspec.Struct):
    """A machine, as ``meshp2p trust --json`` prints it."""

    label: str
    fingerprint: str
    invited_by: str | None
    is_trusted: bool
    may_invite: bool
    is_admin: bool
    ids: list[str]
    is_this_machine: bool


def own_credentials() -> Credentials:
    """Return the credentials of this user on this machine."""
    return Credentials(meshes_directory())


def credential_directory(mesh: str | None) -> CredentialDirectory:
    """Return the mesh that the options or the configuration name. Raises :class:`NotInvited` if this user is not in
    it."""
    mesh = load_config(is_strict=True).mesh if mesh is None else mesh
    found = own_credentials().find(mesh)
    if found is None:
        which = "in a secured mesh" if mesh is None else f"in a secured mesh {mesh!r}"
        raise NotInvited(f"this user is not {which}: run meshp2p join to join one, or meshp2p init NAME to make one")
    return found


def label_of(options: argparse.Namespace) -> str:
    """Return the ``--label`` of this machine, or ``user@host`` without characters that cannot be shown."""
    if options.label is not None:
        return str(options.label)
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        user = "user"
    label = "".join(character for character in f"{user}@{socket.gethostname()}" if character.isprintable())
    return label[:LABEL_CHARACTERS_MAX]


def init(options: argparse.Namespace) -> int:
    own = own_credentials()
    if own.find(options.name) is not None:
        raise ConfigError(f"this user is in a mesh {options.name!r} already: choose another name")
    root_key, credential = found_mesh(options.name, label_of(options))
    if options.name in trio.run(_announced_names):
        raise ConfigError(
            f"a mesh {options.name!r} is announced on this network: run meshp2p join to join it, or choose another name"
        )
    own.add(credential, root_key)
    write_line(printable(f"mesh {options.name!r} is made: its id is {credential.mesh_id.hex()}"))
    write_line("to let another machine in, run here:  meshp2p invite")
    return 0


async def _announced_names() -> set[str]:
    """Return the names of the meshes that are announced by mDNS, secured and open ones."""
    with contextlib.suppress(StartError):
        place = find_place("::", DEFAULT_PORT, list_interfaces())
        found = await browse_once(None, _LOOK_SECONDS, multicast_interfaces(place.hosts))
        return {name for one in found for name in (one.mesh, one.mesh.partition(" ")[2])}
    return set()


def trust(options: argparse.Namespace) -> int:
    credential = credential_directory(options.mesh).load()
    machines = credential.trust.machines
    rows = [_row(credential, machine) for machine in machines.values()]
    if options.json:
        for row in rows:
            write_line(to_json_line(row))
        return 0
    write_line(printable(f"mesh {credential.name!r}, id {credential.mesh_id.hex()}"))
    for row, machine in zip(rows, machines.values(), strict=True):
        marks = [
            *(["revoked"] if not row.is_trusted else []),
            *(["admin"] if row.is_admin else []),
            *(["may invite"] if row.may_invite else []),
            *(["this machine"] if row.is_this_machine else []),
        ]
        inviter = "the root" if row.invited_by is None else machines[machine.inviter].label
        line = f"{'  ' * len(machine.chain)}{row.label}  {row.fingerprint[:16]}  invited by {inviter}"
        write_line(printable(line + (f"  ({', '.join(marks)})" if marks else "")))
    for revocation in credential.trust.revocations:
        if revocation.agent:
            label = machines[revocation.target].label
            write_line(printable(f"  agent {revocation.agent!r} on {label} is revoked"))
    return 0


def _row(credential: MachineCredential, machine: MeshMachine) -> _MachineRow:
    fingerprint = machine.key.fingerprint
    return _MachineRow(
        machine.label,
        fingerprint.hex(),
        machine.inviter.hex() if machine.inviter in credential.trust.machines else None,
        credential.trust.is_trusted(fingerprint),
        machine.may_invite,
        machine.is_admin,
        machine.id_patterns,
        fingerprint == credential.key.fingerprint,
    )


def export(options: argparse.Namespace) -> int:
    credential_directory(options.mesh).export_root_key(options.file)
    write_line(printable(f"the root key is in {str(options.file)!r} now, and no longer in this user's data directory"))
    warn("this file can invite and revoke any machine: put it away from the network")
    return 0
