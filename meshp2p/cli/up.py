"""``meshp2p up``: run one node until it is told to stop."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from typing import Any

import trio

from meshp2p import MeshNode, NodeConfig, open_node
from meshp2p.cli.configuration import add_configuration, configuration_of
from meshp2p.cli.output import OutputError, as_json, printable, to_json_line, warn, write_line
from meshp2p.core.events import (
    ContactLost,
    ContactRestored,
    PeerReachable,
    PeersCannotCall,
    PeerUnreachable,
    StorageFailed,
    StorageRecovered,
)
from meshp2p.errors import MeshError
from meshp2p.node.config import is_loopback
from meshp2p.node.events import EventsLost, LeaderChanged, MemberEvent, NetworkProblemFound, NodeEvent
from meshp2p.node.platform import announced_mesh

__all__ = ["add_commands"]

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


def add_commands(commands: Any) -> None:
    up = commands.add_parser(
        "up",
        help="run a node until Ctrl-C, SIGTERM or SIGHUP",
        description="Run a node until Ctrl-C, SIGTERM or SIGHUP. Values without an option come from MESHP2P_..."
        " variables, then from the file, then from the preset.",
        allow_abbrev=False,
    )
    add_configuration(up)
    up.add_argument("--log-level", choices=LOG_LEVELS, default="warning", help="least level to log (%(default)s)")
    up.add_argument("--json", action="store_true", help="print one JSON object a line")
    up.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    config = configuration_of(options)
    level = getattr(logging, options.log_level.upper())
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    # it shows a traceback where a network goes; what matters of that, the source of discovery says in one line
    logging.getLogger("zeroconf").setLevel(max(level, logging.ERROR))
    trio.run(_up, config, options.json)
    return 0


async def _up(config: NodeConfig, is_json: bool) -> None:
    failure: MeshError | None = None
    output = _Output(is_json)
    stop = trio.CancelScope()  # inside the node's block: a node that is itself cancelled cannot say that it leaves
    stopping = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        stopping.append(signal.SIGHUP)
    with trio.open_signal_receiver(*stopping) as signals:
        async with trio.open_nursery() as nursery:

            async def stop_on_signal() -> None:
                async for _ in signals:
                    if stop.cancel_called:
                        nursery.cancel_scope.cancel()  # a second signal ends it at once
                    stop.cancel()

            nursery.start_soon(stop_on_signal)
            try:
                async with open_node(config, in_loop=True) as node:
                    with stop:
                        await output.greet(node)
                        async for event in node.events():
                            await output.tell(event)
            except MeshError as error:
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    with trio.move_on_after(1.0):
        await output.write(to_json_line({"event": "left"}) if is_json else "left the mesh")


class _Output:
    """What the node prints. If standard output fails the node goes on: it warns once, and tries each later line."""

    def __init__(self, is_json: bool) -> None:
        self._is_json = is_json
        self._has_warned = False

    async def write(self, line: str) -> None:
        """Print a line without waiting for it here: a terminal that is stopped (Ctrl-S) must not stop the node."""
        try:
            await trio.to_thread.run_sync(write_line, line, abandon_on_cancel=True)
        except OutputError as error:
            if not self._has_warned:
                self._has_warned = True
                warn(f"standard output cannot be written: {error}; the node goes on and tries each later line")

    async def greet(self, node: MeshNode) -> None:
        await self.write(_greeting(node, self._is_json))

    async def tell(self, event: NodeEvent) -> None:
        await self.write(to_json_line(_as_json(event)) if self._is_json else printable(_line(event)))


def _greeting(node: MeshNode, is_json: bool) -> str:
    if is_json:
        addresses = [str(address) for address in node.addresses]
        return to_json_line(
            {"event": "ready", "id": node.id, "url": node.url, "mesh": node.config.mesh, "addresses": addresses}
        )
    if announced_mesh(node.config.mesh) != node.config.mesh:
        warning = (
            "only members, by TLS, and programs on this machine can call the node; datagrams are not protected:"
            " anyone who can send to this address can forge them"
        )
    elif any(not is_loopback(address.host) for address in node.addresses):
        warning = "nothing is encrypted or authenticated: whoever reaches this address may register, read and join"
    else:
        warning = (
            "nothing is encrypted or authenticated, so only this machine reaches the node; --insecure-lan opens it to"
            " the LAN"
        )
    return printable(f"node {node.id} of mesh {node.config.mesh!r} serves at {node.url}") + "\n" + warning


def _line(event: NodeEvent) -> str:
    match event:
        case LeaderChanged(leader=leader):
            epoch = f" (epoch {leader.epoch})" if leader is not None and leader.epoch else ""
            return "no leader" if leader is None else f"leader is {leader.id}{epoch}"
        case MemberEvent():
            return f"{_word(event)} {event.id}"
        case NetworkProblemFound(reason=reason, advice=advice):
            return f"{reason}; {advice}"
        case EventsLost(count=count):
            return f"{count} events were lost: this terminal is too slow"
        case StorageFailed(reason=reason):
            return f"nothing is kept on disk now: {reason}"
        case StorageRecovered():
            return "the disk takes what is to be kept again"
        case PeerUnreachable(id=node_id, reason=reason):
            return f"no path to {node_id}, directly or through others; messages for it wait: {reason}"
        case PeerReachable(id=node_id):
            return f"calls to {node_id} arrive again"
        case PeersCannotCall(id=node_id):
            return f"calls from {node_id} do not arrive here: open this node's TCP port in the firewall"
        case ContactLost(seconds=seconds):
            return f"no other node was heard for {seconds:.1f} s: the network may be cut"
        case ContactRestored():
            return "other nodes are heard again"


def _as_json(event: NodeEvent) -> dict[str, Any]:
    match event:
        case MemberEvent(instance=instance):
            return {"event": _word(event), **as_json(instance)}
        case LeaderChanged():
            return {
                "event": "leader",
                "leader_id": None if event.leader is None else event.leader.id,
                "previous_id": event.previous_id,
                "epoch": 0 if event.leader is None else event.leader.epoch,
            }
        case NetworkProblemFound():
            return {
                "event": "network-problem",
                "problem": event.problem,
                "reason": event.reason,
                "advice": event.advice,
            }
        case EventsLost(count=count):
            return {"event": "lost", "count": count}
        case StorageFailed(reason=reason):
            return {"event": "storage-failed", "reason": reason}
        case StorageRecovered():
            return {"event": "storage-recovered"}
        case PeerUnreachable(id=node_id, reason=reason):
            return {"event": "peer-unreachable", "id": node_id, "reason": reason}
        case PeerReachable(id=node_id):
            return {"event": "peer-reachable", "id": node_id}
        case PeersCannotCall(id=node_id):
            return {"event": "peers-cannot-call", "id": node_id}
        case ContactLost(seconds=seconds):
            return {"event": "contact-lost", "seconds": round(seconds, 3)}
        case ContactRestored():
            return {"event": "contact-restored"}


def _word(event: MemberEvent) -> str:
    """``MemberJoined`` is ``joined``."""
    return type(event).__name__.removeprefix("Member").lower()
