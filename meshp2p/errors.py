"""Every error that meshp2p raises on purpose.

::

    MeshError
    ├── ConfigError              a value the caller gave is refused; nothing was started
    ├── StartError               the machine at hand refuses (port in use, directory unreadable); nothing was started
    ├── LocalProtocolError       the caller asked for what is illegal now; nothing changed
    │   ├── IdConflict           another live node holds this id
    │   ├── InstanceConflict     the id belongs to a live node that embeds meshp2p
    │   ├── UnknownInstance      no live instance has this id
    │   ├── NoHandler            the agent that was asked has no handler for queries
    │   ├── HandlerConflict      there is a handler for this kind already
    │   ├── WrongLoop            the node is used in another loop or thread than it was opened in
    │   ├── LimitExceeded        a bound of the configuration is reached
    │   ├── MailboxFull          there is no room for a further message now
    │   └── NodeClosed           the node has left the mesh
    ├── RemoteProtocolError      a peer sent what we refuse; it was counted and dropped
    ├── Unreachable              no node answered in time; whether it acted is unknown
    │   ├── QueryTimeout         the answer did not come in time
    │   └── ConnectionLost       the connection, or the other side, went during a call; whether it acted is unknown
    ├── WaitTimeout              what was waited for did not come in time
    ├── RemoteError              the agent that was asked answered with an error
    ├── PayloadMismatch          a payload has another shape than the handler takes
    ├── DelegationFailed         a delegated task ended without a result
    │   └── DelegationTimeout    its result did not come in time
    ├── JoinFailed               this machine was not taken into a secured mesh; nothing of it was kept
    ├── RequestRefused           a node answered an HTTP request with an error status
    ├── StoreError               what is kept on disk cannot be read or written
    │   └── StoreFull            the disk has no room for what was to be kept; nothing of it was
    └── InternalError            an invariant of ours is broken: please report it

A message names the value it refuses and what is allowed.
"""

from __future__ import annotations

import enum


class MeshError(Exception):
    """The root of all errors that meshp2p raises on purpose."""


class ConfigError(MeshError, ValueError):
    """A value the caller gave is refused. Nothing was started."""


class StartError(MeshError):
    """The machine at hand refuses what was asked for: a port in use, no such interface. Nothing was started."""


class LocalProtocolError(MeshError):
    """The caller asked for what is illegal now. The node's state is as it was."""


class IdConflict(LocalProtocolError):
    """Another live node holds this node's id, and held it first. This node has left the mesh."""


class InstanceConflict(LocalProtocolError):
    """The id belongs to a live node that embeds meshp2p, so nobody may register or deregister it. Nothing changed."""


class UnknownInstance(LocalProtocolError, LookupError):
    """No live instance has this id. Nothing changed."""


class NoHandler(LocalProtocolError):
    """The agent that was asked has no handler for queries. It has not seen the question."""


class HandlerConflict(LocalProtocolError):
    """There is a handler for this kind already: a message is handled once. Nothing changed."""


class WrongLoop(LocalProtocolError):
    """The node is awaited in another loop or thread than it was opened in, or opened where none runs that it could use.
    The message names the right call. Nothing changed."""


class LimitExceeded(LocalProtocolError):
    """A bound of the configuration is reached. Nothing was kept of the request."""


class MailboxFull(LocalProtocolError):
    """The recipient's mailbox, or the outbox of the node that was asked, has no room now: try again later. Nothing was
    kept of the message."""


class NodeClosed(LocalProtocolError):
    """The node has left the mesh: open a new one. Nothing changed."""


class Refusal(enum.StrEnum):
    """Why bytes from the network were refused: a closed set, used as a metric label."""

    TOO_LARGE = "too_large"
    TOO_SHORT = "too_short"
    BAD_MAGIC = "bad_magic"
    BAD_VERSION = "bad_version"
    BAD_FLAGS = "bad_flags"
    OTHER_MESH = "other_mesh"
    BAD_ENCODING = "bad_encoding"
    BAD_SHAPE = "bad_shape"
    BAD_VALUE = "bad_value"
    UNTRUSTED = "untrusted"
    """No member of the secured mesh vouches for it: a signature, a certificate or a right is missing or wrong."""
    REVOKED = "revoked"
    """It comes from a machine or an agent that was revoked."""


class RemoteProtocolError(MeshError):
    """A peer sent what we refuse. The bytes were dropped and nothing changed.

    ``reason`` is a member of the closed set :class:`Refusal`.
    """

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class Unreachable(MeshError):
    """No node answered in time. Whether a node acted on the request is unknown."""


class QueryTimeout(Unreachable, TimeoutError):
    """The answer did not come in time. Whether the agent acted is unknown, unless the message says that it has not seen
    the question; an answer that comes later is thrown away."""


class ConnectionLost(Unreachable):
    """The connection to the instance that was asked broke, or that died or left, before it answered. Whether it acted
    is unknown; nobody asks again by itself."""


class WaitTimeout(MeshError, TimeoutError):
    """What was waited for did not come within the ``timeout`` that the caller gave: it may still come."""


class RemoteError(MeshError):
    """The agent that was asked answered with an error. ``kind`` is the error's type there, ``message`` what it says."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class PayloadMismatch(MeshError, ValueError):
    """A payload has another shape than what was asked for. The message is as it was."""


class DelegationState(enum.StrEnum):
    """What became of a delegated task. All but the first are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    """The agent answered with an error, or the time was over."""
    CANCELLED = "cancelled"
    ORPHANED = "orphaned"
    """The agent died or left, and no other was there to take it on."""

    @property
    def is_final(self) -> bool:
        """Whether it is an end: it never changes from then on."""
        return self is not DelegationState.RUNNING


class DelegationFailed(MeshError):
    """A delegated task ended without a result. ``state`` says how; whether part of the work was done is unknown."""

    def __init__(self, state: DelegationState, message: str) -> None:
        super().__init__(f"{state}: {message}")
        self.state = state


class DelegationTimeout(DelegationFailed, TimeoutError):
    """The result of a delegated task did not come in time. The agent was told to stop."""


class JoinFailed(MeshError):
    """This machine was not taken into a secured mesh: the message says why, and what to do. Nothing was kept of it."""


class RequestRefused(MeshError):
    """A node answered an HTTP request with an error status. ``status`` is that status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class StoreError(MeshError):
    """What is kept on disk cannot be read or written. The file is as it was."""


class StoreFull(StoreError):
    """The disk has no room for what was to be kept. Nothing of it was; what was kept before is as it was."""


class InternalError(MeshError):
    """An invariant of meshp2p is broken. The node must not go on."""


def check(condition: bool, message: str) -> None:
    """Raise :class:`InternalError` unless ``condition`` holds: for invariants, never for input."""
    if not condition:
        raise InternalError(message)
