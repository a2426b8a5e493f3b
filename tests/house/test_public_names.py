"""What ``import meshp2p`` gives: a name that is added or taken away is a decision, and is made here."""

from __future__ import annotations

import meshp2p

PUBLIC_NAMES = [
    "Address",
    "ClockOrder",
    "ConfigError",
    "ConnectionLost",
    "CopyStatus",
    "Declined",
    "Delegation",
    "DelegationFailed",
    "DelegationState",
    "DelegationTimeout",
    "EventsLost",
    "FencingToken",
    "GraphEdge",
    "GraphNode",
    "GraphSync",
    "GraphSyncType",
    "GraphTombstone",
    "HandlerConflict",
    "HttpLimits",
    "IdConflict",
    "Inbox",
    "Instance",
    "InstanceConflict",
    "InternalError",
    "IsolatedDelegation",
    "IsolatedIterator",
    "IsolatedNode",
    "IsolatedSharedMap",
    "Leader",
    "LeaderChanged",
    "Lease",
    "LimitExceeded",
    "LocalProtocolError",
    "MailboxFull",
    "MapChange",
    "MemberDied",
    "MemberJoined",
    "MemberLeft",
    "MemberRecovered",
    "MemberSuspected",
    "MemberUpdated",
    "MeshClient",
    "MeshError",
    "MeshNode",
    "Message",
    "NoHandler",
    "NodeClosed",
    "NodeConfig",
    "PayloadMismatch",
    "PeerReachable",
    "PeerUnreachable",
    "PeersCannotCall",
    "ProtocolConfig",
    "QueryTimeout",
    "Receipt",
    "ReceivedMessage",
    "Record",
    "RemoteError",
    "RemoteProtocolError",
    "ReplyParts",
    "RequestRefused",
    "SharedMap",
    "StartError",
    "State",
    "StorageFailed",
    "StorageRecovered",
    "StoreError",
    "StoreFull",
    "TaskProgress",
    "UnknownInstance",
    "Unreachable",
    "VectorClock",
    "WaitTimeout",
    "__version__",
    "generate_instance_id",
    "load_config",
    "open_node",
]


def test_these_are_the_public_names() -> None:
    assert sorted(meshp2p.__all__) == PUBLIC_NAMES


def test_each_public_name_is_there_once_and_says_what_it_is() -> None:
    assert len(meshp2p.__all__) == len(set(meshp2p.__all__))
    for name in meshp2p.__all__:
        value = getattr(meshp2p, name)
        if name != "__version__":
            assert value.__doc__, name
            assert value.__doc__.strip().endswith((".", "``", ":")) or "\n" in value.__doc__, name


def test_each_public_method_and_property_of_a_node_says_what_it_is() -> None:
    silent = {"id"}  # its name is all there is to say
    for name, value in vars(meshp2p.MeshNode).items():
        if not name.startswith("_") and name not in silent:
            assert value.__doc__, name
