"""The security of a node of a secured mesh, as the rest of the node sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import trio

from meshp2p.core.calls import CallReply, CallRequest
from meshp2p.core.datagrams import Datagram
from meshp2p.core.directory.state import Signer
from meshp2p.core.machine import Machine
from meshp2p.core.record import Record
from meshp2p.errors import Refusal
from meshp2p.net.secure_stream import CallerStream, VerifiedStream
from meshp2p.trust.grants import CallerAccess
from meshp2p.wire.codec import Codec

if TYPE_CHECKING:
    from meshp2p.net.mesh_trust import MeshTrust  # it brings cryptography

__all__ = ["KEY_SECONDS", "RETIRED_SECONDS", "MachineGuard", "Security", "renew_keys"]

KEY_SECONDS: Final = 24 * 3600.0
"""How long a node uses a key for datagrams. Chosen, not measured."""

RETIRED_SECONDS: Final = 600.0
"""How long a node opens datagrams to its former key. Chosen, not measured."""

CROWDED_SECONDS: Final = 10.0
"""How soon a node that has no room for more pairs of keys uses its next key, and forgets the former one. Chosen, not
measured."""


class MachineGuard(Protocol):
    """Guards a machine: see :class:`meshp2p.guard.node_guard.NodeGuard`."""

    def seal(self, datagram: Datagram, to: int, /) -> bytes | None: ...
    def open_untrusted(self, data: bytes, now: float, /) -> Datagram: ...
    @property
    def is_crowded(self) -> bool: ...
    def check_request(self, request: CallRequest, sender: bytes, now: float, /) -> CallRequest: ...
    def check_reply(self, reply: CallReply, replier: str, now: float, /) -> CallReply: ...
    def is_usurper(self, instance_id: str, machine: bytes, /) -> bool: ...
    def revoked_agents(self) -> list[tuple[bytes, str]]: ...
    def is_trusted_caller(self, owner: str, /) -> bool: ...
    def renew_keys(self) -> None: ...
    def retire_keys(self) -> None: ...


class Security(Protocol):
    """One node of a secured mesh."""

    @property
    def mesh(self) -> str:
        """The name that stands for this mesh, and for no other, where an open mesh has its name."""

    @property
    def trust(self) -> MeshTrust:
        """What the node knows of the machines of its mesh."""

    @property
    def process(self) -> int:
        """The number of this process, greater than those of all earlier processes that used the credential."""

    @property
    def signer(self) -> Signer:
        """Signs what the node publishes."""

    def guard(
        self,
        machine: Machine,
        codec: Codec,
        note_stranger: Callable[[Record], None],
        count_refused: Callable[[Refusal], None],
    ) -> MachineGuard:
        """Return the guard of the machine: see :class:`meshp2p.guard.node_guard.NodeGuard`."""

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


async def renew_keys(guard: MachineGuard, renew: Callable[[], None]) -> None:
    """Renew the keys for datagrams and retire the old ones, until cancelled."""
    while True:
        await _rest(guard, KEY_SECONDS - RETIRED_SECONDS)
        renew()
        await _rest(guard, RETIRED_SECONDS)
        guard.retire_keys()


async def _rest(guard: MachineGuard, seconds: float) -> None:
    """Sleep for this long, or shorter if the guard has no room for more pairs of keys."""
    until = trio.current_time() + seconds
    while trio.current_time() < until:
        await trio.sleep(min(CROWDED_SECONDS, until - trio.current_time()))
        if guard.is_crowded:
            return
