"""The node, as a plain thread sees it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from meshp2p.blocking.pool import Pool
from meshp2p.blocking.shared import SharedMap
from meshp2p.blocking.things import Delegation, Lease, NodeIterator, ReceivedMessage, wait
from meshp2p.core.instance import Instance, Leader
from meshp2p.core.message import Receipt
from meshp2p.errors import NodeClosed
from meshp2p.node.handlers import Parameters
from meshp2p.node.mesh_node import MeshNode as InnerNode
from meshp2p.node.outside import Errand, forwarded
from meshp2p.node.outside_node import OutsideNode
from meshp2p.node.payload import EncodedPayload, decode_payload, encode_payload
from meshp2p.node.received import ReceivedMessage as InnerMessage
from meshp2p.node.received import split_kind
from meshp2p.node.shared import MergeFunction
from meshp2p.node.subscriptions import NodeEvent
from meshp2p.node.thread import Hold, NodeThread

__all__ = ["CONCURRENCY", "MeshNode"]

_Handler = TypeVar("_Handler", bound=Callable[..., Any])

CONCURRENCY: Final = 4
"""How many messages of one kind are handled at the same time, unless the handler says otherwise. Chosen, not
measured."""


class MeshNode(OutsideNode):
    """A running node. Made by :func:`~meshp2p.blocking.open_node`; to be used from any thread.

    Every call raises :class:`~meshp2p.errors.NodeClosed` once the node has left, and what it failed with where it
    failed.
    """

    def __init__(self, thread: NodeThread, pool: Pool, node: InnerNode) -> None:
        super().__init__(thread, node)
        self._pool = pool
        self._maps: dict[str, SharedMap] = {}

    # What happens

    def events(self) -> NodeIterator[NodeEvent]:
        """What is so now, then each change, with no gap: see :meth:`MeshNode.events()
        <meshp2p.node.mesh_node.MeshNode.events>`."""
        return NodeIterator(self._events(), lambda event: event)

    def wait_for_members(self, count: int, *, timeout: float | None = None) -> list[Instance]:
        """Wait until at least so many instances are live, this one among them, and return them."""
        operation = self._thread.submit(lambda: self._node.wait_for_members(count))
        return wait(operation, timeout, f"there were not {count} members")

    def wait_for_leader(self, *, timeout: float | None = None) -> Leader:
        """Wait until there is a leader, and return it."""
        return wait(self._thread.submit(self._node.wait_for_leader), timeout, "there was no leader")

    def set_status(
        self,
        status: str,
        metrics: dict[str, Any] | None = None,
        *,
        until: float | None = None,
    ) -> None:
        """Tell the mesh how this agent is doing: see :meth:`MeshNode.set_status()
        <meshp2p.node.mesh_node.MeshNode.set_status>`."""
        wait(self._thread.submit(lambda: self._node.set_status(status, metrics, until=until)), None, "")

    # What is shared

    def shared(self, name: str, *, merge: MergeFunction | None = None) -> SharedMap:
        """The map of this name, which all nodes that open it have in common: see :meth:`MeshNode.shared()
        <meshp2p.node.mesh_node.MeshNode.shared>`. The same one for the same name.

        ``merge`` runs in the node's thread, not in one of the agent's: it must be quick, depend on nothing but its
        arguments, and not use the node.
        """
        inner = self._thread.call(lambda: self._node.shared(name, merge=merge))
        return self._maps.setdefault(name, SharedMap(self._thread, inner))

    # Messages

    def send(
        self,
        target: str,
        payload: object,
        *,
        kind: str = "Notification",
        correlation_id: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Send a message; its id. When this returns it is kept: see :meth:`MeshNode.send()
        <meshp2p.node.mesh_node.MeshNode.send>`. Where it raises :class:`~meshp2p.errors.WaitTimeout` whether it was
        accepted is unknown."""
        text = EncodedPayload(payload)
        operation = self._thread.submit(lambda: self._node.send(target, text, kind=kind, correlation_id=correlation_id))
        return wait(operation, timeout, f"the message to {target!r} was not accepted")

    def broadcast(self, payload: object, *, kind: str = "Notification", timeout: float | None = None) -> str:
        """Send a message to every other live instance; its id."""
        text = EncodedPayload(payload)
        operation = self._thread.submit(lambda: self._node.broadcast(text, kind=kind))
        return wait(operation, timeout, "the message was not accepted")

    def message_status(self, message_id: str, *, timeout: float | None = None) -> tuple[Receipt, ...]:
        """What became of each copy of a message; empty where nobody knows it."""
        operation = self._thread.submit(lambda: self._node.message_status(message_id))
        return wait(operation, timeout, "nobody answered")

    def inbox(self) -> NodeIterator[ReceivedMessage]:
        """The messages that no handler takes. Acknowledge each when it is done with: it is handed out again
        otherwise."""
        thread = self._thread
        return NodeIterator(self._inbox(), lambda message: ReceivedMessage(thread, message))

    def handler(
        self, kind: str, *, concurrency: int = CONCURRENCY, timeout: float | None = None
    ) -> Callable[[_Handler], _Handler]:
        """Handle the messages of this kind in a thread of the node's pool: a decorator of a plain function, otherwise
        as :meth:`MeshNode.handler() <meshp2p.node.mesh_node.MeshNode.handler>` is.

        A generator function answers in parts: what it yields. No thread can be interrupted: when whoever asked gave up
        or is gone, or after ``timeout`` seconds, ``message.is_cancelled`` is set, and the handler goes on, in one of
        the 16 threads that there are. A generator is closed at its next ``yield`` then.
        """
        split_kind(kind)

        def add(function: _Handler) -> _Handler:
            parameters = Parameters(kind, function, is_async=False)

            def make(message: InnerMessage) -> Errand[ReceivedMessage]:
                return Errand(self._thread, function, parameters, ReceivedMessage(self._thread, message))

            forward = forwarded(function, parameters, make, self._start, lambda _: None)
            self._thread.call(lambda: self._node.handler(kind, concurrency=concurrency, timeout=timeout)(forward))
            return function

        return add

    def _start(self, errand: Errand[ReceivedMessage]) -> None:
        def perform() -> None:
            if not errand.is_cancelled:
                errand.perform()

        self._pool.start(perform)

    def query(self, target: str, payload: object, *, timeout: float = 30.0) -> Any:
        """Ask another agent, and return its answer: see :meth:`MeshNode.query()
        <meshp2p.node.mesh_node.MeshNode.query>`."""
        text = encode_payload(payload)
        operation = self._thread.submit(lambda: self._node.queries.query(target, text, timeout))
        return decode_payload(wait(operation, None, ""))

    def ask(self, target: str, payload: object, *, timeout: float = 30.0) -> NodeIterator[Any]:
        """Ask another agent, and iterate over the parts of its answer as they come: see :meth:`MeshNode.ask()
        <meshp2p.node.mesh_node.MeshNode.ask>`."""
        return NodeIterator(self._parts(target, payload, timeout), decode_payload)

    def delegate(
        self,
        payload: object,
        *,
        capability: str | None = None,
        profile: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Let some live agent do a task, and return its result: see :meth:`MeshNode.delegate()
        <meshp2p.node.mesh_node.MeshNode.delegate>`."""
        text = encode_payload(payload)
        operation = self._thread.submit(lambda: self._node.delegating.run(text, capability, profile, timeout))
        return decode_payload(wait(operation, None, ""))

    @contextlib.contextmanager
    def delegation(
        self, payload: object, *, capability: str | None = None, profile: str | None = None
    ) -> Iterator[Delegation]:
        """Let some live agent do a task, for the time of a block: see :meth:`MeshNode.delegation()
        <meshp2p.node.mesh_node.MeshNode.delegation>`."""
        text = EncodedPayload(payload)
        hold = Hold(self._thread, lambda: self._node.delegation(text, capability=capability, profile=profile))
        inner = wait(hold, None, "")
        try:
            yield Delegation(self._thread, inner)
        finally:
            self._left(hold)

    @contextlib.contextmanager
    def leadership(self, *, timeout: float | None = None) -> Iterator[Lease]:
        """Wait until this node leads, so many seconds at most, and run the block. Nobody can interrupt it when the
        leadership ends: ``lease.was_lost`` says so, at once."""
        hold = Hold(self._thread, self._node.leadership)
        inner = wait(hold, timeout, "this node did not lead")
        try:
            yield Lease(inner, hold)
        finally:
            self._left(hold)

    def _left(self, hold: Hold[Any]) -> None:
        if self._thread.is_forked:
            return
        hold.release()
        with contextlib.suppress(NodeClosed):
            wait(hold.block, None, "")

    def leave(self) -> None:
        """Tell the mesh that this node goes. The end of the block does it."""
        wait(self._thread.submit(self._node.leave), None, "")
