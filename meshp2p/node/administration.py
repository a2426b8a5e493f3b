"""What a node of a secured mesh does for an admin of its own machine: invite machines, and revoke them.

The node signs with the credential of its machine. A caller that may ask for this has shown the certificate of the same
machine: so it could sign by itself, and gains nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import trio

from meshp2p.core.address import Address
from meshp2p.core.record import Record, SignedRecord
from meshp2p.errors import RemoteProtocolError, StartError, StoreError
from meshp2p.http.body import BadRequest
from meshp2p.wire.contract import InvitationResponse, RevocationResponse

if TYPE_CHECKING:  # they bring cryptography
    from meshp2p.net.mesh_trust import MeshTrust
    from meshp2p.trust.joining import Invitation

__all__ = ["Administration"]

_log = logging.getLogger("meshp2p.node")


class _Served:
    """An invitation that is served in ``scope``."""

    def __init__(self, invitation: Invitation) -> None:
        self.invitation = invitation
        self.scope = trio.CancelScope()
        self.notes: list[str] = []


class Administration:
    """The administration of one node: ``records()`` are the live ones, ``host`` is the address on which it listens, and
    ``advertised_host()`` the first one at which others reach it."""

    def __init__(
        self,
        trust: MeshTrust,
        records: Callable[[], Mapping[str, Record]],
        nursery: trio.Nursery,
        host: str,
        advertised_host: Callable[[], str],
    ) -> None:
        self._trust = trust
        self._records = records
        self._nursery = nursery
        self._host = host
        self._advertised_host = advertised_host
        self._served: _Served | None = None
        self._at = ""

    @property
    def actions(self) -> tuple[str, ...]:
        """What an admin of this machine may ask for."""
        return ("invite", "revoke") if self._trust.credential.machine.may_invite else ("revoke",)

    async def invite(self, by: str) -> InvitationResponse:
        """Serve an invitation for one machine, instead of the one before. Raises :class:`BadRequest`: 403 if this
        machine may not invite, 503 if no port can be opened."""
        from meshp2p.node.inviting import CODE_SECONDS  # noqa: PLC0415  # it brings cryptography
        from meshp2p.trust.joining import Invitation  # noqa: PLC0415
        from meshp2p.trust.spoken import JoinCode  # noqa: PLC0415

        if "invite" not in self.actions:
            who = "one that `meshp2p trust` lists with 'may invite'"
            raise BadRequest(403, f"the machine of this node may not invite others: run `meshp2p invite` on {who}")
        served = _Served(Invitation(JoinCode.draw(), trio.current_time() + CODE_SECONDS))
        try:
            port: int = await self._nursery.start(self._serve, served)
        except StartError as error:
            raise BadRequest(503, str(error)) from error
        self.end_invitation()
        self._served, self._at = served, str(Address(self._advertised_host(), port))
        _log.warning("an invitation is open at %s, for the caller %s", self._at, by)
        return self._show(served)

    async def _serve(self, served: _Served, *, task_status: trio.TaskStatus[int]) -> None:
        from meshp2p.node.inviting import serve_invitation  # noqa: PLC0415

        def note(text: str) -> None:
            served.notes.append(text)
            _log.warning("invitation: %s", text)

        with served.scope:
            try:
                await serve_invitation(
                    self._trust.credential,
                    served.invitation,
                    self._trust.store,
                    note,
                    task_status.started,
                    host=self._host,
                )
            except StoreError as error:
                note(f"the invitation ended: {error}")

    def invitation(self) -> InvitationResponse | None:
        """Return the last invitation, open or not."""
        return None if self._served is None else self._show(self._served)

    def end_invitation(self) -> None:
        """Close the invitation that is open, if any."""
        if self._served is not None:
            self._served.scope.cancel()
            self._served = None

    def _show(self, served: _Served) -> InvitationResponse:
        invitation, now = served.invitation, trio.current_time()
        code = invitation.secret.text
        return InvitationResponse(
            code=code,
            command=f"echo {code} | meshp2p join --at {self._at}",
            is_open=invitation.is_open(now),
            seconds_left=max(0.0, invitation.expires_at - now),
            notes=list(served.notes),
        )

    async def revoke(self, instance_id: str, by: str) -> RevocationResponse:
        """Revoke the machine of a node, with everything that it issued and the machines that it invited. Raises
        :class:`BadRequest`: 404 if no such node is listed, 409 if it is on this machine, 403 if this machine may not
        revoke that one."""
        self._trust.refresh()
        credential = self._trust.credential
        trust, record = credential.trust, self._records().get(instance_id)
        if not isinstance(record, SignedRecord) or not record.is_node:
            raise BadRequest(404, f"no node {instance_id!r} is listed: name an agent that embeds a node")
        machine = record.proof.owner
        if machine == credential.key.fingerprint:
            raise BadRequest(409, f"{instance_id!r} is on the machine of this node: revoke it from another machine")
        before = trust.digest()
        labels = {key: one.label for key, one in trust.machines.items() if trust.is_trusted(key)}
        try:
            trust.revoke(credential.key, machine)
        except RemoteProtocolError as error:
            how = f"run `meshp2p revoke {machine.hex()[:16]}` on an admin's machine, or one above it in `meshp2p trust`"
            raise BadRequest(403, f"the machine of this node may not revoke that one: {how} ({error})") from error
        await self._trust.note_growth(before)
        revoked = [label for key, label in labels.items() if not trust.is_trusted(key)]
        _log.warning("revoked for the caller %s: %s", by, ", ".join(map(repr, revoked)))
        return RevocationResponse(revoked)
