"""The options of a node, as typed keywords."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypedDict

from meshp2p.core.config import ProtocolConfig
from meshp2p.http.limits import HttpLimits
from meshp2p.store.messages import Durability

__all__ = ["NodeOptions"]


class NodeOptions(TypedDict, total=False):
    """The keywords of :func:`meshp2p.open_node`: the fields of :class:`~meshp2p.NodeConfig`, and ``preset``. Lists may
    be given for tuples, and strings for paths."""

    preset: str | None
    id: str | None
    host: str | None
    port: int | None
    mesh: str | None
    credentials: str | os.PathLike[str] | bytes | None
    join: Sequence[str]
    mdns: bool
    beacon: bool | None
    capabilities: Sequence[str]
    profiles: Sequence[str]
    data_dir: str | os.PathLike[str] | None
    durability: Durability
    insecure_lan: bool
    hostname: str | None
    allow_hosts: Sequence[str]
    allow_origins: Sequence[str]
    require_token: bool
    tracing: bool
    protocol: ProtocolConfig
    limits: HttpLimits
