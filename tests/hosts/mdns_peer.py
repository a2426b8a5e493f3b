"""A process that only discovers: ``mdns_peer.py ID MESH PORT ADDRESS...``.

Prints a JSON line when it is looking and one for each sighting, asks again when a line comes in, and ends when its
standard input does.
"""

from __future__ import annotations

import json
import sys

import trio

from meshp2p.discovery.mdns import MdnsSource, multicast_interfaces
from meshp2p.discovery.source import Sighting


def report(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def offer(sighting: Sighting) -> None:
    report(seen=sighting.instance_id, addresses=[str(address) for address in sighting.addresses])


async def main(*arguments: str) -> None:
    instance_id, mesh, port, *addresses = arguments
    source = MdnsSource(instance_id, mesh, int(port), addresses, multicast_interfaces(addresses))
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run, offer)
        report(started=instance_id)
        async for _ in trio.lowlevel.FdStream(sys.stdin.fileno()):
            source.refresh()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
