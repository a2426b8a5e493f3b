"""An agent on asyncio, inside a web framework: Starlette on uvicorn. The app opens the node when it starts, and whoever
asks the web page asks the mesh."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import meshp2p


def make_app(seed: str) -> Starlette:
    """The app; its node joins the mesh at ``seed``."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with meshp2p.open_node(id="web", preset="local", port=0, mdns=False, join=[seed]) as node:
            await node.wait_for_members(2)
            app.state.node = node
            yield

    async def paint(request: Request) -> JSONResponse:
        try:
            answer = await request.app.state.node.query("painter", dict(request.query_params), timeout=5)
        except meshp2p.QueryTimeout as error:
            return JSONResponse({"error": str(error)}, status_code=504)
        return JSONResponse(answer)

    return Starlette(routes=[Route("/paint", paint)], lifespan=lifespan)


async def serve() -> None:
    async with meshp2p.open_node(id="painter", preset="local", port=0, mdns=False) as painter:

        @painter.handler("Query")
        async def answer(scene: dict[str, str]) -> dict[str, str]:
            await asyncio.sleep(0.01)  # this is the loop that uvicorn runs in, too
            return {"picture": f"{scene['title']}, calm"}

        app = make_app(str(painter.addresses[0]))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        listener = socket.create_server(("127.0.0.1", 0))
        host, port = listener.getsockname()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with httpx.AsyncClient(trust_env=False) as browser:
            response = await browser.get(f"http://{host}:{port}/paint", params={"title": "A harbour"})
            print(response.status_code, response.json())
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(serve())
