"""Two agents that ask each other: to answer the writer's question, the painter asks the writer something first."""

from __future__ import annotations

import msgspec
import trio

import meshp2p


class Scene(msgspec.Struct):
    """What is to be painted."""

    title: str


async def paint_and_write() -> None:
    # port=0, mdns=False and join are there so that this program meets nobody else.
    async with (
        meshp2p.open_node(id="painter", preset="local", port=0, mdns=False) as painter,
        meshp2p.open_node(id="writer", preset="local", port=0, mdns=False, join=[str(painter.addresses[0])]) as writer,
    ):

        @painter.handler("Query")
        async def paint(scene: Scene) -> dict[str, str]:
            mood = await painter.query("writer", {"mood of": scene.title}, timeout=5)
            return {"picture": f"{scene.title}, {mood}"}

        @writer.handler("Query")
        async def tell(question: dict[str, str]) -> str:
            print("the writer is asked for the mood of", question["mood of"])
            return "calm"

        await writer.wait_for_members(2)
        answer = await writer.query("painter", Scene("A harbour"), timeout=5)
        print("the painter answers:", answer["picture"])

        try:
            await writer.query("painter", {"name": "A harbour"}, timeout=5)
        except meshp2p.RemoteError as error:
            print("the painter refuses:", error)


if __name__ == "__main__":
    trio.run(paint_and_write)
