"""meshp2p: an agent mesh that needs no central registry.

::

    async with meshp2p.open_node(capabilities=["summarise"]) as node:
        await node.wait_for_members(3)
        print(node.id, node.url, node.leader)
        reply = await node.query("planner-1", {"question": "what next?"})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshp2p.core.address import Address
from meshp2p.core.config import ProtocolConfig
from meshp2p.core.events import (
    ContactLost,
    ContactRestored,
    PeerReachable,
    PeersCannotCall,
    PeerUnreachable,
    StorageFailed,
    StorageRecovered,
)
from meshp2p.core.message import CopyStatus
from meshp2p.core.record import State
from meshp2p.errors import (
    ConfigError,
    ConnectionLost,
    DelegationFailed,
    DelegationState,
    DelegationTimeout,
    HandlerConflict,
    IdConflict,
    InstanceConflict,
    InternalError,
    LimitExceeded,
    LocalProtocolError,
    MailboxFull,
    MeshError,
    NodeClosed,
    NoHandler,
    PayloadMismatch,
    QueryTimeout,
    RemoteError,
    RemoteProtocolError,
    RequestRefused,
    StartError,
    StoreError,
    StoreFull,
    UnknownInstance,
    Unreachable,
    WaitTimeout,
    WrongLoop,
)
from meshp2p.http.limits import HttpLimits
from meshp2p.node.config import NodeConfig
from meshp2p.node.events import (
    EventsLost,
    LeaderChanged,
    MemberDied,
    MemberEvent,
    MemberJoined,
    MemberLeft,
    MemberRecovered,
    MemberSuspected,
    MemberUpdated,
    NetworkProblemFound,
)
from meshp2p.node.handlers import Declined
from meshp2p.node.identity import generate_instance_id
from meshp2p.node.instance import Instance, Receipt
from meshp2p.node.leadership import FencingToken
from meshp2p.node.local_map import MapChange
from meshp2p.node.options import NodeOptions
from meshp2p.node.received import ReceivedMessage
from meshp2p.node.settings import load_config
from meshp2p.threaded.delegation import Delegation
from meshp2p.threaded.lease import Lease
from meshp2p.threaded.mesh_node import MeshNode
from meshp2p.threaded.node_iterator import NodeIterator
from meshp2p.threaded.opening import open_node
from meshp2p.threaded.shared_map import SharedMap
from meshp2p.version import __version__

if TYPE_CHECKING:
    from meshp2p.client import MeshClient

__all__ = [
    "Address",
    "ConfigError",
    "ConnectionLost",
    "ContactLost",
    "ContactRestored",
    "CopyStatus",
    "Declined",
    "Delegation",
    "DelegationFailed",
    "DelegationState",
    "DelegationTimeout",
    "EventsLost",
    "FencingToken",
    "HandlerConflict",
    "HttpLimits",
    "IdConflict",
    "Instance",
    "InstanceConflict",
    "InternalError",
    "LeaderChanged",
    "Lease",
    "LimitExceeded",
    "LocalProtocolError",
    "MailboxFull",
    "MapChange",
    "MemberDied",
    "MemberEvent",
    "MemberJoined",
    "MemberLeft",
    "MemberRecovered",
    "MemberSuspected",
    "MemberUpdated",
    "MeshClient",
    "MeshError",
    "MeshNode",
    "NetworkProblemFound",
    "NoHandler",
    "NodeClosed",
    "NodeConfig",
    "NodeIterator",
    "NodeOptions",
    "PayloadMismatch",
    "PeerReachable",
    "PeerUnreachable",
    "PeersCannotCall",
    "ProtocolConfig",
    "QueryTimeout",
    "Receipt",
    "ReceivedMessage",
    "RemoteError",
    "RemoteProtocolError",
    "RequestRefused",
    "SharedMap",
    "StartError",
    "State",
    "StorageFailed",
    "StorageRecovered",
    "StoreError",
    "StoreFull",
    "UnknownInstance",
    "Unreachable",
    "WaitTimeout",
    "WrongLoop",
    "__version__",
    "generate_instance_id",
    "load_config",
    "open_node",
]


def __getattr__(name: str) -> Any:
    """Load ``MeshClient`` on first use.

    An agent that embeds a node needs no HTTP client, which is a third of all that would be loaded.
    """
    if name == "MeshClient":
        from meshp2p.client import MeshClient  # noqa: PLC0415  # only where it is used

        return MeshClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
