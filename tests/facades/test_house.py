"""The faces of a node, and of what it gives, have the same names, arguments and documentation."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

import pytest

import meshp2p
import meshp2p.aio
import meshp2p.blocking

PAIRS = [
    (meshp2p.blocking.MeshNode, meshp2p.MeshNode),
    (meshp2p.blocking.SharedMap, meshp2p.SharedMap),
    (meshp2p.blocking.Delegation, meshp2p.Delegation),
    (meshp2p.blocking.Lease, meshp2p.Lease),
    (meshp2p.blocking.NodeIterator, meshp2p.NodeIterator),
    (meshp2p.blocking.ReceivedMessage, meshp2p.ReceivedMessage),
]


def public(of: type[Any]) -> dict[str, Any]:
    names = {name for name in dir(of) if not name.startswith("_")}
    return {name: inspect.getattr_static(of, name) for name in names}


def shape(function: Callable[..., Any]) -> list[tuple[str, Any, bool]]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return [(one.name, one.kind, one.default is one.empty) for one in parameters]


@pytest.mark.parametrize(("blocking", "awaited"), PAIRS, ids=lambda one: one.__name__)
def test_the_blocking_face_has_the_names_arguments_and_documentation_of_the_other(
    blocking: type[Any], awaited: type[Any]
) -> None:
    ours, theirs = public(blocking), public(awaited)
    assert sorted(ours) == sorted(theirs)
    methods = [name for name, value in theirs.items() if inspect.isfunction(value)]
    assert methods
    for name in methods:
        assert shape(ours[name]) == shape(theirs[name]), name
        assert ours[name].__doc__, name
        assert not inspect.iscoroutinefunction(ours[name]), name
        if inspect.iscoroutinefunction(theirs[name]) and name not in ("start", "get", "query"):
            assert ours[name].__doc__ == theirs[name].__doc__, name
            assert typing.get_type_hints(ours[name]) == typing.get_type_hints(theirs[name]), name


def test_asyncio_has_the_very_same_classes() -> None:
    for name in meshp2p.aio.__all__:
        assert getattr(meshp2p.aio, name) is getattr(meshp2p, name), name
    assert set(meshp2p.aio.__all__) == set(meshp2p.blocking.__all__) - {"CONCURRENCY"}


def test_agents_see_no_internal_method() -> None:
    assert sorted(public(meshp2p.MeshNode)) == [
        "addresses",
        "ask",
        "broadcast",
        "close",
        "config",
        "delegate",
        "delegation",
        "events",
        "find",
        "handler",
        "id",
        "inbox",
        "is_leader",
        "leader",
        "leadership",
        "leave",
        "member",
        "members",
        "message_status",
        "query",
        "send",
        "set_status",
        "shared",
        "start",
        "uptime",
        "url",
        "wait_for",
        "wait_for_leader",
        "wait_for_members",
    ]
