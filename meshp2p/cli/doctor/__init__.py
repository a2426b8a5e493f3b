"""``meshp2p doctor``: find out why a node sees no others."""

from __future__ import annotations

import argparse

import trio

from meshp2p.cli.configuration import configuration_of
from meshp2p.cli.doctor.examination import Examination
from meshp2p.cli.doctor.findings import Findings
from meshp2p.cli.output import printable, progress, to_json_line, write_line
from meshp2p.core.swim.candidates import SourceStats
from meshp2p.node.config import NodeConfig
from meshp2p.node.secured_meshes import choose_mesh, find_credential

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    config = choose_mesh(configuration_of(options))
    if find_credential(config) is not None:
        config = NodeConfig.of(config, host=config.host or "::")  # as a node of a secured mesh
    examination = Examination(config, options.seconds)
    with progress("examining this machine and its networks"):
        trio.run(examination.run)
    found = examination.findings
    verdict = verdict_of(found, config.mesh_name)
    if options.json:
        write_line(
            to_json_line(
                {
                    "mesh": config.mesh,
                    "is_well": found.is_well,
                    "verdict": verdict,
                    "checks": found.checks,
                    "nodes": found.nodes,
                    "sources": examination.sources,
                    "other_meshes": found.other_meshes,
                    "other_names": sorted(found.other_names),
                }
            )
        )
    else:
        print_report(found, examination.sources, verdict)
    return 0 if found.is_well else 1


def verdict_of(found: Findings, mesh: str) -> str:
    """The findings in a sentence or two: which nodes can be reached, then what is broken."""
    reached = _reached(found, mesh)
    if found.broken:
        first = found.broken[0]
        also = f" (and {len(found.broken) - 1} more, above)" if len(found.broken) > 1 else ""
        hint = f": {first.hint}" if first.hint else ""
        return f"{reached}, and this is broken{also}: {first.text}{hint}"
    if found.others or found.members:
        return f"{reached}; nothing is broken."
    if found.other_meshes:
        return f"{reached}; {found.other_meshes} mesh(es) of other names are there: is the name right?"
    return (
        f"{reached}; nothing is broken here. Only its own machine sees a node of an open mesh without --insecure-lan or"
        " --host. If the network passes neither multicast nor broadcast, name a node with --join HOST:PORT."
    )


def _reached(found: Findings, mesh: str) -> str:
    if found.members:
        return f"{_count(len(found.members))} of the secured mesh {mesh!r} can be seen"
    here, others = found.reachable - len(found.others), len(found.others)
    if others:
        also = f", and {_count(here)} of this machine" if here else ""
        return f"{_count(others)} of mesh {mesh!r} on other machines can be reached{also}"
    if here:
        return f"{_count(here)} of mesh {mesh!r} of this machine can be reached, and none of another"
    return f"nobody of mesh {mesh!r} can be reached"


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def print_report(found: Findings, sources: dict[str, SourceStats], verdict: str) -> None:
    for check in found.checks:
        write_line(printable(f"{check.state:8} {check.name}: {check.text}"))
        if check.hint:
            write_line(printable(f"{'':8} -> {check.hint}"))
    for source in ("mdns", "beacon", "seed", "cache"):
        stats = sources.get(source)
        if stats is None:
            if source in ("mdns", "beacon") and not found.members:
                write_line(f"{'seen':8} by {source}: nobody")
        else:
            write_line(f"{'seen':8} by {source}: {stats.addresses} addresses, of which {stats.answered} answered")
    for node in found.nodes:
        word = "answers" if node.is_reachable else "silent"
        where = "; of this machine" if node.is_here else ""
        line = f"{word:8} {node.id or 'unknown'} at {', '.join(node.addresses)} (by {', '.join(node.sources)}{where})"
        write_line(printable(line))
    if found.other_meshes:
        write_line(f"{'seen':8} {found.other_meshes} mesh(es) of other names")
    write_line(printable(verdict))
