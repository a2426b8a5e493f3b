"""What an agent asks of its node, beside reading."""

from __future__ import annotations

import msgspec

__all__ = ["Deregister", "Heartbeat", "Request"]


class Heartbeat(msgspec.Struct, frozen=True):
    """A sign of life of any listed instance, with its status and its metrics (a JSON object as text, empty for none).

    Answered with :class:`~meshp2p.core.messages.HeartbeatReply`.
    """

    id: str
    status: str
    metrics: str


class Deregister(msgspec.Struct, frozen=True):
    """Take a hosted instance off the list. Answered with :class:`~meshp2p.core.messages.DeregisterReply`."""

    id: str


Request = Heartbeat | Deregister
