"""An agent: it tells on its output what happens, and does what its input says, a line of JSON each.

``python agent.py ID OPTIONS``
"""

from __future__ import annotations

import json
import sys
from typing import Any

import trio

from meshp2p import MemberEvent, MeshError, MeshNode, open_node


def tell(what: str, **values: Any) -> None:
    print(json.dumps({"what": what, **values}), flush=True)  # noqa: T201


async def tell_events(node: MeshNode) -> None:
    async for event in node.events():
        name = type(event).__name__
        if isinstance(event, MemberEvent):
            tell(name, id=event.id, status=event.instance.status)
        else:
            tell(name, id=getattr(event, "id", None), reason=getattr(event, "reason", None))


async def read_messages(node: MeshNode) -> None:
    async with node.inbox() as inbox:
        async for message in inbox:
            tell("message", source=message.source, payload=str(message.payload)[:20], size=len(str(message.payload)))


async def do(node: MeshNode, command: dict[str, Any]) -> None:
    payload = command.get("payload", "x") * command.get("times", 1)
    try:
        match command["do"]:
            case "send":
                tell("done", id=await node.send(command["to"], payload))
            case "query":
                tell("done", answer=str(await node.query(command["to"], payload, timeout=command.get("timeout", 20))))
            case "status":
                receipts = await node.message_status(command["id"])
                tell("done", status=[(receipt.status.value, receipt.reason) for receipt in receipts])
            case "report":
                await node.set_status("busy", {"filler": payload})
                tell("done")
    except MeshError as error:
        tell("done", error=f"{type(error).__name__}: {error}")


async def main(instance_id: str, options: dict[str, Any]) -> None:
    async with (
        open_node(id=instance_id, mesh="lab", mdns=False, beacon=False, insecure_lan=True, **options) as node,
        trio.open_nursery() as nursery,
    ):

        async def answer(payload: str) -> str:
            return f"{instance_id} heard {len(payload)}"

        node.handler("Query")(answer)
        nursery.start_soon(tell_events, node)
        nursery.start_soon(read_messages, node)
        tell("open")
        stdin = trio.wrap_file(sys.stdin)
        async for line in stdin:
            nursery.start_soon(do, node, json.loads(line))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], json.loads(sys.argv[2]))
