"""What ``import meshp2p`` gives: a name that is added or taken away is a decision, and is made here."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import meshp2p
import meshp2p.aio
import meshp2p.blocking
import meshp2p.testing

PUBLIC_NAMES = [
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


MODULES = (meshp2p, meshp2p.aio, meshp2p.blocking, meshp2p.testing)


def everything() -> Iterator[tuple[str, Any]]:
    """Each public name with its value, and each public method and property of each public class."""
    for module in MODULES:
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, (str, int)):
                continue  # a constant has no docstring of its own
            yield f"{module.__name__}.{name}", value
            if inspect.isclass(value):
                for attribute, found in members(value):
                    yield f"{module.__name__}.{name}.{attribute}", found


def members(of: type[Any]) -> Iterator[tuple[str, Any]]:
    for owner in of.__mro__:
        if not owner.__module__.startswith("meshp2p."):
            continue
        for name, found in vars(owner).items():
            is_method = isinstance(found, (property, classmethod, staticmethod)) or inspect.isfunction(found)
            if is_method and not name.startswith("_"):
                yield name, found


def test_these_are_the_public_names() -> None:
    assert sorted(meshp2p.__all__) == PUBLIC_NAMES


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_each_public_name_is_there_once_and_is_public_where_it_is_defined(module: ModuleType) -> None:
    assert len(module.__all__) == len(set(module.__all__)) >= 5
    for name in module.__all__:
        assert not name.startswith("_") or name == "__version__"
        home = sys.modules[getattr(getattr(module, name), "__module__", module.__name__)]
        if inspect.isclass(getattr(module, name)) and home.__name__.startswith("meshp2p"):
            assert getattr(module, name).__name__ in getattr(home, "__all__", vars(home)), name


NAMED = dict(everything())


@pytest.mark.parametrize("name", NAMED)
def test_each_public_thing_says_in_whole_sentences_what_it_is(name: str) -> None:
    value = NAMED[name]
    text = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert text, "it has no docstring of its own"
    assert not text.startswith(f"{name.rpartition('.')[2]}("), "the docstring is the one that a dataclass makes"
    first, *rest = inspect.cleandoc(text).split("\n\n")
    assert len(first.split()) > 1
    assert first[0].isupper() or first.startswith(("``", "`", "(", ":")) or first[0].isdigit(), first
    assert first.rstrip().endswith((".", ":")), first
    assert all(part.strip() for part in rest)


PUBLIC = {id(value) for module in MODULES for value in vars(module).values()}


def shown_types(hint: Any) -> Iterator[type[Any]]:
    """The classes of meshp2p in a type."""
    for inner in typing.get_args(hint):
        yield from shown_types(inner)
    of = typing.get_origin(hint) or hint
    if inspect.isclass(of) and of.__module__.startswith("meshp2p."):
        yield of


AGENTS = ("meshp2p.", "meshp2p.aio.", "meshp2p.blocking.")


@pytest.mark.parametrize("name", [name for name in NAMED if name.startswith(AGENTS) and "testing" not in name])
def test_agents_get_public_types_alone(name: str) -> None:
    value = NAMED[name]
    if inspect.isclass(value):
        hints = {key: hint for key, hint in typing.get_type_hints(value).items() if not key.startswith("_")}
    else:
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not inspect.isfunction(function):
            return
        hints = typing.get_type_hints(function)
    inside = [
        f"{key}: {one.__name__}" for key, hint in hints.items() for one in shown_types(hint) if id(one) not in PUBLIC
    ]
    assert inside == []


def test_these_tests_see_what_agents_use() -> None:
    assert len(NAMED) > 250
    for name in ("MeshNode.send", "MeshNode.members", "MeshNode.leader", "SharedMap.set", "MeshClient.register"):
        assert f"meshp2p.{name}" in NAMED
    assert {"meshp2p.aio.MeshNode.send", "meshp2p.blocking.MeshNode.leader"} <= set(NAMED)
