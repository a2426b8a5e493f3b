"""``meshp2p revoke``: shut a machine, an agent or a token out of a secured mesh."""

from __future__ import annotations

import argparse
from typing import Final

import trio

from meshp2p.cli.ask import find_announced
from meshp2p.cli.joining import resolve
from meshp2p.cli.membership import credential_directory
from meshp2p.cli.output import printable, warn, write_line
from meshp2p.core.address import Address
from meshp2p.errors import ConfigError, LocalProtocolError, RemoteProtocolError, Revoked, StartError, Unreachable
from meshp2p.net.sockets import connect_tcp
from meshp2p.net.tls import NodeTls
from meshp2p.node.security import open_security
from meshp2p.store.credentials import CredentialDirectory, load_key
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.keys import PrivateKey
from meshp2p.trust.tokens import token_signer

__all__ = ["revoke"]

PREFIX_MIN: Final = 8
"""The shortest beginning of a fingerprint that names a machine."""

_TOLD_MAX = 8
_TELL_SECONDS = 5.0


def revoke(options: argparse.Namespace) -> int:
    directory = credential_directory(options.mesh)
    credential = directory.load()
    if (options.id is None) is (options.token is None):
        raise ConfigError("name the agent or machine to revoke, or a token with --token")
    author = directory.load_root_key() if options.root_key is None else load_key(options.root_key)
    for target in _find_targets(options, directory, credential):
        _sign(options, credential, author or credential.key, target)
    directory.update_trust(credential)
    warn("nodes of this user on this machine act on it at once, and tell the nodes that they are connected to")
    told, failures = trio.run(_tell, options, directory, credential)
    if told:
        warn(f"nodes told: {', '.join(sorted(told))}")
    elif options.at is not None:
        raise Unreachable(f"--at {options.at}: the node there was not told: {'; '.join(failures)}")
    else:
        warn(f"no node was told ({'; '.join(failures) or 'none was found on the network'}): see --at")
    return 0


def _find_targets(
    options: argparse.Namespace, directory: CredentialDirectory, credential: MachineCredential
) -> list[bytes]:
    """Return the machines that the options name: one, or all on which an agent is to be revoked. Raises
    :class:`ConfigError`."""
    name, machines = options.id, credential.trust.machines
    if name is None:
        signer = token_signer(options.token, credential.trust)
        if signer is None:
            raise ConfigError(
                f"--token {options.token!r}: expected the jti of a token, signed by a machine of the mesh"
            )
        return [signer.key.fingerprint]
    known = {machine for machine, instance_id in directory.load_agents() if instance_id == name} & machines.keys()
    if not options.only_agent:
        prefix = name.lower() if len(name) >= PREFIX_MIN else "no prefix"
        known |= {key for key, one in machines.items() if one.label == name or key.hex().startswith(prefix)}
    if not known:
        what = "agent" if options.only_agent else "machine or agent"
        raise ConfigError(
            f"no {what} {name!r} is known here: name a machine that `meshp2p trust` lists, by its label or by"
            f" {PREFIX_MIN} or more digits of its fingerprint, or an agent that was connected to a node of this user"
        )
    trusted = [key for key in sorted(known) if credential.trust.is_trusted(key)]
    if options.only_agent:
        return trusted or sorted(known)
    if len(trusted or known) > 1:
        which = ", ".join(f"{machines[key].label} {key.hex()[:16]}" for key in trusted or sorted(known))
        raise ConfigError(f"{name!r} may be several machines: {which}; name one by its fingerprint")
    target = (trusted or sorted(known))[0]
    if target == credential.key.fingerprint:
        raise ConfigError(f"{name!r} is this machine: revoke it from another one, or --only-agent")
    return [target]


def _sign(options: argparse.Namespace, credential: MachineCredential, author: PrivateKey, target: bytes) -> None:
    """Revoke a machine, agent or token, and print the consequences."""
    trust = credential.trust
    machines = trust.machines
    agent, token = options.id if options.only_agent else "", options.token or ""
    label = trust.label_of(target)
    if not trust.is_trusted(target, agent=agent, token=token):
        write_line(printable(f"it is revoked already: {trust.why_revoked(target, agent=agent) or f'token {token}'}"))
        return
    if not credential.is_trusted and author is credential.key:
        raise LocalProtocolError(f"this machine was revoked from mesh {credential.name!r}: it can revoke nobody")
    before = {key for key in machines if trust.is_trusted(key)}
    try:
        trust.revoke(author, target, agent=agent, token=token, keep_invited=options.keep_invited)
    except RemoteProtocolError as error:
        raise LocalProtocolError(
            f"this machine may not revoke {label}: only the root, an admin, and a machine above it in `meshp2p trust`"
            " may; --root-key FILE takes the exported root key"
        ) from error
    what = f"agent {agent!r} on machine {label}" if agent else f"token {token!r} of machine {label}" if token else ""
    write_line(printable(f"{what or f'machine {label}'} is revoked"))
    for key in before - {target}:
        if not trust.is_trusted(key):
            write_line(printable(f"machine {machines[key].label!r}, which it let in, is revoked with it"))


async def _tell(
    options: argparse.Namespace, directory: CredentialDirectory, credential: MachineCredential
) -> tuple[set[str], list[str]]:
    """Connect to nodes of the mesh, which compare trust maps with each new connection. Return the ids of those that
    were told, and why others were not."""
    told: set[str] = set()
    failures: list[str] = []
    pattern = max(credential.machine.id_patterns, key=len, default="*")
    try:
        security = open_security(directory, pattern.replace("*", "revoke") or "revoke", "")
    except (Revoked, StartError) as error:  # this machine was revoked too, or may not use such an id
        return told, [str(error)]
    found = [await resolve(options.at)] if options.at else await find_announced(credential.announced_name, enough=None)
    async with trio.open_nursery() as nursery:
        for addresses in list(dict.fromkeys(found))[:_TOLD_MAX]:
            nursery.start_soon(_tell_one, security, addresses, told, failures)
    return told, failures


async def _tell_one(security: NodeTls, addresses: tuple[Address, ...], told: set[str], failures: list[str]) -> None:
    for address in addresses:
        failure = f"{address} did not answer within {_TELL_SECONDS:g} s"
        with trio.move_on_after(_TELL_SECONDS):
            try:
                stream = await security.dial(await connect_tcp(address))
            except (OSError, ValueError, RemoteProtocolError) as error:
                failure = f"{address}: {error}"
            else:
                told.add(stream.instance_id)
                await trio.aclose_forcefully(stream)
                return
        failures.append(failure)
