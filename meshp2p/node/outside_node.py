"""The node, as anybody outside of its thread sees it: what is so, which needs no waiting for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshp2p.core.address import Address
from meshp2p.core.instance import Instance, Leader
from meshp2p.node.config import NodeConfig
from meshp2p.node.mesh_node import MeshNode
from meshp2p.node.outside import Feed
from meshp2p.node.payload import encode_payload
from meshp2p.node.received import ReceivedMessage
from meshp2p.node.reply_parts import ReplyTexts
from meshp2p.node.subscriptions import NodeEvent
from meshp2p.node.thread import NodeThread

__all__ = ["OutsideNode"]


class OutsideNode:
    """A :class:`~meshp2p.node.mesh_node.MeshNode` that runs in a thread of its own, from any other thread.

    What is asked waits for the node's thread a moment. Every call raises :class:`~meshp2p.errors.NodeClosed` once the
    node has left, and what it failed with where it failed.
    """

    def __init__(self, thread: NodeThread, node: MeshNode) -> None:
        self.id: str = node.id
        self.config: NodeConfig = node.config
        self._thread = thread
        self._node = node

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} of mesh {self.config.mesh!r} at {self.url}>"

    @property
    def url(self) -> str:
        """The base of this node's HTTP endpoints."""
        return self._node.url

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where others reach this node, best first. They change when the machine's addresses do."""
        return self._node.addresses

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return self._thread.call(lambda: self._node.uptime)

    @property
    def leader(self) -> Leader | None:
        """Who leads; None while nobody does."""
        return self._thread.call(lambda: self._node.leader)

    def members(self) -> list[Instance]:
        """All live instances, this one among them, ordered by the bytes of their ids."""
        return self._thread.call(self._node.members)

    def member(self, instance_id: str) -> Instance | None:
        """The live instance of this id; None where there is none."""
        return self._thread.call(lambda: self._node.member(instance_id))

    def find(self, *, capability: str | None = None, profile: str | None = None) -> list[Instance]:
        """The live instances that have the capability and the profile, each where it is given."""
        return self._thread.call(lambda: self._node.find(capability=capability, profile=profile))

    def _events(self) -> Feed[NodeEvent]:
        return Feed(self._thread, lambda: (self._node.events(), lambda: None))

    def _parts(self, target: str, payload: object, timeout: float) -> Feed[bytes]:
        """Those of an answer, as JSON text."""
        text = encode_payload(payload)

        def ask() -> tuple[ReplyTexts, Callable[[], None]]:
            parts = self._node.queries.ask(ReplyTexts, target, text, timeout)
            return parts, parts.close

        return Feed(self._thread, ask, ends_with_node=False)

    def _inbox(self) -> Feed[ReceivedMessage]:
        def open_inbox() -> tuple[Any, Callable[[], None]]:
            inbox = self._node.inbox()
            return inbox, inbox.close

        return Feed(self._thread, open_inbox)
