"""``meshp2p up``: run one node until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import logging
import signal
import sys

import trio

from meshp2p import MeshNode, NodeConfig, open_node
from meshp2p.cli.changes import Changes
from meshp2p.cli.configuration import configuration_of
from meshp2p.cli.output import OutputError, detail_of, printable, progress, time_text, to_json_line, warn, write_line
from meshp2p.errors import MeshError
from meshp2p.node.config import is_loopback
from meshp2p.node.event_log import streamed
from meshp2p.node.events import NodeEvent, event_log, event_text
from meshp2p.node.secured_meshes import announced_mesh

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    config = configuration_of(options)
    level = getattr(logging, options.log_level.upper())
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    # zeroconf logs a traceback if a network goes away; the source of discovery logs that in one line
    logging.getLogger("zeroconf").setLevel(max(level, logging.ERROR))
    event_log.disabled = not options.json  # their text is printed
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
                with contextlib.ExitStack() as joining:
                    if logging.getLogger().level > logging.INFO:  # else lines of the log come between
                        joining.enter_context(progress("looking for other nodes"))
                    async with open_node(config, in_loop=True) as node:
                        joining.close()
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
        await output.write(to_json_line({"type": "left", "at": _now()}) if is_json else "left the mesh")


class _Output:
    """The output of the node. If standard output fails, the node continues: it warns once, and tries each later
    line."""

    def __init__(self, is_json: bool) -> None:
        self._is_json = is_json
        self._has_warned = False
        self._changes = Changes()

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
        shown = streamed(event, _now(), detail_of)
        line = to_json_line(shown) if self._is_json else printable(event_text(event) + self._changes.text_of(shown))
        await self.write(line)


def _greeting(node: MeshNode, is_json: bool) -> str:
    if is_json:
        addresses = [str(address) for address in node.addresses]
        known = {"id": node.id, "url": node.url, "mesh": node.config.mesh, "addresses": addresses}
        return to_json_line({"type": "ready", "at": _now(), **known})
    if announced_mesh(node.config) != node.config.mesh:
        warning = "other machines need an invitation (meshp2p invite), or https:// and a token (meshp2p token)"
    elif any(not is_loopback(address.host) for address in node.addresses):
        warning = "nothing is encrypted or authenticated: whoever reaches this address may register, read and join"
    else:
        warning = (
            "nothing is encrypted or authenticated, so only this machine reaches the node; --insecure-lan opens it to"
            " the LAN"
        )
    return printable(f"node {node.id} of mesh {node.config.mesh!r} serves at {node.url}") + "\n" + warning


def _now() -> str:
    return time_text(dt.datetime.now(dt.UTC))
