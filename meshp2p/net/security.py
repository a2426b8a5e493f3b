"""What makes the connections of a node of a secured mesh, as the rest of the node sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import trio

from meshp2p.net.secure_stream import CallerStream, VerifiedStream
from meshp2p.trust.grants import CallerAccess

if TYPE_CHECKING:
    from meshp2p.net.mesh_trust import MeshTrust  # it brings cryptography

__all__ = ["Security"]


class Security(Protocol):
    """One node of a secured mesh."""

    @property
    def mesh(self) -> str:
        """The name that stands for this mesh, and for no other, where an open mesh has its name."""

    @property
    def trust(self) -> MeshTrust:
        """What the node knows of the machines of its mesh."""

    @property
    def callers(self) -> CallerAccess:
        """What callers of the HTTP API may do."""

    def rename(self, names: Sequence[str]) -> None:
        """Show a certificate with these DNS names and addresses from now on. If there are many, the last are left
        out."""

    async def accept(self, stream: trio.abc.Stream, host: str) -> VerifiedStream | CallerStream:
        """Find out who connected from ``host``. Raises :class:`~meshp2p.errors.RemoteProtocolError` if that is neither
        a member nor a caller, ``OSError`` if the connection broke; the stream is closed then."""

    async def dial(self, stream: trio.abc.Stream) -> VerifiedStream:
        """As :meth:`accept`, for a connection to a node that was opened here."""
