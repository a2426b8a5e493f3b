"""An invitation into a secured mesh, served at a port of its own and announced on the network."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import trio

from meshp2p.discovery.beacon import BeaconSource
from meshp2p.discovery.mdns import MdnsSource, multicast_interfaces
from meshp2p.discovery.source import Sighting, Source
from meshp2p.errors import StoreError
from meshp2p.net.interfaces import list_interfaces
from meshp2p.net.joining import InvitationServer
from meshp2p.net.mesh_trust import TrustStore
from meshp2p.net.sockets import Sockets, open_sockets
from meshp2p.node.platform import find_place
from meshp2p.trust.credential import MachineCredential
from meshp2p.trust.joining import Invitation
from meshp2p.trust.spoken import JoinCode, JoinToken
from meshp2p.wire.codec import Codec

__all__ = ["CODE_SECONDS", "INVITATION_PREFIX", "announced_name", "serve_invitation"]

INVITATION_PREFIX: Final = "meshp2p join "
"""The prefix of the names under which invitations are announced."""

CODE_SECONDS: Final = 600.0
"""How long a code is valid. Chosen, not measured."""


async def serve_invitation(
    credential: MachineCredential,
    invitation: Invitation,
    store: TrustStore,
    note: Callable[[str], None],
    opened: Callable[[int], None],
    *,
    host: str = "::",
    port: int = 0,
) -> None:
    """Serve an invitation until it ends. ``note`` gets a line for each machine that joined, and for each wrong code;
    ``opened`` gets the port. Cancelling it ends the invitation.

    Raises :class:`~meshp2p.errors.StartError` if the port cannot be opened, and
    :class:`~meshp2p.errors.StoreError` if the disk failed: then nobody joined since.
    """
    sockets = open_sockets(host, port, is_port_wished=port != 0)
    sockets.datagrams.close()
    server = InvitationServer(credential, invitation, refresh=store.refresh, keep=store.keep, note=note)
    failure: StoreError | None = None
    async with sockets.listener, trio.open_nursery() as nursery:
        _announce(nursery, invitation.secret, sockets)
        opened(sockets.port)
        try:
            await server.run(sockets.listener)
        except StoreError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def announced_name(secret: JoinCode | JoinToken) -> str:
    """Return the name under which an invitation is announced."""
    return f"{INVITATION_PREFIX}{secret.rendezvous}"


def _announce(nursery: trio.Nursery, secret: JoinCode | JoinToken, sockets: Sockets) -> None:
    """Announce the number of the invitation, and nothing else, as a mesh of one node would be."""
    place = find_place(sockets.host, sockets.port, list_interfaces())
    name, system = announced_name(secret), random.SystemRandom()
    inviter = f"{system.randrange(1 << 64):016x}"
    sources: list[Source] = [
        BeaconSource(inviter, Codec(name), place, lambda: 0, system),
        MdnsSource(inviter, name, sockets.port, place.hosts, multicast_interfaces(place.hosts)),
    ]

    def ignore(sighting: Sighting) -> None:
        """Do nothing: an invitation only announces itself."""

    for source in sources:
        nursery.start_soon(source.run, ignore)
