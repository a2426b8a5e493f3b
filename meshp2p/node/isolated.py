"""The node in a thread of its own, as an agent on trio or asyncio sees it.

What differs between the two is the :class:`~meshp2p.node.agent_side.AgentSide`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from meshp2p.core.instance import Instance, Leader
from meshp2p.core.message import Receipt
from meshp2p.errors import NodeClosed
from meshp2p.node.agent_side import AgentSide, IsolatedIterator
from meshp2p.node.config import NodeConfig
from meshp2p.node.delegation import Delegation
from meshp2p.node.handlers import CONCURRENCY, HandlerFunction, Parameters, check_handlers
from meshp2p.node.isolated_map import IsolatedSharedMap
from meshp2p.node.leadership import Lease
from meshp2p.node.mesh_node import MeshNode
from meshp2p.node.outside import Errand, forwarded
from meshp2p.node.outside_delegation import OutsideDelegation
from meshp2p.node.outside_node import OutsideNode
from meshp2p.node.payload import EncodedPayload, decode_payload, encode_payload
from meshp2p.node.received import ReceivedMessage, split_kind
from meshp2p.node.settings import choose_config
from meshp2p.node.shared import MergeFunction
from meshp2p.node.subscriptions import NodeEvent
from meshp2p.node.thread import Hold, NodeThread, Opening

__all__ = ["IsolatedDelegation", "IsolatedNode", "open_isolated"]

_Handler = TypeVar("_Handler", bound=HandlerFunction)
_Node = TypeVar("_Node", bound="IsolatedNode")


class IsolatedDelegation(OutsideDelegation):
    """A task that some agent does: see :class:`~meshp2p.node.delegation.Delegation`."""

    def __init__(self, thread: NodeThread, side: AgentSide, inner: Delegation) -> None:
        super().__init__(thread, inner)
        self._side = side

    async def result(self) -> Any:
        """Wait for the end, and return the result. Raises :class:`~meshp2p.errors.DelegationFailed` where there is
        none."""
        return decode_payload(await self._side.wait(self._result()))

    def progress(self) -> IsolatedIterator[Any]:
        """What the agent reports while it does the task: what its handler yields. Each report goes to one reader."""
        return IsolatedIterator(self._side, self._progress(), decode_payload)


class _Answering:
    """What a received message does with its node, from the agent's side."""

    def __init__(self, thread: NodeThread, side: AgentSide, inner: ReceivedMessage) -> None:
        self._thread = thread
        self._side = side
        self._inner = inner

    async def acknowledge_received(self, _: ReceivedMessage) -> None:
        await self._side.wait(self._thread.submit(self._inner.acknowledge))

    async def reply_to(self, _: ReceivedMessage, payload: object) -> str:
        text = EncodedPayload(payload)
        return await self._side.wait(self._thread.submit(lambda: self._inner.reply(text)))


class IsolatedNode(OutsideNode):
    """A running node in a thread of its own, with the names of :class:`~meshp2p.node.mesh_node.MeshNode`.

    It answers the others while the agent's thread is blocked. Handlers run in the agent's loop. What is asked without
    ``await`` waits for the node's thread a moment. Every call raises :class:`~meshp2p.errors.NodeClosed` once the node
    has left, and what it failed with where it failed.
    """

    def __init__(self, thread: NodeThread, side: AgentSide, node: MeshNode) -> None:
        super().__init__(thread, node)
        self._side = side
        self._maps: dict[str, IsolatedSharedMap] = {}

    # What happens

    def events(self) -> IsolatedIterator[NodeEvent]:
        """What is so now, then each change, with no gap: see :meth:`MeshNode.events()
        <meshp2p.node.mesh_node.MeshNode.events>`."""
        return IsolatedIterator(self._side, self._events(), lambda event: event)

    async def wait_for_members(self, count: int) -> list[Instance]:
        """Wait until at least so many instances are live, this one among them, and return them."""
        return await self._side.wait(self._thread.submit(lambda: self._node.wait_for_members(count)))

    async def wait_for_leader(self) -> Leader:
        """Wait until there is a leader, and return it."""
        return await self._side.wait(self._thread.submit(self._node.wait_for_leader))

    async def set_status(
        self, status: str, metrics: dict[str, Any] | None = None, *, until: float | None = None
    ) -> None:
        """Tell the mesh how this agent is doing: see :meth:`MeshNode.set_status()
        <meshp2p.node.mesh_node.MeshNode.set_status>`."""
        await self._side.wait(self._thread.submit(lambda: self._node.set_status(status, metrics, until=until)))

    # What is shared

    def shared(self, name: str, *, merge: MergeFunction | None = None) -> IsolatedSharedMap:
        """The map of this name, which all nodes that open it have in common: see :meth:`MeshNode.shared()
        <meshp2p.node.mesh_node.MeshNode.shared>`. The same one for the same name.

        ``merge`` runs in the node's thread, not in the agent's loop: it must be quick, depend on nothing but its
        arguments, and not use the node.
        """
        inner = self._thread.call(lambda: self._node.shared(name, merge=merge))
        return self._maps.setdefault(name, IsolatedSharedMap(self._thread, self._side, inner))

    # Messages

    async def send(
        self, target: str, payload: object, *, kind: str = "Notification", correlation_id: str | None = None
    ) -> str:
        """Send a message; its id. When this returns it is kept: see :meth:`MeshNode.send()
        <meshp2p.node.mesh_node.MeshNode.send>`."""
        text = EncodedPayload(payload)
        return await self._side.wait(
            self._thread.submit(lambda: self._node.send(target, text, kind=kind, correlation_id=correlation_id))
        )

    async def broadcast(self, payload: object, *, kind: str = "Notification") -> str:
        """Send a message to every other live instance; its id."""
        text = EncodedPayload(payload)
        return await self._side.wait(self._thread.submit(lambda: self._node.broadcast(text, kind=kind)))

    async def message_status(self, message_id: str) -> tuple[Receipt, ...]:
        """What became of each copy of a message; empty where nobody knows it."""
        return await self._side.wait(self._thread.submit(lambda: self._node.message_status(message_id)))

    def inbox(self) -> IsolatedIterator[ReceivedMessage]:
        """The messages that no handler takes. Acknowledge each when it is done with: it is handed out again
        otherwise."""
        return IsolatedIterator(self._side, self._inbox(), self._received)

    def handler(
        self, kind: str, *, concurrency: int = CONCURRENCY, timeout: float | None = None
    ) -> Callable[[_Handler], _Handler]:
        """Handle the messages of this kind in the agent's loop: a decorator of an async function, as
        :meth:`MeshNode.handler() <meshp2p.node.mesh_node.MeshNode.handler>` is."""
        split_kind(kind)

        def add(function: _Handler) -> _Handler:
            parameters = Parameters(kind, function)

            def make(message: ReceivedMessage) -> Errand[ReceivedMessage]:
                return Errand(self._thread, function, parameters, self._received(message))

            forward = forwarded(function, parameters, make, self._side.start, self._side.cancel)
            self._thread.call(lambda: self._node.handler(kind, concurrency=concurrency, timeout=timeout)(forward))
            return function

        return add

    async def query(self, target: str, payload: object, *, timeout: float = 30.0) -> Any:
        """Ask another agent, and return its answer: see :meth:`MeshNode.query()
        <meshp2p.node.mesh_node.MeshNode.query>`."""
        text = encode_payload(payload)
        return decode_payload(
            await self._side.wait(self._thread.submit(lambda: self._node.queries.query(target, text, timeout)))
        )

    def ask(self, target: str, payload: object, *, timeout: float = 30.0) -> IsolatedIterator[Any]:
        """Ask another agent, and iterate over the parts of its answer as they come: see :meth:`MeshNode.ask()
        <meshp2p.node.mesh_node.MeshNode.ask>`."""
        return IsolatedIterator(self._side, self._parts(target, payload, timeout), decode_payload)

    async def delegate(
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
        run = self._node.delegating.run
        return decode_payload(
            await self._side.wait(self._thread.submit(lambda: run(text, capability, profile, timeout)))
        )

    @contextlib.asynccontextmanager
    async def delegation(
        self, payload: object, *, capability: str | None = None, profile: str | None = None
    ) -> AsyncIterator[IsolatedDelegation]:
        """Let some live agent do a task, for the time of a block: see :meth:`MeshNode.delegation()
        <meshp2p.node.mesh_node.MeshNode.delegation>`."""
        text = EncodedPayload(payload)
        hold = Hold(self._thread, lambda: self._node.delegation(text, capability=capability, profile=profile))
        inner = await self._side.wait(hold)
        try:
            yield IsolatedDelegation(self._thread, self._side, inner)
        finally:
            await self._left(hold)

    @contextlib.asynccontextmanager
    async def leadership(self) -> AsyncIterator[Lease]:
        """Wait until this node leads, and run the block while it does: see :meth:`MeshNode.leadership()
        <meshp2p.node.mesh_node.MeshNode.leadership>`."""
        hold = Hold(self._thread, self._node.leadership)
        lease = await self._side.wait(hold)
        try:
            with self._side.open_block() as block:
                hold.block.future.add_done_callback(block.cut)
                yield lease
        finally:
            await self._left(hold)

    async def _left(self, hold: Hold[Any]) -> None:
        if self._thread.is_forked:
            return
        hold.release()
        with contextlib.suppress(NodeClosed):
            await self._side.wait(hold.block)

    async def leave(self) -> None:
        """Tell the mesh that this node goes. The end of the block does it."""
        await self._side.wait(self._thread.submit(self._node.leave))

    def _received(self, message: ReceivedMessage) -> ReceivedMessage:
        return ReceivedMessage(message.message, _Answering(self._thread, self._side, message))


@contextlib.asynccontextmanager
async def open_isolated(
    config: NodeConfig | None,
    handlers: Mapping[str, HandlerFunction],
    options: dict[str, Any],
    make_side: Callable[[], AgentSide],
    make: Callable[[NodeThread, AgentSide, MeshNode], _Node],
) -> AsyncIterator[_Node]:
    """Run a node in a thread of its own for as long as the block does.

    Where the node fails the block is cancelled, and what it failed with comes out.
    """
    check_handlers(handlers)
    thread = NodeThread(choose_config(config, options))
    side = make_side()
    thread.start()
    try:
        node = make(thread, side, await side.wait(Opening(thread)))
        for kind, function in handlers.items():
            node.handler(kind)(function)
        with side.open_block() as block:
            thread.ended.add_done_callback(block.cut)
            yield node
    finally:
        if not thread.is_forked:
            thread.stop()
            try:
                await side.wait_shielded(thread.ended)
            finally:
                await side.end()
    if thread.failure is not None and not thread.is_forked:
        raise thread.failure
