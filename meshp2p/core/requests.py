"""The requests of an agent to its node, besides reads."""

from __future__ import annotations

import msgspec

from meshp2p.core.message import IfAbsent

__all__ = ["Acknowledge", "AskStatus", "Deregister", "Fetch", "Heartbeat", "ReadInstance", "Request", "SendMessage"]


class Heartbeat(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A sign of life of any listed instance, with its status and its metrics (a JSON object as text, empty for none).

    Answered with :class:`~meshp2p.core.calls.HeartbeatReply`. ``owner`` is the caller in a secured mesh; it
    becomes the owner of an instance that has none.
    """

    id: str
    status: str
    metrics: str
    owner: str = ""


class Deregister(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Take a hosted instance off the list. Answered with :class:`~meshp2p.core.calls.DeregisterReply`."""

    id: str


class SendMessage(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Accept a message from ``source`` for ``target``, or for every other live instance where that is absent.
    ``payload`` is JSON text that has been checked; ``is_error`` marks the answer that is an error; ``trace`` is the
    sender's trace context. It is kept for so
    many seconds as ``timeout`` says, ``message_timeout`` at the most. ``if_absent`` says what becomes of it if
    ``target`` is not listed.

    Answered with :class:`~meshp2p.core.calls.SendReply` once it is kept, or with
    :class:`~meshp2p.core.calls.Refused`.
    """

    source: str
    target: str | None
    kind: str
    name: str
    payload: bytes
    correlation_id: str | None = None
    is_error: bool = False
    timeout: float | None = None
    if_absent: IfAbsent = "refuse"
    trace: str | None = None


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Read a mailbox: up to ``limit`` messages behind the one with the id ``after``, or the oldest ones; where there is
    none, wait so many seconds (60 at the most) for one.

    Answered with :class:`~meshp2p.core.calls.FetchReply`, empty for an unknown id.
    """

    recipient: str
    limit: int
    after: str = ""
    wait: float = 0.0


class Acknowledge(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The recipient has read these and does not want them again. Ids that are not in its mailbox change nothing.

    Answered with :class:`~meshp2p.core.calls.Done` or :class:`~meshp2p.core.calls.Refused`.
    """

    recipient: str
    message_ids: tuple[str, ...]


class AskStatus(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What became of a message, wherever it was accepted. Answered with
    :class:`~meshp2p.core.calls.StatusReply`, empty where nobody knows it, or with
    :class:`~meshp2p.core.calls.Refused`."""

    message_id: str


class ReadInstance(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """One instance as its home knows it, or as this node does where the home does not answer in time. Answered with
    :class:`~meshp2p.core.calls.InstanceReply`."""

    id: str


MailQuestion = SendMessage | Fetch | Acknowledge | AskStatus
"""Those that concern messages."""

Request = Heartbeat | Deregister | ReadInstance | MailQuestion
