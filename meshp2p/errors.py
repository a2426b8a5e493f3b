"""All errors that meshp2p raises on purpose.

::

    MeshError
    ├── ConfigError              an argument or option is invalid; nothing was started
    ├── StartError               the machine does not allow it (port in use, directory unreadable); nothing was started
    │   └── NotInvited           this machine is not in the secured mesh
    ├── LocalProtocolError       the call is not allowed now; nothing changed
    │   ├── IdConflict           another live node has this id
    │   ├── InstanceConflict     the id belongs to a live node that embeds meshp2p
    │   ├── UnknownInstance      no live instance has this id
    │   ├── UnknownMessage       no node knows a message with this id
    │   ├── NoHandler            the target agent has no handler for queries
    │   ├── HandlerConflict      this kind already has a handler
    │   ├── WrongLoop            the node is used in another loop or thread than it was opened in
    │   ├── LimitExceeded        a limit of the configuration is reached
    │   ├── MailboxFull          there is no room for another message now
    │   └── NodeClosed           the node has left the mesh
    ├── RemoteProtocolError      a peer sent invalid data; it was counted and dropped
    ├── Unreachable              no node answered in time; whether it acted is unknown
    │   ├── QueryTimeout         the answer did not arrive in time
    │   └── ConnectionLost       the connection or the peer failed during a call; whether it acted is unknown
    ├── WaitTimeout              the awaited condition did not occur in time
    ├── RemoteError              the target agent answered with an error
    ├── PayloadMismatch          a payload does not fit the type that the handler takes
    ├── DelegationFailed         a delegated task ended without a result
    │   └── DelegationTimeout    its result did not arrive in time
    ├── JoinFailed               this machine was not admitted to a secured mesh; nothing was stored
    ├── Revoked                  this machine or agent was revoked from a secured mesh; the node has left it
    ├── RequestRefused           a node answered an HTTP request with an error status
    ├── StoreError               stored data cannot be read or written
    │   └── StoreFull            the disk is full; nothing was written
    └── InternalError            an invariant of meshp2p is broken: please report it

A message names the invalid value and what is allowed.
"""

from __future__ import annotations

import enum


class MeshError(Exception):
    """The base class of all errors that meshp2p raises on purpose."""


class ConfigError(MeshError, ValueError):
    """An argument or option is invalid. Nothing was started."""


class StartError(MeshError):
    """The machine does not allow the request, for example because a port is in use. Nothing was started."""


class NotInvited(StartError):
    """This machine is not in the secured mesh. The message says how to join. Nothing was started."""


class LocalProtocolError(MeshError):
    """The call is not allowed now. The node's state is unchanged."""


class IdConflict(LocalProtocolError):
    """Another live node has this node's id, and had it first. This node has left the mesh."""


class InstanceConflict(LocalProtocolError):
    """The id belongs to a live node that embeds meshp2p, so it cannot be registered or deregistered. Nothing
    changed."""


class UnknownInstance(LocalProtocolError, LookupError):
    """No live instance has this id. Nothing changed."""


class UnknownMessage(LocalProtocolError, LookupError):
    """No node knows a message with this id, or remembers it any longer. A broadcast without recipients is not
    remembered."""


class NoHandler(LocalProtocolError):
    """The target agent has no handler for queries. It has not seen the query."""


class HandlerConflict(LocalProtocolError):
    """This kind already has a handler, and a message is handled only once. Nothing changed."""


class WrongLoop(LocalProtocolError):
    """The node is awaited in another loop or thread than it was opened in, or no usable loop is running.

    The message names the right call. Nothing changed.
    """


class LimitExceeded(LocalProtocolError):
    """A limit of the configuration is reached. Nothing was stored."""


class MailboxFull(LocalProtocolError):
    """The recipient's mailbox or the node's outbox is full: try again later. The message was not stored."""


class NodeClosed(LocalProtocolError):
    """The node has left the mesh: open a new one. Nothing changed."""


class Refusal(enum.StrEnum):
    """Why bytes from the network were refused. This closed set is used as a metric label."""

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
    UNKNOWN = "unknown"
    """It comes from a machine of the secured mesh, or from a process, of which nothing is known here yet."""
    NOT_SEALED = "not_sealed"
    """It is a plain datagram, and the mesh is secured."""
    NOT_OPENED = "not_opened"
    """It is a sealed datagram that no key of its sender opens."""
    TOO_MANY = "too_many"
    """Its author accuses too many nodes."""
    REPLAYED = "replayed"
    """It is a sealed datagram that arrived before."""


class RemoteProtocolError(MeshError):
    """A peer sent invalid data. The data was dropped and nothing changed.

    ``reason`` is a member of the closed set :class:`Refusal`.
    """

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class Unreachable(MeshError):
    """No node answered in time. Whether a node acted on the request is unknown."""


class QueryTimeout(Unreachable, TimeoutError):
    """The answer did not arrive in time.

    Whether the agent acted is unknown, unless the message says that it has not seen the query. A later answer is
    discarded.
    """


class ConnectionLost(Unreachable):
    """The connection broke, or the target died or left, before it answered.

    Whether it acted is unknown. The query is not retried.
    """


class WaitTimeout(MeshError, TimeoutError):
    """The awaited condition did not occur within ``timeout``. It may still occur."""


class RemoteError(MeshError):
    """The target agent answered with an error. ``kind`` is the type of the error there, and ``message`` its text."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class PayloadMismatch(MeshError, ValueError):
    """A payload does not fit the requested type. The message is unchanged."""


class DelegationState(enum.StrEnum):
    """The state of a delegated task. All but the first are final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    """The agent answered with an error, or the timeout expired."""
    CANCELLED = "cancelled"
    ORPHANED = "orphaned"
    """The agent died or left, and no other agent could take over."""

    @property
    def is_final(self) -> bool:
        """Whether this state never changes any more."""
        return self is not DelegationState.RUNNING


class DelegationFailed(MeshError):
    """A delegated task ended without a result. ``state`` says how. Whether part of the work was done is unknown."""

    def __init__(self, state: DelegationState, message: str) -> None:
        super().__init__(f"{state}: {message}")
        self.state = state


class DelegationTimeout(DelegationFailed, TimeoutError):
    """The result of a delegated task did not arrive in time. The agent was told to stop."""


class JoinFailed(MeshError):
    """This machine was not admitted to a secured mesh. The message says why and what to do. Nothing was stored."""


class Revoked(MeshError):
    """This machine, or this agent on it, was revoked from a secured mesh. The node was not started, or has left.

    The message says by whom and what to do.
    """


class RequestRefused(MeshError):
    """A node answered an HTTP request with the error status ``status``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class StoreError(MeshError):
    """Stored data cannot be read or written. The file is unchanged."""


class StoreFull(StoreError):
    """The disk is full. Nothing was written, and earlier data is unchanged."""


class InternalError(MeshError):
    """An invariant of meshp2p is broken. The node must not continue."""


def check(condition: bool, message: str) -> None:
    """Raise :class:`InternalError` if ``condition`` is false. Use it for invariants, never for input."""
    if not condition:
        raise InternalError(message)
