"""SPAKE2 (RFC 9382, on edwards25519 as python-spake2 has it): both sides that know a password get one key."""

from __future__ import annotations

from typing import Final, Protocol

import spake2

from meshp2p.errors import Refusal, RemoteProtocolError

__all__ = ["ELEMENT_BYTES", "PasswordExchange"]

ELEMENT_BYTES: Final = 33
"""The size of the message of each side: a byte that names the side, and an element of the group."""


class _Side(Protocol):
    def start(self) -> bytes: ...
    def finish(self, element: bytes) -> bytes: ...


class PasswordExchange:
    """One attempt of one side. The key is bound to ``newcomer`` and ``inviter``, which must be the same on both sides.
    ``element`` is to be sent to the other side."""

    def __init__(self, password: bytes, *, newcomer: bytes, inviter: bytes, is_newcomer: bool) -> None:
        make = spake2.SPAKE2_A if is_newcomer else spake2.SPAKE2_B
        self._side: _Side = make(password, idA=newcomer, idB=inviter)
        self.element: bytes = self._side.start()

    def finish(self, element: bytes) -> bytes:
        """Compute the key, 32 bytes, from the element of the other side. Both sides get the same key only if they have
        the same password. To be called once. Raises :class:`RemoteProtocolError` if the element is invalid."""
        if len(element) != ELEMENT_BYTES:
            raise RemoteProtocolError(
                Refusal.BAD_VALUE, f"an element of {len(element)} bytes: expected {ELEMENT_BYTES}"
            )
        try:
            return self._side.finish(element)
        except Exception as error:  # the package raises its own, ValueError, and a bare Exception off the curve
            raise RemoteProtocolError(Refusal.BAD_VALUE, f"no element of the other side: {error!r}") from error
