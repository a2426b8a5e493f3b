"""The three faces of a node, and of what it gives, have the same names and the same arguments."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import meshp2p
import meshp2p.aio
import meshp2p.blocking
from meshp2p.node.backend import NodeBackend
from meshp2p.node.mesh_node import MeshNode

BACKEND = set(vars(NodeBackend)) - {"addresses", "id", "leader", "member", "members", "message_status", "uptime", "url"}
"""What the HTTP endpoints ask of a node, and no agent."""
PARTS = {"run_agent"}
ATTRIBUTES = {"id", "config", "addresses"}
OF_MAPS = {"end", "put", "texts"}
"""What a node calls of a shared map, and no agent."""


def public(of: type[Any]) -> dict[str, Any]:
    names = {name for name in dir(of) if not name.startswith("_")}
    return {name: inspect.getattr_static(of, name) for name in names - BACKEND - PARTS - ATTRIBUTES - OF_MAPS}


def check_same(facade: type[Any], of: type[Any], is_blocking: bool) -> None:
    ours, theirs = public(facade), public(of)
    assert sorted(ours) == sorted(theirs)
    for name, value in theirs.items():
        assert ours[name].__doc__ or not value.__doc__, name
        if not callable(value):
            continue
        expected = inspect.signature(value).parameters
        found = dict(inspect.signature(ours[name]).parameters)
        if is_blocking and "timeout" not in expected:
            found.pop("timeout", None)
        assert [(one.name, one.kind) for one in found.values()] == [(one.name, one.kind) for one in expected.values()]
        is_async = inspect.iscoroutinefunction(value) and not is_blocking
        assert inspect.iscoroutinefunction(ours[name]) is is_async, name


@pytest.mark.parametrize("facade", [meshp2p.IsolatedNode, meshp2p.aio.MeshNode, meshp2p.blocking.MeshNode])
def test_a_facade_has_the_names_and_arguments_of_the_node(facade: type[Any]) -> None:
    check_same(facade, MeshNode, facade is meshp2p.blocking.MeshNode)
    assert all(value.__doc__ for value in public(facade).values())


@pytest.mark.parametrize("facade", [meshp2p.IsolatedSharedMap, meshp2p.aio.SharedMap, meshp2p.blocking.SharedMap])
def test_a_shared_map_of_a_facade_has_the_names_and_arguments_of_the_nodes(facade: type[Any]) -> None:
    check_same(facade, meshp2p.SharedMap, facade is meshp2p.blocking.SharedMap)


@pytest.mark.parametrize("facade", [meshp2p.IsolatedDelegation, meshp2p.aio.Delegation, meshp2p.blocking.Delegation])
def test_a_task_of_a_facade_has_the_names_of_the_nodes(facade: type[Any]) -> None:
    own = {"run", "result_text"}  # what the node calls of a task, and no agent
    attributes = {"state", "agent", "tried"}
    assert set(public(facade)) - attributes == set(public(meshp2p.Delegation)) - own
    assert attributes <= set(public(facade))
    for name in ("cancel", "fail", "progress", "result"):
        expected = inspect.signature(getattr(meshp2p.Delegation, name)).parameters
        found = dict(inspect.signature(getattr(facade, name)).parameters)
        found.pop("timeout", None)
        assert list(found) == list(expected)
