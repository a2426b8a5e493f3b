"""The node for plain threads: the operations of :class:`~meshp2p.MeshNode` as blocking calls."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, overload

from meshp2p.node.local_map import MergeFunction
from meshp2p.node.received import MessageView, ReceivedMessage
from meshp2p.threaded.delegation import Delegation, DelegationView
from meshp2p.threaded.lease import Lease, LeaseView
from meshp2p.threaded.life import Opening
from meshp2p.threaded.mesh_node import MeshNode
from meshp2p.threaded.node_iterator import NodeIterator
from meshp2p.threaded.node_view import NodeView
from meshp2p.threaded.shared_map import MapView, SharedMap
from meshp2p.threaded.thread_side import complete

__all__ = [
    "CONCURRENCY",
    "BlockingDelegation",
    "BlockingIterator",
    "BlockingLease",
    "BlockingMap",
    "BlockingMessage",
    "BlockingNode",
]

_T = TypeVar("_T")
_U = TypeVar("_U")
_Reply = TypeVar("_Reply")
_P = ParamSpec("_P")
_Handler = TypeVar("_Handler", bound=Callable[..., Any])

CONCURRENCY: Final = 4
"""How many messages of one kind are handled at the same time by default. Chosen, not measured."""


def _blocks(
    method: Callable[Concatenate[Any, _P], Coroutine[Any, Any, _T]],
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Any, _P], _T]]:
    """Turn an async method into a blocking one with the same arguments, documentation and result."""
    return _converts(method, complete)


def _converts(
    method: Callable[Concatenate[Any, _P], _T], convert: Callable[[_T], _U]
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Any, _P], _U]]:
    """Replace a stub by a method that calls another one with the same arguments and converts its result.

    It has the stub's documentation, or that of the other method if the stub has none.
    """

    def replace(stub: Callable[..., Any]) -> Callable[Concatenate[Any, _P], _U]:
        def call(self: Any, /, *arguments: _P.args, **options: _P.kwargs) -> _U:
            return convert(method(self._face, *arguments, **options))

        functools.update_wrapper(call, method)
        call.__doc__ = stub.__doc__ or method.__doc__
        return call

    return replace


def _enters(
    method: Callable[Concatenate[Any, _P], AbstractAsyncContextManager[_T]], convert: Callable[[_T], _U]
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Any, _P], AbstractContextManager[_U]]]:
    """Do the same for a method that returns an asynchronous context manager: its block gets the result of
    ``convert``."""
    return _converts(method, lambda block: _entered(block, convert))


@contextlib.contextmanager
def _entered(manager: AbstractAsyncContextManager[_T], convert: Callable[[_T], _U]) -> Iterator[_U]:
    """Enter an asynchronous context manager as a blocking one. Its block gets the result of ``convert``."""
    given = complete(_awaited(manager.__aenter__()))
    try:
        yield convert(given)
    except BaseException as error:
        if not complete(_awaited(manager.__aexit__(type(error), error, error.__traceback__))):
            raise
    else:
        complete(_awaited(manager.__aexit__(None, None, None)))


async def _awaited(awaitable: Awaitable[_T]) -> _T:
    return await awaitable


class BlockingMessage(MessageView):
    """A received message. It is delivered again, even after a restart, until it is acknowledged."""

    __slots__ = ("_face",)

    def __init__(self, face: ReceivedMessage) -> None:
        super().__init__(face._message)
        self._face = face

    @_blocks(ReceivedMessage.acknowledge)
    def acknowledge(self) -> None: ...

    @_blocks(ReceivedMessage.reply)
    def reply(self) -> None: ...


class BlockingIterator(Generic[_T]):
    """An iterator over items from a node. Any number of threads may use it: each item goes to one of them.

    It ends when the node has left. When you stop reading, call :meth:`close`, leave its ``with`` block, or drop it.
    """

    def __init__(self, face: NodeIterator[_T]) -> None:
        self._face = face

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _T:
        try:
            return complete(self._face.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def get(self, *, timeout: float | None = None) -> _T:
        """Return the next item.

        Raises :class:`~meshp2p.errors.WaitTimeout` if none came within ``timeout`` seconds (no item is lost), and
        :class:`~meshp2p.errors.NodeClosed` if no more will come.
        """
        return complete(self._face.get(timeout=timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the iteration. Unacknowledged messages go to the next inbox or handler."""
        self._face.close()


class BlockingMap(MapView):
    """A map that is replicated on all nodes that open it: see :class:`~meshp2p.SharedMap`. Any number of threads may
    use it."""

    def __init__(self, face: SharedMap) -> None:
        super().__init__(face._bridge, face._inner)
        self._face = face

    @_blocks(SharedMap.set)
    def set(self) -> None: ...

    @_blocks(SharedMap.delete)
    def delete(self) -> None: ...

    @_blocks(SharedMap.wait_until)
    def wait_until(self) -> None: ...

    @_converts(SharedMap.changes, BlockingIterator)
    def changes(self) -> None: ...


class BlockingDelegation(DelegationView):
    """A task delegated to another agent: see :class:`~meshp2p.Delegation`."""

    def __init__(self, face: Delegation) -> None:
        super().__init__(face._bridge, face._inner)
        self._face = face

    @_blocks(Delegation.result)
    def result(self) -> None: ...

    @_converts(Delegation.progress, BlockingIterator)
    def progress(self) -> None: ...


class BlockingLease(LeaseView):
    """The leadership of this node. A thread cannot be interrupted: check ``was_lost`` before each step, and send
    ``token`` with each write."""

    def __init__(self, face: Lease) -> None:
        super().__init__(face._bridge, face._inner)
        self._face = face

    @_blocks(Lease.wait_until_lost)
    def wait_until_lost(self) -> None: ...


class BlockingNode(NodeView):
    """A node for plain threads, created by :func:`meshp2p.blocking.open_node`. Any number of threads may use it.

    It has the operations of :class:`~meshp2p.MeshNode`. Every call that waits takes a ``timeout`` in seconds and raises
    :class:`~meshp2p.errors.WaitTimeout` when it expires. Ctrl-C interrupts every wait.
    """

    def __init__(self, opening: Opening) -> None:
        super().__init__(None)
        self._face = MeshNode(opening)
        self._maps: dict[str, BlockingMap] = {}

    # Start and end

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> Self:
        """Join the mesh: see :meth:`MeshNode.start() <meshp2p.MeshNode.start>`."""
        complete(self._face.start())
        self._life = self._face._life
        return self

    @_blocks(MeshNode.close)
    def close(self) -> None: ...

    # Events and status

    @_converts(MeshNode.events, BlockingIterator)
    def events(self) -> None: ...

    @_blocks(MeshNode.wait_for_members)
    def wait_for_members(self) -> None: ...

    @_blocks(MeshNode.wait_for)
    def wait_for(self) -> None: ...

    @_blocks(MeshNode.wait_for_leader)
    def wait_for_leader(self) -> None: ...

    @_blocks(MeshNode.set_status)
    def set_status(self) -> None: ...

    def shared(self, name: str, *, merge: MergeFunction | None = None) -> BlockingMap:
        """Open a shared map: see :meth:`MeshNode.shared() <meshp2p.MeshNode.shared>`. The same name always returns the
        same object."""
        face = self._face.shared(name, merge=merge)
        return self._maps.setdefault(name, BlockingMap(face))

    # Messages

    @_blocks(MeshNode.send)
    def send(self) -> None: ...

    @_blocks(MeshNode.broadcast)
    def broadcast(self) -> None: ...

    @_blocks(MeshNode.message_status)
    def message_status(self) -> None: ...

    def inbox(self) -> BlockingIterator[BlockingMessage]:
        """Iterate over the messages that no handler takes: see :meth:`MeshNode.inbox() <meshp2p.MeshNode.inbox>`."""
        bridge = self._bridge
        feed = bridge.iterate(self._node.inbox)
        return BlockingIterator(NodeIterator(feed, lambda message: BlockingMessage(bridge.received(message))))

    def handler(
        self, kind: str, *, concurrency: int = CONCURRENCY, timeout: float | None = None
    ) -> Callable[[_Handler], _Handler]:
        """Register a plain function for messages of one kind: a decorator. The function runs in a thread of the node's
        pool.

        Otherwise it works as :meth:`MeshNode.handler() <meshp2p.MeshNode.handler>`. A generator function answers in
        parts, the values that it yields. A thread cannot be interrupted: when the asker gave up or is gone, or after
        ``timeout`` seconds, ``message.is_cancelled`` is set and the handler continues in one of the 16 threads. A
        generator is closed at its next ``yield``.
        """
        return self._face.handler(kind, concurrency=concurrency, timeout=timeout)

    @overload
    def query(self, target: str, payload: object, *, reply: type[_Reply], timeout: float = 30.0) -> _Reply: ...
    @overload
    def query(self, target: str, payload: object, *, reply: Any = None, timeout: float = 30.0) -> Any: ...
    def query(self, target: str, payload: object, *, reply: Any = None, timeout: float = 30.0) -> Any:
        """Ask another agent a question and return its answer: see :meth:`MeshNode.query() <meshp2p.MeshNode.query>`."""
        return complete(self._face.query(target, payload, reply=reply, timeout=timeout))

    def ask(self, target: str, payload: object, *, timeout: float = 30.0) -> BlockingIterator[Any]:
        """Ask another agent a question and iterate over the parts of its answer: see :meth:`MeshNode.ask()
        <meshp2p.MeshNode.ask>`."""
        return BlockingIterator(self._face.ask(target, payload, timeout=timeout))

    @_blocks(MeshNode.delegate)
    def delegate(self) -> None: ...

    @_enters(MeshNode.delegation, BlockingDelegation)
    def delegation(self) -> None: ...

    @_enters(MeshNode.leadership, BlockingLease)
    def leadership(self) -> None:
        """Wait until this node leads, for at most ``timeout`` seconds, and run the block.

        The block cannot be interrupted when the leadership ends: ``lease.was_lost`` becomes true at once.
        """

    @_blocks(MeshNode.leave)
    def leave(self) -> None: ...
