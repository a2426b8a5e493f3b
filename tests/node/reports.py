"""Reports and listed instances for tests of the status."""

from __future__ import annotations

from typing import Any

from meshp2p.core.address import Address
from meshp2p.core.instance import ListedInstance
from meshp2p.core.record import State
from meshp2p.wire.reports import NodeReport

__all__ = ["a_report", "an_agent"]


def a_report(name: str, **changes: Any) -> NodeReport:
    fields: dict[str, Any] = {
        "id": name,
        "at": 1_700_000_000_000,
        "view": 1,
        "members": 3,
        "nodes": 3,
        "leader": "a",
        "epoch": 7,
        "local_health": 0,
        "storage_failure": "",
        "outbox": 0,
        "other_mesh": 0,
        "revoked": 0,
    }
    return NodeReport(**(fields | changes))


def an_agent(name: str, **changes: Any) -> ListedInstance:
    fields: dict[str, Any] = {
        "id": name,
        "hostname": "host",
        "port": 7700,
        "capabilities": ("paint",),
        "profiles": (),
        "state": State.ALIVE,
        "home": name,
        "addresses": (Address("10.0.0.1", 7700),),
        "incarnation": 1,
        "is_leader": name == "a",
        "status": "",
        "metrics": "",
        "created_at": 1_700_000_000_000,
        "last_heartbeat": 1_700_000_000_000,
        "epoch": 7 if name == "a" else 0,
    }
    return ListedInstance(**(fields | changes))
