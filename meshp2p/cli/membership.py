"""``meshp2p init``, ``meshp2p trust`` and ``meshp2p root``: a secured mesh, as this user of this machine has it."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import re
import socket
from pathlib import Path
from typing import Any

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

__all__ = ["add_commands", "add_mesh_option", "credential_directory", "default_label", "duration", "own_credentials"]

_LOOK_SECONDS = 2.0
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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


def add_commands(commands: Any) -> None:
    init = commands.add_parser(
        "init",
        description="Create a secured mesh. This machine is its first, is an admin and may invite others. It keeps"
        " the root key of the mesh until `meshp2p root export` moves the key to a file.",
    )
    init.add_argument("name", metavar="NAME", help="the name of the mesh, such as studio")
    init.add_argument("--label", default=default_label(), help="the name of this machine in lists (default: USER@HOST)")
    init.set_defaults(run=_init)

    trust = commands.add_parser("trust", description="List the machines of a secured mesh and their inviters.")
    add_mesh_option(trust)
    trust.add_argument("--json", action="store_true", help="print each machine as a JSON object on a line")
    trust.set_defaults(run=_trust)

    root = commands.add_parser("root", description="Move the root key of a secured mesh.")
    actions = root.add_subparsers(title="actions", metavar="ACTION", required=True)
    export = actions.add_parser(
        "export",
        help="move the root key to a file",
        description="Move the root key of a mesh to a new file. The mesh works without it. The key can invite and"
        " revoke any machine: store the file away from the network.",
    )
    export.add_argument("file", metavar="FILE", type=Path, help="a file that does not exist yet")
    add_mesh_option(export)
    export.set_defaults(run=_export)


def add_mesh_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names one of the meshes of this user."""
    parser.add_argument(
        "--mesh", metavar="NAME", help="the mesh (default: MESHP2P_MESH, or the only one that this user is in)"
    )


def duration(text: str) -> float:
    """Return the seconds of an argument such as 90s, 10m, 1h or 30d."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number and s, m, h or d, such as 1h")
    return float(match[1]) * _UNITS[match[2]]


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


def default_label() -> str:
    """Return ``user@host`` without characters that cannot be shown."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        user = "user"
    label = "".join(character for character in f"{user}@{socket.gethostname()}" if character.isprintable())
    return label[:LABEL_CHARACTERS_MAX]


def _init(options: argparse.Namespace) -> int:
    own = own_credentials()
    if own.find(options.name) is not None:
        raise ConfigError(f"this user is in a mesh {options.name!r} already: choose another name")
    root_key, credential = found_mesh(options.name, options.label)
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


def _trust(options: argparse.Namespace) -> int:
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


def _export(options: argparse.Namespace) -> int:
    credential_directory(options.mesh).export_root_key(options.file)
    write_line(printable(f"the root key is in {str(options.file)!r} now, and no longer in this user's data directory"))
    warn("this file can invite and revoke any machine: put it away from the network")
    return 0
