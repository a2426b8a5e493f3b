"""What a node of the mesh says of the whole mesh."""

from __future__ import annotations

from typing import Final

from meshp2p.cli.ask import find_nodes, read_status
from meshp2p.cli.configuration import credential_path
from meshp2p.cli.doctor.findings import IS_BROKEN, IS_OK, IS_WARNING, Findings, State
from meshp2p.client import MeshClient
from meshp2p.errors import MeshError
from meshp2p.node.config import NodeConfig
from meshp2p.wire.status_contract import Severity

__all__ = ["note_status"]

NOTED_MAX: Final = 20
"""The most findings of a status that are noted: the worst come first. Chosen, not measured."""

_STATES: Final[dict[Severity, State]] = {"error": IS_BROKEN, "warning": IS_WARNING, "notice": IS_OK, "ok": IS_OK}


async def note_status(config: NodeConfig, findings: Findings) -> None:
    """Ask a node for the status, one of this machine if any answers, and note what it found. A node of a secured mesh
    is asked with the credential of this user."""
    own = credential_path(config)
    if own is not None:
        urls = [*config.join, *await find_nodes(config, enough=None)]
    else:
        nodes = sorted((node for node in findings.nodes if node.is_reachable), key=lambda node: not node.is_here)
        urls = [node.addresses[0] for node in nodes]
    if not urls:
        return
    try:
        async with MeshClient(urls, credentials=own) as client:
            status = await read_status(client)
    except MeshError as error:
        text, hint = f"no node gave the status of the mesh: {error}", "ask one with meshp2p top --node"
        findings.note("status", IS_WARNING, text, hint)
        return
    if not status.findings:
        findings.note("status", IS_OK, f"{status.node_id} finds nothing wrong: {status.verdict.text}")
    for one in status.findings[:NOTED_MAX]:
        findings.note("status", _STATES[one.severity], f"{one.text} (seen from {status.node_id})", one.remedy)
