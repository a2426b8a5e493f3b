"""meshp2p: an agent mesh that needs no central registry.

::

    async with meshp2p.open_node(capabilities=["summarise"]) as node:
        await node.wait_for_members(3)
        print(node.id, node.url, node.leader)
        reply = await node.query("planner-1", {"question": "what next?"})

Public names other than errors are loaded when they are first used, so that ``import meshp2p`` takes little time. To
load a name when the program starts, import it: ``from meshp2p import open_node``.
"""

from __future__ import annotations

import gc
import importlib
from typing import TYPE_CHECKING, Any

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
    NotInvited,
    PayloadMismatch,
    QueryTimeout,
    RemoteError,
    RemoteProtocolError,
    RequestRefused,
    Revoked,
    StartError,
    StoreError,
    StoreFull,
    UnknownInstance,
    UnknownMessage,
    Unreachable,
    WaitTimeout,
    WrongLoop,
)
from meshp2p.version import __version__

if TYPE_CHECKING:
    from meshp2p.client import MeshClient
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
    "NotInvited",
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
    "Revoked",
    "SharedMap",
    "StartError",
    "State",
    "StorageFailed",
    "StorageRecovered",
    "StoreError",
    "StoreFull",
    "UnknownInstance",
    "UnknownMessage",
    "Unreachable",
    "WaitTimeout",
    "WrongLoop",
    "__version__",
    "generate_instance_id",
    "load_config",
    "open_node",
]

_LAZY = {
    "meshp2p.client": ("MeshClient",),
    "meshp2p.core.address": ("Address",),
    "meshp2p.core.config": ("ProtocolConfig",),
    "meshp2p.core.events": (
        "ContactLost",
        "ContactRestored",
        "PeerReachable",
        "PeersCannotCall",
        "PeerUnreachable",
        "StorageFailed",
        "StorageRecovered",
    ),
    "meshp2p.core.message": ("CopyStatus",),
    "meshp2p.core.record": ("State",),
    "meshp2p.http.limits": ("HttpLimits",),
    "meshp2p.node.config": ("NodeConfig",),
    "meshp2p.node.events": (
        "EventsLost",
        "LeaderChanged",
        "MemberDied",
        "MemberEvent",
        "MemberJoined",
        "MemberLeft",
        "MemberRecovered",
        "MemberSuspected",
        "MemberUpdated",
        "NetworkProblemFound",
    ),
    "meshp2p.node.handlers": ("Declined",),
    "meshp2p.node.identity": ("generate_instance_id",),
    "meshp2p.node.instance": ("Instance", "Receipt"),
    "meshp2p.node.leadership": ("FencingToken",),
    "meshp2p.node.local_map": ("MapChange",),
    "meshp2p.node.options": ("NodeOptions",),
    "meshp2p.node.received": ("ReceivedMessage",),
    "meshp2p.node.settings": ("load_config",),
    "meshp2p.threaded.delegation": ("Delegation",),
    "meshp2p.threaded.lease": ("Lease",),
    "meshp2p.threaded.mesh_node": ("MeshNode",),
    "meshp2p.threaded.node_iterator": ("NodeIterator",),
    "meshp2p.threaded.opening": ("open_node",),
    "meshp2p.threaded.shared_map": ("SharedMap",),
}
"""The modules that are loaded when one of their public names is first used."""

if not TYPE_CHECKING:  # type checkers refuse names that do not exist
    _HOMES = {name: module for module, names in _LAZY.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        is_collecting = gc.isenabled()
        gc.disable()  # what is loaded stays, and to look for garbage in it takes a tenth of the time
        try:
            value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        finally:
            if is_collecting:
                if not gc.get_freeze_count():  # else this would undo a freeze of the program
                    gc.freeze()
                    gc.unfreeze()  # all objects are in the oldest generation now, without a collection
                gc.enable()
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
