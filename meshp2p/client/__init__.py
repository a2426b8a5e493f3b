"""The HTTP contract from the caller's side: for agents that talk to a node instead of embedding one."""

from __future__ import annotations

from meshp2p.client.mesh_client import MeshClient
from meshp2p.client.node_requests import client_transport

__all__ = ["MeshClient", "client_transport"]
